"""What a plan is judged by."""

from __future__ import annotations

import math

import pytest

from calib.errors import BadData
from calib.plan_judge import Figures, TaskDamage


def test_noise_is_the_ratio_without_its_logarithm() -> None:
    assert Figures(30.0, None).noise == pytest.approx(0.001)
    assert Figures(0.0, None).noise == 1


def test_equal_outputs_have_no_noise_and_broken_ones_a_finite_one() -> None:
    assert Figures(999.0, None).noise == 0
    assert math.isfinite(Figures(-999.0, None).noise)


@pytest.mark.parametrize("ratio", [math.nan, math.inf, -math.inf])
def test_a_ratio_that_compares_with_nothing_is_refused(ratio: float) -> None:
    with pytest.raises(BadData, match="SQNR"):
        Figures(ratio, None)


@pytest.mark.parametrize(("drop", "upper"), [(math.nan, 1.0), (0.0, math.nan), (0.0, math.inf), (1.0, 0.5)])
def test_a_drop_that_no_measurement_gives_is_refused(drop: float, upper: float) -> None:
    with pytest.raises(BadData, match="upper bound"):
        TaskDamage(drop, upper)
