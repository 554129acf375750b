"""The input's step by every method: numbers of FP16, `output` against min-max, and whose magnitudes are used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.errors import BadData
from calib.grid import E4M3, INT8, Grid, fp16_step
from calib.observers import OBSERVERS
from calib.tools.problem import LinearProblem, Move, input_noise
from calib.tools.step import METHODS, ChooseStep, best_step
from tests.linear_problem import codes_only, linear_problem


def heavy_tailed(method: str, grid: Grid = INT8) -> LinearProblem:
    """Student's t with three degrees of freedom: a few values ten times as large as nearly all others."""
    rows = np.random.default_rng(0).standard_t(3, (2000, 8))
    return linear_problem(rows, codes_only(8, 4), np.zeros(4), method=method, grid=grid)


def chosen(problem: LinearProblem, observed: dict[str, float] | None = None) -> float:
    found = ChooseStep(observed)(problem)
    assert found.step is not None
    return found.step


def test_the_methods_are_output_and_the_observers() -> None:
    assert list(METHODS) == ["output", *OBSERVERS]


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_step_of_fp16_no_larger_than_min_maxs(method: str, grid: Grid) -> None:
    problem = heavy_tailed(method, grid)
    found = ChooseStep()(problem)
    assert 0 < found.step <= fp16_step(problem.sample.amax / grid.largest)
    assert found.step == fp16_step(found.step)
    (trial,) = found.trials
    assert (trial.tool, trial.result) == ("step", "kept")
    assert trial.detail.startswith(f"{method}, step ") and trial.detail.endswith(" % clipped")


@pytest.mark.parametrize("method", OBSERVERS)
def test_an_observer_sees_the_rows_of_the_sample(method: str) -> None:
    problem = heavy_tailed(method)
    observer = OBSERVERS[method]("x")
    for rows in np.array_split(problem.sample.rows, 16):
        observer.update(rows)
    assert chosen(problem) == fp16_step(observer.amax() / 127)


def test_output_beats_min_max_on_heavy_tails() -> None:
    least, whole = heavy_tailed("output"), heavy_tailed("min-max")
    assert chosen(least) < chosen(whole)
    assert input_noise(least, chosen(least), 2000) < 0.95 * input_noise(whole, chosen(whole), 2000)
    assert " 0 % clipped" in ChooseStep()(whole).trials[0].detail
    assert " 0 % clipped" not in ChooseStep()(least).trials[0].detail


def test_output_looks_at_the_weights_that_a_channel_meets() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (2000, 2)) * [1, 0.4]
    heard = linear_problem(rows, [[1], [1]])
    unheard = linear_problem(rows, [[0], [1]])
    assert chosen(unheard) < 0.6 * chosen(heard), "clipping a channel without weights is free"


@pytest.mark.parametrize("value", [1.0, 0.3, 20.0])
def test_output_equals_min_max_on_two_valued_data(value: float) -> None:
    rows = np.random.default_rng(0).choice([-value, value], (300, 4))
    steps = {method: chosen(linear_problem(rows, np.ones((4, 2)), method=method)) for method in ("output", "min-max")}
    assert steps["output"] == steps["min-max"] == fp16_step(value / 127)


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.1, 3.3])
def test_a_step_that_fp16_rounds_down_does_not_count_as_clipping(value: float, grid: Grid) -> None:
    rows = np.array([[value, -value]] * 4)
    found = ChooseStep()(linear_problem(rows, np.ones((2, 1)), method="min-max", grid=grid))
    assert found.trials[0].detail.endswith(", 0 % clipped")


def test_min_max_knows_the_tokens_that_are_not_in_the_sample() -> None:
    problem = heavy_tailed("min-max")
    sample = replace(problem.sample, highest=problem.sample.highest * np.float32(10))
    assert chosen(replace(problem, sample=sample)) == fp16_step(sample.amax / 127)


def test_observed_magnitudes_stand_for_inputs_that_were_not_moved() -> None:
    problem = heavy_tailed("mse")
    assert chosen(problem, {"x": 12.7}) == fp16_step(0.1)
    assert chosen(problem.moved(Move.none(8)), {"x": 12.7}) == fp16_step(0.1), "no change is no move"
    assert chosen(problem, {"another": 12.7}) == chosen(problem)


@pytest.mark.parametrize("method", METHODS)
def test_observed_magnitudes_are_not_used_for_a_moved_input(method: str) -> None:
    move = Move(np.zeros(8, np.float32), np.full(8, 2, np.float32))
    moved = heavy_tailed(method).moved(move)
    assert chosen(moved, {"x": 1270.0}) == chosen(moved)
    assert chosen(moved) == pytest.approx(chosen(heavy_tailed(method)) / 2, rel=0.02)


def test_observed_magnitudes_are_not_used_by_output() -> None:
    assert chosen(heavy_tailed("output"), {"x": 1270.0}) == chosen(heavy_tailed("output"))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(BadData, match=r"no range method guess.*output, min-max"):
        ChooseStep()(heavy_tailed("guess"))


def test_the_best_of_the_steps_given_is_found_with_its_noise() -> None:
    problem = heavy_tailed("output")
    whole = problem.sample.amax / 127
    parts = np.array([1.0, 0.5, 0.25, 0.01])
    noises = [input_noise(problem, whole * part) for part in parts]
    step, noise = best_step(problem, parts)
    assert noise == min(noises) and step == whole * parts[int(np.argmin(noises))]


def test_an_input_too_small_for_fp16_gets_its_smallest_step() -> None:
    rows = np.random.default_rng(0).uniform(-1e-4, 1e-4, (50, 2))
    smallest = float(np.finfo(np.float16).smallest_normal)
    for method in METHODS:
        assert chosen(linear_problem(rows, np.ones((2, 1)), method=method)) == smallest
