"""The moving average of the batches' largest magnitudes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from calib.errors import BadData
from calib.moving_average import MovingAverage


def averaged(*largest: float, momentum: float = 0.5) -> MovingAverage:
    statistic = MovingAverage("x", momentum)
    for value in largest:
        statistic.update(np.array([0, -value, value / 2], np.float32))
    return statistic


def test_three_batches_by_hand() -> None:
    assert averaged(4).average == 4
    assert averaged(4, 1).average == pytest.approx((0.5 * 4 + 1) / 1.5)
    assert averaged(4, 1, 2).average == pytest.approx((0.25 * 4 + 0.5 * 1 + 2) / 1.75)


def test_the_usual_momentum_is_nine_tenths() -> None:
    statistic = MovingAverage("x")
    for value in (1.0, 2.0):
        statistic.update(np.full(3, value, np.float32))
    assert statistic.average == pytest.approx((0.9 * 1 + 2) / 1.9)


def test_the_first_batch_weighs_no_more_than_the_others() -> None:
    assert averaged(100, *[1.0] * 60, momentum=0.9).average == pytest.approx(1, abs=0.03)


def test_an_empty_batch_is_no_batch() -> None:
    statistic = averaged(4, 1)
    before = statistic.average
    statistic.update(np.zeros((0, 3), np.float32))
    assert statistic.average == before and statistic.seen == 6


def test_a_batch_with_nan_leaves_the_average_alone() -> None:
    statistic = averaged(4)
    with pytest.raises(BadData, match="NaN"):
        statistic.update(np.array([np.nan], np.float32))
    assert statistic.average == 4


def test_the_largest_of_all_is_kept_beside_it() -> None:
    assert averaged(9, 1).largest == 9 and MovingAverage("x").average == 0
