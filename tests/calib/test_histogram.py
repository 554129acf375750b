"""The histogram of magnitudes: exact however the data is cut into batches, whatever its scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calib.errors import BadData
from calib.histogram import MagnitudeHistogram

FINITE = st.floats(-(2.0**127), 2.0**127, width=32)  # subnormal numbers among them
BATCHES = st.lists(arrays(np.float32, st.integers(1, 30), elements=FINITE), min_size=1, max_size=6)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def histogram_of(*batches: np.ndarray, bins: int = 8192) -> MagnitudeHistogram:
    histogram = MagnitudeHistogram("x", bins)
    for batch in batches:
        histogram.update(batch)
    return histogram


def test_a_bin_holds_its_upper_edge_by_hand() -> None:
    histogram = histogram_of(floats(0, 1, -1.5, 2, 3, -4), bins=4)  # range 4, width 1
    assert histogram.counts.tolist() == [1, 2, 1, 1]
    assert (histogram.zeros, histogram.seen, histogram.largest, histogram.width) == (1, 6, 4.0, 1.0)


def test_the_range_is_the_next_power_of_two() -> None:
    for largest, width in ((4, 1.0), (4.5, 2.0), (5, 2.0), (8, 2.0), (0.75, 0.25), (0.5, 0.125)):
        assert histogram_of(floats(largest), bins=4).width == width


def test_the_range_doubles_and_bins_merge_in_pairs_by_hand() -> None:
    histogram = histogram_of(floats(1, 2, 3, 4), bins=4)  # one in each bin of width 1
    histogram.update(floats(5, 6, 7, 8))  # range 8, width 2: two in each bin
    assert histogram.counts.tolist() == [2, 2, 2, 2]


@given(BATCHES)
def test_the_cut_into_batches_changes_no_count(batches: list[np.ndarray]) -> None:
    streamed, at_once = histogram_of(*batches, bins=16), histogram_of(np.concatenate(batches), bins=16)
    assert streamed.counts.tolist() == at_once.counts.tolist()
    assert (streamed.zeros, streamed.width, streamed.largest) == (at_once.zeros, at_once.width, at_once.largest)
    assert streamed.counts.sum() + streamed.zeros == streamed.seen == sum(batch.size for batch in batches)


@given(BATCHES)
def test_every_value_is_in_the_bin_that_exact_fractions_say(batches: list[np.ndarray]) -> None:
    histogram = histogram_of(*batches, bins=8)
    expected = [0] * 8
    for value in np.abs(np.concatenate(batches)).tolist():
        if value:
            expected[min(math.ceil(value / histogram.width), 8) - 1] += 1
    assert histogram.counts.tolist() == expected


def test_half_precision_and_double_precision_are_counted_too() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float16)
    counts = [histogram_of(values.astype(kind)).counts.tolist() for kind in (np.float16, np.float32, np.float64)]
    assert counts[0] == counts[1] == counts[2]


def test_blocks_of_a_large_tensor_are_all_counted() -> None:
    values = np.ones((2, (1 << 17) + 3), np.float32)
    values[1] = 3
    counts = histogram_of(values, bins=4).counts
    assert counts.tolist() == [(1 << 17) + 3, 0, (1 << 17) + 3, 0]


def test_a_strided_view_counts_as_its_values() -> None:
    histogram = histogram_of(np.arange(24, dtype=np.float32).reshape(4, 6).T[::2], bins=32)
    assert histogram.largest == 22.0 and histogram.seen == 12 and histogram.counts.sum() == 11


def test_memory_does_not_grow_with_batches() -> None:
    histogram = histogram_of(*(np.linspace(-s, s, 101, dtype=np.float32) for s in (1e-30, 1.0, 1e30)), bins=64)
    assert histogram._counts.size == 65
    assert histogram.counts.sum() == 300 and histogram.zeros == 3


def test_counts_are_a_copy() -> None:
    histogram = histogram_of(floats(1, 2))
    histogram.counts[:] = 7
    assert histogram.counts.sum() == 2


def test_the_filled_part_merges_and_ends_at_the_largest_by_hand() -> None:
    histogram = histogram_of(floats(1, 2, 3, 4, 5), bins=8)  # range 8, width 1
    for most, counts, width in ((8, [1, 1, 1, 1, 1], 1.0), (4, [2, 2, 1], 2.0), (2, [4, 1], 4.0)):
        found, found_width = histogram.up_to_largest(most)
        assert found.tolist() == counts and found_width == width


def test_zeros_alone_have_no_filled_part() -> None:
    histogram = histogram_of(np.zeros(5, np.float32))
    assert histogram.zeros == histogram.seen == 5 and histogram.width == 0
    assert histogram.up_to_largest(8)[0].size == 0


def test_a_batch_with_nan_leaves_the_counts_alone() -> None:
    histogram = histogram_of(floats(1, 2))
    with pytest.raises(BadData, match="tensor x holds NaN"):
        histogram.update(floats(0, math.nan))
    assert histogram.seen == histogram.counts.sum() == 2
