"""Bias correction takes the mean of the output's error to zero, and leaves alone what has nothing to correct."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.grid import E4M3, INT8, Grid, fake_quantize
from calib.tools.bias_correction import BiasCorrection
from calib.tools.problem import LinearProblem
from calib.tools.rounding import Nearest
from tests.linear_problem import linear_problem


def rounded(bias: np.ndarray | None, grid: Grid = INT8) -> LinearProblem:
    """Inputs of one sign at a coarse step that clips, so that the error has a mean."""
    random = np.random.default_rng(0)
    rows, weight = np.abs(random.standard_normal((700, 12))), random.standard_normal((12, 5))
    return Nearest()(linear_problem(rows, weight, bias, step=1.5 / grid.largest, grid=grid))


def mean_error(problem: LinearProblem) -> np.ndarray:
    rows = problem.sample.rows
    got = fake_quantize(rows, problem.step, problem.grid).astype(np.float64) @ problem.rounded
    error: np.ndarray = (got - rows.astype(np.float64) @ problem.weight).mean(axis=0)
    return error


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
def test_the_mean_of_the_error_is_removed_exactly(grid: Grid) -> None:
    problem = rounded(np.zeros(5), grid)
    assert np.abs(mean_error(problem)).max() > 0.05, "the control: there was one"
    found = BiasCorrection()(problem)
    np.testing.assert_allclose(mean_error(found) + found.correction, 0, atol=1e-6)
    (trial,) = found.trials
    assert (trial.tool, trial.result, trial.detail) == ("bias", "kept", "mean error")
    assert trial.after > trial.before


def test_a_mean_error_by_hand() -> None:
    # 1 and 3 become 0 and 4 at a step of 4, of the same mean; weights 2 became 3, so that 4 became 6.
    rows = [[1], [3]] * 4  # the first six are fitted to, the last two decide
    problem = linear_problem(rows, [[2]], np.zeros(1), step=4.0, rounded=np.array([[3]], np.float32))
    assert BiasCorrection()(problem).correction.tolist() == [-2]


def test_the_bias_itself_is_left_to_who_writes_the_graph() -> None:
    problem = rounded(np.arange(5))
    found = BiasCorrection()(problem)
    np.testing.assert_array_equal(found.bias, problem.bias)
    np.testing.assert_array_equal(found.correction, BiasCorrection()(rounded(np.zeros(5))).correction)


def test_without_an_error_there_is_no_gain() -> None:
    weight = np.array([[127.0], [3]], np.float32)
    found = BiasCorrection()(linear_problem(np.eye(2), weight, np.zeros(1), step=1.0, rounded=weight))
    assert [(trial.result, trial.detail) for trial in found.trials] == [("no gain", "the bias as it was")]
    assert found.correction is None


def test_without_a_bias_it_does_not_apply() -> None:
    found = BiasCorrection()(rounded(None))
    assert [(trial.result, trial.detail) for trial in found.trials] == [("n/a", "the linear has no bias")]
    assert found.correction is None


def test_corrections_come_last() -> None:
    for missing in ("step", "rounded"):
        with pytest.raises(AssertionError, match="corrections come last"):
            BiasCorrection()(replace(rounded(np.zeros(5)), **{missing: None}))
