"""A problem's moves keep the linear's function, compose as documented, and its two measures of error are right."""

from __future__ import annotations

import numpy as np
import pytest

from calib.grid import fake_quantize
from calib.tools.problem import LinearProblem, Move, Trial, input_noise, output_sqnr_db
from tests.linear_problem import codes_only, linear_problem


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def outputs(problem: LinearProblem) -> np.ndarray:
    """What the linear computes on its sample, in float64."""
    found: np.ndarray = problem.sample.rows.astype(np.float64) @ problem.weight.astype(np.float64)
    return found if problem.bias is None else found + problem.bias.astype(np.float64)


def dyadic(seed: int = 0) -> LinearProblem:
    """Small whole numbers throughout: float32 holds every sum and product of the moves below."""
    random = np.random.default_rng(seed)
    return linear_problem(
        random.integers(-50, 50, (40, 6)), random.integers(-9, 9, (6, 5)), random.integers(-9, 9, 5).astype(np.float32)
    )


FIRST = Move(floats(1, -2, 0, 3, 8, -5), floats(2, 0.5, 1, 4, 0.25, 8))
SECOND = Move(floats(0.5, 1, -4, 0, 2, 0.25), floats(0.5, 4, 2, 1, 0.125, 16))


def test_a_move_keeps_the_linears_function_exactly() -> None:
    problem = dyadic()
    moved = problem.moved(FIRST)
    np.testing.assert_array_equal(outputs(moved), outputs(problem))
    np.testing.assert_array_equal(moved.sample.rows, (problem.sample.rows - FIRST.shift) / FIRST.scale)
    assert not np.array_equal(moved.bias, problem.bias), "the control: the bias has its part in it"


def test_a_move_by_any_numbers_keeps_the_function_to_the_rounding_of_float32() -> None:
    random = np.random.default_rng(0)
    problem = linear_problem(random.standard_normal((200, 32)) * 5, random.standard_normal((32, 8)), np.ones(8))
    move = Move(random.standard_normal(32).astype(np.float32), np.exp(random.standard_normal(32)).astype(np.float32))
    np.testing.assert_allclose(outputs(problem.moved(move)), outputs(problem), atol=1e-5 * 5 * 32**0.5)


def test_two_moves_compose_to_the_one_that_is_kept() -> None:
    problem = dyadic()
    both = problem.moved(FIRST).moved(SECOND)
    assert both.move is not None
    np.testing.assert_array_equal(both.move.shift, FIRST.shift + FIRST.scale * SECOND.shift)
    np.testing.assert_array_equal(both.move.scale, FIRST.scale * SECOND.scale)
    at_once = problem.moved(both.move)
    np.testing.assert_array_equal(at_once.sample.rows, both.sample.rows)
    np.testing.assert_array_equal(at_once.sample.lowest, both.sample.lowest)
    np.testing.assert_array_equal(at_once.sample.highest, both.sample.highest)
    np.testing.assert_array_equal(at_once.weight, both.weight)
    np.testing.assert_array_equal(at_once.bias, both.bias)
    np.testing.assert_array_equal(outputs(both), outputs(problem))


def test_without_a_bias_an_input_is_scaled_and_never_shifted() -> None:
    problem = linear_problem(dyadic().sample.rows, dyadic().weight)
    moved = problem.moved(Move(np.zeros(6, np.float32), FIRST.scale))
    assert moved.bias is None
    np.testing.assert_array_equal(outputs(moved), outputs(problem))
    with pytest.raises(AssertionError, match="without a bias"):
        problem.moved(FIRST)


def test_no_move_follows_a_step() -> None:
    with pytest.raises(AssertionError, match="moves come first"):
        linear_problem(np.ones((2, 2)), np.ones((2, 2)), np.ones(2), step=0.1).moved(Move.none(2))


def test_a_move_knows_whether_it_changes_anything() -> None:
    assert not Move.none(3).moves
    assert Move(floats(0, 1), floats(1, 1)).moves and Move(floats(0, 0), floats(1, 2)).moves


def test_a_trial_is_added_to_the_history() -> None:
    problem = dyadic().tried(Trial("a", "kept", "x", 1.0, 2.345)).tried(Trial("b", "n/a", "why"))
    assert [trial.to_json() for trial in problem.trials] == [
        {"tool": "a", "result": "kept", "detail": "x", "before_db": 1.0, "after_db": 2.35},
        {"tool": "b", "result": "n/a", "detail": "why"},
    ]


def test_input_noise_by_hand() -> None:
    # At step 1 the errors are 0.25, -0.25 in the first channel and 0, 0.5 in the second, whose weights are 5 and 4.
    problem = linear_problem([[0.75, 3], [1.25, 1.5]], [[3, 4], [0, 2]])
    assert input_noise(problem, 1.0) == 0.0625 * 25 + 0.125 * 4
    assert input_noise(problem, 1.0, rows=1) == 0.0625 * 25


def test_input_noise_is_the_outputs_error_where_channels_err_independently() -> None:
    random = np.random.default_rng(0)
    problem = linear_problem(random.standard_normal((4096, 24)), random.standard_normal((24, 16)))
    rows = problem.sample.rows
    error = (fake_quantize(rows, 0.1) - rows) @ problem.weight
    assert input_noise(problem, 0.1, rows=4096) == pytest.approx(np.square(error).sum() / 4096, rel=0.03)


def test_output_sqnr_by_hand() -> None:
    # Outputs 2, -2; rounded weights give 3, -3: error 1, -1, so that 8 stands against 2.
    problem = linear_problem([[1], [-1]], [[2]], np.zeros(1), rounded=floats(3)[:, None])
    assert output_sqnr_db(problem) == pytest.approx(10 * np.log10(4))


def test_the_mean_of_the_error_counts_unless_a_bias_can_still_take_it() -> None:
    # Outputs 2, 6 against 3, 9: error 1, 3, of mean 2; the signal about its mean is 8.
    rows, weight, rounded = [[1], [3]], [[2]], floats(3)[:, None]
    assert output_sqnr_db(linear_problem(rows, weight, np.zeros(1), rounded=rounded)) == pytest.approx(
        10 * np.log10(8 / 2)
    )
    assert output_sqnr_db(linear_problem(rows, weight, None, rounded=rounded)) == pytest.approx(10 * np.log10(8 / 10))
    corrected = linear_problem(rows, weight, np.zeros(1), rounded=rounded, correction=floats(-1))
    assert output_sqnr_db(corrected) == pytest.approx(10 * np.log10(8 / 4))


def test_nothing_decided_costs_nothing() -> None:
    assert output_sqnr_db(dyadic()) == 999.0
    exact = linear_problem(np.eye(4), codes_only(4, 2), step=1.0, rounded=codes_only(4, 2))
    assert output_sqnr_db(exact) == 999.0
