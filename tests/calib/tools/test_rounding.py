"""Rounding weights together: against brute force, never worse than to the nearest, whatever the channels hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from calib.grid import E4M3, INT8, Grid, fake_quantize, weight_steps
from calib.tools.problem import LinearProblem
from calib.tools.rounding import Nearest, Reconstruct
from tests.linear_problem import linear_problem, output_error


def correlated(seed: int, rows: int, channels: int, outputs: int, **decided: object) -> LinearProblem:
    """Channels that share a part, and a step of the input."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((rows, channels)) + random.standard_normal((rows, 1)) + 0.5
    step = float(np.abs(inputs).max()) / 127
    bias = np.zeros(outputs)
    return linear_problem(inputs, random.standard_normal((channels, outputs)), bias, **{"step": step, **decided})


def error(problem: LinearProblem) -> float:
    inputs = fake_quantize(problem.sample.rows, problem.step, problem.grid).astype(np.float64)
    return output_error(problem, inputs @ problem.rounded, centred=problem.bias is not None)


def require_on_grid(problem: LinearProblem) -> None:
    codes = problem.rounded / problem.weight_step
    np.testing.assert_allclose(problem.grid.round(codes), codes, rtol=1e-6)
    assert (problem.weight_step > 0).all()


def test_nearest_rounds_each_weight_by_itself() -> None:
    weight = np.array([[127.0, 1.2], [-0.5, 63.5], [1.5, -0.3]], np.float32)
    found = Nearest()(linear_problem(np.ones((2, 3)), weight))
    assert found.weight_step.tolist() == [1, 0.5]
    assert found.rounded.tolist() == [[127, 1], [0, 63.5], [2, -0.5]]
    assert found.trials == ()


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_it_gains_on_correlated_channels_and_stays_on_the_grid(grid: Grid, biased: bool, seed: int) -> None:
    problem = correlated(seed, 8000, 80, 6, grid=grid)
    problem = replace(problem, step=float(problem.sample.amax) / grid.largest, bias=problem.bias if biased else None)
    found, nearest = Reconstruct()(problem), Nearest()(problem)
    (trial,) = found.trials
    assert (trial.tool, trial.result, trial.detail) == ("reconstruct", "kept", "8000 rows")
    assert trial.after > trial.before
    assert error(found) < error(nearest)
    assert trial.after - trial.before == pytest.approx(10 * np.log10(error(nearest) / error(found)), abs=0.5)
    require_on_grid(found)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_it_is_never_worse_than_nearest_on_its_rows(seed: int, biased: bool) -> None:
    random = np.random.default_rng(seed)
    rows, channels = int(random.integers(2, 300)), int(random.integers(1, 40))
    problem = correlated(seed, rows, channels, 3)
    problem = problem if biased else replace(problem, bias=None)
    # The tool compares on 512 rows or more in float32.
    assert error(Reconstruct()(problem)) <= error(Nearest()(problem)) * (1 + 1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_two_inputs_and_one_output_equal_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((300, 2)) @ np.array([[1, 0.3], [0, 1]])
    problem = linear_problem(mixed, random.uniform(-1, 1, (2, 1)), np.zeros(1), step=0.25)
    found = Reconstruct(damping=1e-9)._together(problem)
    step = found.weight_step[0]
    near = np.rint(problem.weight[:, 0] / step)
    tried = {
        tuple(near + offset): error(replace(found, rounded=((near + offset) * step).astype(np.float32)[:, None]))
        for offset in product(range(-6, 7), repeat=2)
    }
    best = min(tried, key=lambda codes: tried[codes])
    assert (np.abs(np.array(best) - near) < 6).all(), "the best lies inside of what was tried"
    assert tuple(np.rint(found.rounded[:, 0] / step)) == best


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_dead_channels_keep_their_weights(value: float, biased: bool) -> None:
    problem = correlated(0, 300, 12, 4)
    rows = problem.sample.rows.copy()
    rows[:, [2, 7]] = value
    problem = linear_problem(rows, problem.weight, np.zeros(4) if biased else None, step=problem.step)
    found = Reconstruct()(problem)
    assert np.isfinite(found.rounded).all()
    require_on_grid(found)
    assert error(found) <= error(Nearest()(problem)) * (1 + 1e-4)
    if value == 0 or biased:  # otherwise the constant channel is as good as a bias, and is used as one
        assert (np.abs(found.rounded - problem.weight)[[2, 7]] <= found.weight_step * 0.51).all()


@pytest.mark.parametrize("biased", [True, False])
def test_an_input_that_never_changes_leaves_all_weights_at_the_nearest(biased: bool) -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4))
    bias = np.zeros(4) if biased else None
    for rows in (np.zeros((20, 6)), np.full((20, 6), 2.0)):
        problem = linear_problem(rows, weight, bias, step=2 / 127)
        found = Reconstruct()(problem)
        assert np.isfinite(found.rounded).all()
        require_on_grid(found)
        if biased or not rows.any():
            np.testing.assert_array_equal(found.rounded, Nearest()(problem).rounded)


@pytest.mark.parametrize("biased", [True, False])
def test_more_channels_than_rows_work(biased: bool) -> None:
    problem = correlated(0, 20, 150, 5)
    problem = problem if biased else replace(problem, bias=None)
    found = Reconstruct()(problem)
    require_on_grid(found)
    assert error(found) <= error(Nearest()(problem))


def test_channels_beyond_one_block_take_the_errors_of_those_before() -> None:
    """The result is that of the plain form of the method, one channel after the other."""
    problem = correlated(1, 2000, 150, 3)
    found = Reconstruct()(problem)
    inputs = problem.sample.rows - problem.sample.rows.mean(axis=0)
    seen = fake_quantize(problem.sample.rows, problem.step)
    seen = (seen - seen.mean(axis=0)).astype(np.float64)
    moments = seen.T @ seen
    ridge = np.eye(150) * 1e-3 * np.diag(moments).mean()
    left = np.linalg.solve(moments + ridge, (seen.T @ inputs + ridge) @ problem.weight)
    steps = weight_steps(left.astype(np.float32))
    inverse, codes = np.linalg.inv(moments + ridge), []
    for _ in range(150):
        codes.append(INT8.round(left[0] / steps))
        lost = (left[0] - codes[-1] * steps) / inverse[0, 0]
        left = (left - np.outer(inverse[0], lost))[1:]
        inverse = (inverse - np.outer(inverse[0], inverse[0]) / inverse[0, 0])[1:, 1:]
    same = np.rint(found.rounded / found.weight_step) == np.array(codes)
    assert same.mean() > 0.97, "float32 turns a tie here and there"


def test_weights_and_inputs_on_the_grid_already_do_not_gain() -> None:
    weight = np.array([[127.0], [3], [-5]], np.float32)
    rows = np.random.default_rng(0).integers(-127, 128, (50, 3))
    found = Reconstruct()(linear_problem(rows, weight, np.zeros(1), step=1.0))
    (trial,) = found.trials
    assert (trial.result, trial.detail) == ("no gain", "rounded to nearest") and trial.before == trial.after
    np.testing.assert_array_equal(found.rounded, weight)


def test_the_inputs_step_comes_first() -> None:
    with pytest.raises(AssertionError, match="step comes first"):
        Reconstruct()(linear_problem(np.ones((4, 2)), np.ones((2, 2)), np.zeros(2)))
