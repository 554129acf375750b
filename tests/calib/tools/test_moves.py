"""The search that all moves share: ranges over all tokens, scales about 1, and nothing without a gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.tools.moves import best_move, channel_ranges, normalised
from calib.tools.problem import Move, output_sqnr_db
from calib.tools.rounding import Nearest
from calib.tools.step import best_step
from tests.linear_problem import codes_only, linear_problem


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_range_is_the_farther_end_from_the_shift_over_all_tokens() -> None:
    problem = linear_problem(np.zeros((1, 3)), np.ones((3, 1)), np.zeros(1))
    sample = replace(problem.sample, lowest=floats(-1, 2, -8), highest=floats(3, 10, 2))
    problem = replace(problem, sample=sample)
    assert channel_ranges(problem, floats(0, 0, 0)).tolist() == [3, 10, 8]
    assert channel_ranges(problem, floats(1, 6, -3)).tolist() == [2, 4, 5]


def test_a_nearly_constant_channel_counts_as_a_64th_of_the_largest() -> None:
    problem = linear_problem([[64, 0.01, 0], [-64, 0.01, 0]], np.ones((3, 1)))
    assert channel_ranges(problem, np.zeros(3, np.float32)).tolist() == [64, 1, 1]
    constant = linear_problem(np.full((4, 2), 3), np.ones((2, 1)))
    found = channel_ranges(constant, floats(3, 3))
    assert (found > 0).all() and normalised(found).tolist() == [1, 1], "a constant input has no range at all"


def test_normalised_scales_have_a_geometric_mean_of_1() -> None:
    assert normalised(floats(2, 8)) == pytest.approx([0.5, 2])
    scale = np.exp(np.random.default_rng(0).standard_normal(500)).astype(np.float32) * 1e-20
    found = normalised(scale.astype(np.float32))
    assert found.dtype == np.float32
    assert np.log(found.astype(np.float64)).mean() == pytest.approx(0, abs=1e-6)


def test_the_best_candidate_is_kept_and_says_its_gain() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (600, 4)) * [1, 1, 1, 16]
    weight = codes_only(4, 3)
    weight[3] = (7, -3, 5)
    problem = linear_problem(rows, weight, np.zeros(3))
    zero = np.zeros(4, np.float32)
    moves = {
        "worse": Move(zero, floats(16, 1, 1, 1)),
        "right": Move(zero, floats(0.5, 0.5, 0.5, 8)),
        "half": Move(zero, floats(1, 1, 1, 4)),
    }
    found = best_move("tool", problem, moves.items())
    (trial,) = found.trials
    assert (trial.tool, trial.result, trial.detail) == ("tool", "kept", "right")
    assert trial.after > trial.before + 6
    np.testing.assert_array_equal(found.move.scale, moves["right"].scale)
    assert len(found.sample.rows) == 600, "compared on fewer rows, applied to all"


def test_the_gain_is_that_of_the_rounded_linear() -> None:
    random = np.random.default_rng(0)
    rows = random.uniform(-1, 1, (2000, 24))  # correlated channels would clip together, which the estimate leaves out
    rows[:, 3] *= 8
    weight = random.standard_normal((24, 64))
    weight[3] *= 2  # so that the moved weights' error has a large part
    problem = linear_problem(rows, weight, np.zeros(64))
    found = best_move("tool", problem, [("even", Move(np.zeros(24, np.float32), normalised(rows.max(axis=0))))])
    (trial,) = found.trials
    assert trial.result == "kept"
    for state, promised in ((problem, trial.before), (found, trial.after)):
        rounded = Nearest()(replace(state, step=best_step(state)[0]))
        assert output_sqnr_db(rounded, rows=2000) == pytest.approx(promised, abs=0.3)


def test_without_a_gain_the_problem_stays_as_it_was() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (600, 4))
    problem = linear_problem(rows, codes_only(4, 3), np.zeros(3))
    for candidates in ({}, {"worse": Move(np.zeros(4, np.float32), floats(16, 1, 1, 1))}, {"same": Move.none(4)}):
        found = best_move("tool", problem, candidates.items())
        (trial,) = found.trials
        assert (trial.result, trial.detail) == ("no gain", "as it was") and trial.before == trial.after
        assert found.move is None and found.weight is problem.weight and found.sample is problem.sample


def test_a_move_that_helps_the_input_but_hurts_the_weights_more_is_not_kept() -> None:
    random = np.random.default_rng(0)
    rows = random.uniform(-1, 1, (600, 8)) * ([4.0] + [1.0] * 7)
    weight = random.uniform(-1, 1, (8, 3))
    move = Move(np.zeros(8, np.float32), normalised(floats(4, *[1] * 7)))
    weight[0] *= 0.01  # the input's error in the large channel is of little account
    assert best_move("tool", linear_problem(rows, weight), [("even", move)]).trials[0].result == "kept"
    weight[0] *= 10000  # now scaling it up makes the steps of all weights 4 times as large
    assert best_move("tool", linear_problem(rows, weight), [("even", move)]).trials[0].result == "no gain"


def test_a_constant_output_has_no_sqnr_and_does_no_harm() -> None:
    found = best_move("tool", linear_problem(np.ones((8, 2)), np.ones((2, 2))), [("same", Move.none(2))])
    assert found.trials[0].before == 999.0
