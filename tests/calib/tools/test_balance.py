"""Balance: GELU's output shifted to the middle of its range, channels scaled to one, and no shift without a bias."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calib.tools.balance import Balance
from calib.tools.problem import Place
from tests.linear_problem import codes_only, linear_problem

MOVABLE = [Place.NORM, Place.VALUE, Place.EXPLICIT]


def gelu_like(channels: int = 16, rows: int = 2000) -> np.ndarray:
    """GELU of evenly spread values up to 6, from where it dips to -0.17: each channel in an order of its own."""
    random = np.random.default_rng(0)
    x = np.linspace(-0.75, 6, rows)
    y = x * 0.5 * (1 + np.array([math.erf(value / math.sqrt(2)) for value in x]))
    return np.stack([random.permutation(y) for _ in range(channels)], axis=1)


@pytest.mark.parametrize("place", MOVABLE)
def test_the_shift_gains_about_6_db_on_gelus_output(place: Place) -> None:
    rows = gelu_like()
    found = Balance(strengths=(0.0,))(linear_problem(rows, codes_only(16, 8), np.zeros(8), place))
    (trial,) = found.trials
    assert (trial.tool, trial.result, trial.detail) == ("balance", "kept", "middle, strength 0")
    # From a reach of 6 to one of 6.17 / 2.
    assert trial.after - trial.before == pytest.approx(20 * math.log10(2 * 6 / 6.17), abs=0.4)
    np.testing.assert_allclose(found.move.shift, (rows.min(axis=0) + rows.max(axis=0)) / 2, rtol=1e-6)
    np.testing.assert_allclose(found.move.scale, 1, rtol=1e-6)


@pytest.mark.parametrize("place", MOVABLE)
def test_without_a_bias_it_scales_and_never_shifts(place: Place) -> None:
    rows = gelu_like()
    even = Balance()(linear_problem(rows, codes_only(16, 8), None, place))
    assert even.move is None or not even.move.shift.any()
    rows[:, 3] *= 20
    found = Balance()(linear_problem(rows, codes_only(16, 8), None, place))
    assert found.trials[0].result == "kept" and found.trials[0].detail.startswith("no shift, strength")
    assert not found.move.shift.any() and found.move.scale.argmax() == 3


def test_an_outlier_channel_and_an_offset_are_taken_together() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (2000, 16))
    rows[:, 2] = rows[:, 2] * 20 + 7
    found = Balance()(linear_problem(rows, np.random.default_rng(1).uniform(-1, 1, (16, 8)), np.zeros(8)))
    assert found.trials[0].detail.startswith("middle, strength") and found.trials[0].detail != "middle, strength 0"
    assert found.move.shift[2] == pytest.approx(7, abs=0.05) and found.move.scale.argmax() == 2


def test_even_channels_about_zero_do_not_gain() -> None:
    random = np.random.default_rng(0)
    rows = np.stack([random.permutation(np.linspace(-1, 1, 600)) for _ in range(4)], axis=1)
    found = Balance()(linear_problem(rows, codes_only(4, 3), np.zeros(3)))
    assert [trial.result for trial in found.trials] == ["no gain"] and found.move is None


def test_where_nobody_can_move_the_input_it_does_not_apply() -> None:
    found = Balance()(linear_problem(gelu_like(), codes_only(16, 8), np.zeros(8), Place.NONE))
    assert [(trial.result, trial.detail) for trial in found.trials] == [("n/a", "nothing before it can take a scale")]
    assert found.move is None
