"""The percentile of a histogram: by hand, and within a bin of the sorted data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.errors import BadData
from calib.histogram import MagnitudeHistogram
from calib.percentile import percentile_magnitude


def histogram_of(*values: float, bins: int = 8192) -> MagnitudeHistogram:
    histogram = MagnitudeHistogram("x", bins)
    histogram.update(np.array(values, np.float32))
    return histogram


def test_the_percentile_of_ten_numbers_by_hand() -> None:
    # Range 16 in 16 bins: the k-th number lies on the upper edge of bin k, so edges are exact.
    histogram = histogram_of(10, -9, 8, -7, 6, -5, 4, -3, 2, -1, bins=16)
    for percentile, expected in ((10, 1), (50, 5), (51, 6), (90, 9), (99.99, 10), (100, 10)):
        assert percentile_magnitude(histogram, percentile) == expected


def test_zeros_count_among_the_values() -> None:
    assert percentile_magnitude(histogram_of(0, 0, 0, 0, 1, 2, 3, 4, bins=4), 75) == 2.0  # the sixth of eight


def test_a_tensor_of_almost_only_zeros_keeps_its_largest_magnitude() -> None:
    assert percentile_magnitude(histogram_of(*[0.0] * 997, 1, 5, 2), 90) == 5.0


@given(st.integers(0, 1000), st.floats(50, 100))
def test_the_percentile_is_within_a_bin_of_the_sorted_data(seed: int, percentile: float) -> None:
    values = np.random.default_rng(seed).standard_normal(3000).astype(np.float32)
    found = percentile_magnitude(histogram_of(*values.tolist()), percentile)
    ordered = np.sort(np.abs(values))
    exact = float(ordered[int(np.ceil(len(ordered) * percentile / 100)) - 1])
    assert exact <= found
    assert found - exact <= 2 / 8192 * float(ordered[-1])


@pytest.mark.parametrize("percentile", [0, -1, 100.5, float("nan")])
def test_an_impossible_percentile_is_refused(percentile: float) -> None:
    with pytest.raises(BadData, match="percentile"):
        percentile_magnitude(histogram_of(1), percentile)
