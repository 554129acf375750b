"""Rooflines computed by hand."""

from __future__ import annotations

import math

import pytest

from swin_deploy.benchmark.operations import Operation
from swin_deploy.benchmark.roofline import Ceilings, roofline_ms, share_of

# 1e12 operations and 1e11 bytes a second: ten operations a byte are the balance.
DEVICE = Ceilings("a device", "measured", 1e11, {"fp16": 1e12, "int8": 2e12})


def test_an_operation_takes_the_longer_of_its_arithmetic_and_its_traffic() -> None:
    assert roofline_ms([Operation("much arithmetic", 1e9, 1e6, "fp16")], DEVICE) == pytest.approx(1.0)
    assert roofline_ms([Operation("much traffic", 1e6, 1e9, "fp16")], DEVICE) == pytest.approx(10.0)
    assert roofline_ms([Operation("at the balance", 1e9, 1e8, "fp16")], DEVICE) == pytest.approx(1.0)


def test_operations_follow_each_other_and_do_not_overlap() -> None:
    both = [Operation("a", 1e9, 1e6, "fp16"), Operation("b", 1e6, 1e9, "fp16")]
    # The whole network's FLOP and bytes in one roofline would be max(1.001, 10.01) ms.
    assert roofline_ms(both, DEVICE) == pytest.approx(11.0)


def test_each_precision_has_its_own_rate() -> None:
    assert roofline_ms([Operation("a", 4e9, 0, "int8"), Operation("b", 1e9, 0, "fp16")], DEVICE) == pytest.approx(3.0)


def test_a_share_is_the_rooflines_time_over_the_time_measured() -> None:
    work = [Operation("a", 1e9, 0, "fp16")]
    assert share_of(work, DEVICE, 4.0) == pytest.approx(0.25)
    assert share_of(work, DEVICE, 8.0) == pytest.approx(0.125)


def test_without_a_ceiling_there_is_no_share() -> None:
    work = [Operation("a", 1e9, 0, "fp8")]
    assert roofline_ms(work, DEVICE) is None
    assert share_of(work, DEVICE, 4.0) is None
    assert share_of([Operation("a", 1e9, 0, "fp16")], None, 4.0) is None


def test_of_two_measurements_the_higher_figures_count() -> None:
    first, second = (
        Ceilings("a", "measured", 1.0, {"fp32": 5.0, "fp16": 1.0}),
        Ceilings("a", "measured", 2.0, {"fp32": 4.0, "int8": 9.0}),
    )
    assert first.best_with(second) == Ceilings("a", "measured", 2.0, {"fp32": 5.0, "fp16": 1.0, "int8": 9.0})


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_ceiling_that_no_device_has_is_our_own_bug(value: float) -> None:
    with pytest.raises(AssertionError):
        Ceilings("a", "measured", value, {})
    with pytest.raises(AssertionError):
        Ceilings("a", "measured", 1.0, {"fp16": value})
