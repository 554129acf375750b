"""Entropy calibration: by hand, against the definition written out literally, and never silently min-max."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calib.entropy import _divergences, entropy_magnitude
from calib.errors import BadData
from calib.histogram import MagnitudeHistogram


def histogram_of(values: np.ndarray, bins: int = 8192) -> MagnitudeHistogram:
    histogram = MagnitudeHistogram("x", bins)
    histogram.update(values.astype(np.float32))
    return histogram


def literal(counts: np.ndarray, levels: int) -> list[float]:
    """The definition, one candidate after the other."""
    found = []
    for kept in range(levels, len(counts) + 1):
        p = counts[:kept].astype(np.float64)
        q = np.zeros(kept)
        level = np.searchsorted(np.linspace(0, kept, levels + 1), np.arange(kept), side="right") - 1
        for g in range(levels):
            members = (level == g) & (p > 0)
            if members.any():
                q[members] = p[members].mean()
        p[-1] += counts[kept:].sum()
        if q[-1] == 0 and p[-1] > 0:
            found.append(math.inf)
            continue
        p, q = p / p.sum(), q / q.sum()
        there = p > 0
        found.append(float((p[there] * np.log(p[there] / q[there])).sum()))
    return found


def test_the_divergences_of_nine_numbers_by_hand() -> None:
    # Two levels over 32 bins of width 1: six values in the first bin, two in the second, one in the last.
    values = np.array([1] * 6 + [2] * 2 + [32])
    # Two bins kept: P = (6, 2 + 1) / 9, Q = (6, 2) / 8.
    clipped = 6 / 9 * math.log((6 / 9) / (6 / 8)) + 3 / 9 * math.log((3 / 9) / (2 / 8))
    # All kept: a level has 16 bins, so Q spreads 6 + 2 over the first two: P = (6, 2, 1) / 9, Q = (4, 4, 1) / 9.
    whole = 6 / 9 * math.log(6 / 4) + 2 / 9 * math.log(2 / 4)
    histogram = histogram_of(values, bins=32)
    divergences = _divergences(histogram.counts, 2)
    assert divergences[0] == pytest.approx(clipped) == pytest.approx(0.0174, abs=1e-4)
    assert divergences[-1] == pytest.approx(whole) == pytest.approx(0.1163, abs=1e-4)
    assert np.isinf(divergences[1:-1]).all(), "their last bin is empty, and 32 lies above it"
    assert entropy_magnitude(histogram, largest=1.0) == 2.0


def test_equal_counts_lose_nothing_unclipped_by_hand() -> None:
    # Spread evenly again, equal counts are what they were: the divergence of all bins is 0.
    histogram = histogram_of(np.arange(1, 33), bins=32)
    assert _divergences(histogram.counts, 2)[-1] == pytest.approx(0, abs=1e-12)
    assert entropy_magnitude(histogram, largest=1.0) == 32.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [2, 5, 16])
def test_all_divergences_agree_with_the_definition(seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.poisson(np.exp(-np.arange(16 * levels - seed) / (3 * levels)) * 20)
    counts[-1] += 1
    found, expected = _divergences(counts, levels), np.array(literal(counts, levels))
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    assert found[np.isfinite(found)] == pytest.approx(expected[np.isfinite(expected)], abs=1e-9)


def test_outliers_are_clipped() -> None:
    values = np.random.default_rng(0).standard_normal(200_000)
    values[:3] = (20, -25, 30)
    assert 2.5 < entropy_magnitude(histogram_of(values)) < 6


def test_too_few_bins_are_refused_and_do_not_become_min_max() -> None:
    values = np.random.default_rng(0).standard_normal(200_000)
    values[:3] = (20, -25, 30)
    # What the other tools do: with as many bins as levels there is nothing to choose from.
    assert len(_divergences(histogram_of(values, bins=128).counts, 128)) == 1
    for bins in (128, 1024):
        with pytest.raises(BadData, match=f"{bins} bins for 128 levels.*at least 2048"):
            entropy_magnitude(histogram_of(values, bins))
    assert entropy_magnitude(histogram_of(values, 2048)) < 6


@pytest.mark.parametrize("scale", [2.0**-40, 1.0, 2.0**40])
def test_the_unit_does_not_matter(scale: float) -> None:
    values = np.random.default_rng(1).laplace(size=50_000)
    assert entropy_magnitude(histogram_of(values * scale)) == entropy_magnitude(histogram_of(values)) * scale


def test_zeros_do_not_matter() -> None:
    values = np.random.default_rng(1).laplace(size=50_000)
    with_zeros = np.concatenate([values, np.zeros(500_000)])
    assert entropy_magnitude(histogram_of(with_zeros)) == entropy_magnitude(histogram_of(values))


def test_one_magnitude_alone_is_kept() -> None:
    assert entropy_magnitude(histogram_of(np.full(10, -0.3))) == float(np.float32(0.3))
