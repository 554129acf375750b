"""The magnitude of the least squared error: by hand, and as good as trying all of them on the data itself."""

from __future__ import annotations

import numpy as np
import pytest

from calib.histogram import MagnitudeHistogram
from calib.squared_error import _squared_error, squared_error_magnitude


def histogram_of(values: np.ndarray) -> MagnitudeHistogram:
    histogram = MagnitudeHistogram("x")
    histogram.update(values.astype(np.float32))
    return histogram


def error_of(values: np.ndarray, magnitude: float, largest: float = 127.0) -> float:
    step = magnitude / largest
    return float(((values - np.clip(np.rint(values / step), -largest, largest) * step) ** 2).mean())


def test_a_single_step_and_an_outlier_by_hand() -> None:
    # Codes -1, 0 and 1. With t from 1 to 2 a thousand ones err by t - 1 and the four by 4 - t:
    # 1000 (t - 1)**2 + (4 - t)**2 is least at t = 1004 / 1001 and 9.0 there. At t = 4 the ones become 0: error 1000.
    values = np.array([1.0] * 1000 + [4.0])
    assert squared_error_magnitude(histogram_of(values), largest=1.0) == pytest.approx(1004 / 1001, rel=0.011)


def test_an_outlier_that_weighs_more_is_kept_by_hand() -> None:
    # Five ones and a hundred: t = 1 errs by 99**2, t = 100 by 5.
    values = np.array([1.0] * 5 + [100.0])
    assert squared_error_magnitude(histogram_of(values), largest=1.0) == pytest.approx(100, rel=0.011)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.5, 1 / 24),  # the integral of u**2
        (0.0, 1.0, 1 / 12),  # one whole step
        (0.25, 0.5, (0.125 - 0.015625) / 3),
        (0.5, 1.5, 1 / 12),
        (2.0, 4.0, 2 / 3 + 2),  # clipped at code 2: the integral of (u - 2)**2 from 2 to 4 is 8 / 3
    ],
)
def test_the_error_of_a_bin_by_hand(low: float, high: float, expected: float) -> None:
    assert _squared_error(np.array([low, high]), np.array([1.0]), 1.0, 2.0) == pytest.approx(expected)


def test_the_error_scales_with_the_step_by_hand() -> None:
    # Values spread over 0..2 at a step of 2 and codes up to 1: (2 - x)**2 above 1 and x**2 below, 1/3 each.
    assert _squared_error(np.array([0.0, 2.0]), np.array([1.0]), 2.0, 1.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform", "outliers", "half"])
def test_no_other_magnitude_is_noticeably_better(kind: str) -> None:
    random = np.random.default_rng(0)
    values = {
        "normal": random.standard_normal(40_000),
        "laplace": random.laplace(size=40_000),
        "uniform": random.uniform(-1, 1, 40_000),
        "outliers": np.concatenate([random.standard_normal(40_000), [30.0, -40.0]]),
        "half": np.maximum(random.standard_normal(40_000), 0),
    }[kind].astype(np.float32)
    chosen = squared_error_magnitude(histogram_of(values))
    tried = [error_of(values, m) for m in np.abs(values).max() * np.geomspace(1 / 64, 1, 500)]
    assert error_of(values, chosen) <= 1.01 * min(tried)
    assert max(tried) > 3 * min(tried), "the control: the choice matters"


def test_one_magnitude_alone_is_kept() -> None:
    assert squared_error_magnitude(histogram_of(np.full(10, -0.75))) == 0.75


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**100])
def test_the_unit_does_not_matter(scale: float) -> None:
    values = np.random.default_rng(1).laplace(size=10_000)
    plain = squared_error_magnitude(histogram_of(values))
    assert squared_error_magnitude(histogram_of(values * scale)) == pytest.approx(plain * scale, rel=1e-6)
