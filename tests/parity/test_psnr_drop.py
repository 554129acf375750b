"""The paired drop of PSNR-Y: by hand, how often its bound holds, and where it bounds nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from swin_deploy.parity.psnr_drop import psnr_drop


def test_the_bounds_by_hand() -> None:
    # Differences 0.1, 0.2, 0.3, 0.2: mean 0.2, s = sqrt(0.02 / 3) = 0.081650; t(3) = 2.353363, over sqrt(4) images.
    reference = [30.0, 31.0, 32.0, 33.0]
    found = psnr_drop([29.9, 30.8, 31.7, 32.8], reference)
    assert found.drop == pytest.approx(0.2)
    assert found.spread == pytest.approx(math.sqrt(0.02 / 3))
    assert found.upper == pytest.approx(0.2 + 2.353363 * 0.0816497 / 2, abs=1e-6)
    assert found.lower == pytest.approx(0.2 - 2.353363 * 0.0816497 / 2, abs=1e-6)
    assert found.images == 4
    assert [found.reference_db, found.db] == pytest.approx([31.5, 31.3])


def test_it_is_paired_so_that_the_pictures_own_difficulty_does_not_widen_it() -> None:
    reference = np.linspace(20, 45, 20)
    lost = 0.05 + 0.01 * np.sin(np.arange(20))
    found = psnr_drop(reference - lost, reference)
    assert found.upper - found.lower < 0.01
    apart = psnr_drop(np.roll(reference - lost, 1), reference)  # the control: the same values, not paired
    assert apart.upper - apart.lower > 1


def test_a_gain_is_a_negative_drop() -> None:
    found = psnr_drop([31.0, 32.1, 33.0], [30.0, 31.0, 32.0])
    assert found.drop < 0
    assert found.upper < 0


@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_equal_differences_have_no_spread_and_that_can_be_seen(lost: float) -> None:
    # 0.1 is no binary number, and the differences of these differ in the last bit: no spread either.
    reference = [30.0, 31.0, 32.0, 33.0, 34.0]
    found = psnr_drop([value - lost for value in reference], reference)
    assert found.spread < 1e-12
    assert found.upper == pytest.approx(lost)
    exact = psnr_drop(reference, reference)
    assert (exact.spread, exact.lower, exact.upper) == (0.0, 0.0, 0.0)


def test_a_single_image_bounds_nothing() -> None:
    found = psnr_drop([29.0], [30.0])
    assert (found.drop, found.spread, found.lower, found.upper) == (1.0, 0.0, None, None)
    assert json.loads(json.dumps(found.to_json()))["upper"] is None


@pytest.mark.parametrize("count", [0, 2])
def test_values_that_are_not_one_an_image_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="values"):
        psnr_drop([30.0] * count, [])


@pytest.mark.parametrize("images", [5, 14, 100])
def test_the_upper_bound_holds_95_times_of_100(images: int) -> None:
    random = np.random.default_rng(images)
    trials, true = 4000, 0.05
    kept = 0
    for _ in range(trials):
        lost = random.normal(true, 0.03, images)
        kept += psnr_drop(-lost, np.zeros(images)).upper >= true
    # The standard error of a share of 95 % in 4,000 is 0.34 points.
    assert kept / trials == pytest.approx(0.95, abs=0.012)
