"""Observers: exact histograms however the data is cut into batches, and refusal of data that has no range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calib.errors import BadData
from calib.observers import OBSERVERS, MinMaxObserver, PercentileObserver

BOTH = sorted(OBSERVERS)
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_known_methods_are_read_only() -> None:
    assert BOTH == ["min-max", "percentile"]
    with pytest.raises(TypeError):
        OBSERVERS["mine"] = MinMaxObserver  # type: ignore[index]


@pytest.mark.parametrize("method", BOTH)
def test_a_method_makes_an_observer_of_the_tensors_name(method: str) -> None:
    assert OBSERVERS[method]("blocks.0.qkv").name == "blocks.0.qkv"


def test_min_max_keeps_the_largest_magnitude_of_either_sign() -> None:
    observer = MinMaxObserver("x")
    observer.update(floats(1, -3))
    observer.update(floats(2).reshape(1, 1, 1))
    assert observer.amax() == 3.0


def test_the_percentile_of_ten_numbers_by_hand() -> None:
    # Range 10 in 10 bins: the k-th number lies on the upper edge of bin k, so edges are exact.
    for percentile, expected in ((10, 1), (50, 5), (51, 6), (90, 9), (99.99, 10), (100, 10)):
        observer = PercentileObserver("x", percentile=percentile, bins=10)
        observer.update(floats(10, -9, 8, -7, 6, -5, 4, -3, 2, -1))
        assert observer.amax() == expected


def test_the_range_doubles_and_bins_merge_in_pairs_by_hand() -> None:
    observer = PercentileObserver("x", percentile=50, bins=4)
    observer.update(floats(1, 2, 3, 4))  # one in each bin of width 1
    observer.update(floats(5, 6, 7, 8))  # range 8, width 2: two in each bin
    assert observer._counts.tolist() == [2, 2, 2, 2]
    assert observer.amax() == 4.0


def test_zeros_count_among_the_values() -> None:
    observer = PercentileObserver("x", percentile=75, bins=4)
    observer.update(floats(0, 0, 0, 0))
    observer.update(floats(1, 2, 3, 4))
    assert observer.amax() == 2.0  # the sixth of eight


def test_a_tensor_of_almost_only_zeros_keeps_its_largest_magnitude() -> None:
    observer = PercentileObserver("x", percentile=90)
    values = np.zeros(1000, np.float32)
    values[:3] = (1, 5, 2)
    observer.update(values)
    assert observer.amax() == 5.0


@given(st.lists(arrays(np.float32, st.integers(1, 30), elements=FINITE), min_size=1, max_size=6))
def test_merging_never_changes_a_count(batches: list[np.ndarray]) -> None:
    streamed = PercentileObserver("x", bins=16)
    for batch in batches:
        streamed.update(batch)
    at_once = PercentileObserver("x", bins=16)
    at_once._range = streamed._range  # the final range from the start: no doubling
    at_once.update(np.concatenate(batches))
    assert streamed._range == at_once._range
    assert streamed._counts.tolist() == at_once._counts.tolist()
    assert streamed._zeros == at_once._zeros
    assert streamed._counts.sum() + streamed._zeros == sum(batch.size for batch in batches)


@given(st.integers(0, 1000), st.floats(50, 100), st.integers(1, 9))
def test_the_percentile_is_within_a_bin_of_the_sorted_data(seed: int, percentile: float, parts: int) -> None:
    values = np.random.default_rng(seed).standard_normal(3000).astype(np.float32)
    observer = PercentileObserver("x", percentile=percentile)
    for part in np.array_split(values, parts):
        observer.update(part)
    ordered = np.sort(np.abs(values))
    exact = float(ordered[int(np.ceil(len(ordered) * percentile / 100)) - 1])
    assert exact <= observer.amax() * (1 + 1e-12)
    assert observer.amax() - exact <= 2 / 8192 * float(ordered[-1])


def test_outliers_are_clipped_by_the_percentile_and_kept_by_min_max() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    values[:5] = 1000
    percentile, largest = PercentileObserver("x"), MinMaxObserver("x")
    for observer in (percentile, largest):
        observer.update(values[5:])
        observer.update(values[:5])
    assert largest.amax() == 1000.0
    assert 0.999 <= percentile.amax() <= 1.25  # a bin of the widened range is up to 2 * 1000 / 8192 wide


def test_memory_does_not_grow_with_batches() -> None:
    observer = PercentileObserver("x", bins=64)
    for scale in (1e-30, 1.0, 1e30):
        observer.update(np.linspace(-scale, scale, 101, dtype=np.float32))
        assert observer._counts.size == 64
    assert observer.amax() == pytest.approx(1e30)


def test_blocks_of_a_large_tensor_are_all_counted() -> None:
    observer = PercentileObserver("x", percentile=50)
    values = np.ones((2, (1 << 20) + 3), np.float32)
    values[1] = 3
    observer.update(values)
    assert observer.amax() == pytest.approx(1, abs=1e-3)
    assert observer._counts.sum() == values.size


def test_a_strided_view_counts_as_its_values() -> None:
    observer = PercentileObserver("x", percentile=100)
    observer.update(np.arange(24, dtype=np.float32).reshape(4, 6).T[::2])
    assert observer.amax() == 22.0


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_non_finite_values_are_refused_naming_the_tensor(method: str, value: float, kind: str) -> None:
    observer = OBSERVERS[method]("layers.1.fc2")
    observer.update(floats(1, 2))
    with pytest.raises(BadData, match=rf"tensor layers\.1\.fc2 holds {kind} values"):
        observer.update(floats(0, value, 3))
    assert observer.amax() > 0, "the earlier batch still stands"


@pytest.mark.parametrize("method", BOTH)
def test_integers_are_refused(method: str) -> None:
    with pytest.raises(BadData, match="holds int8"):
        OBSERVERS[method]("x").update(np.zeros(3, np.int8))


@pytest.mark.parametrize("method", BOTH)
def test_without_values_there_is_no_range(method: str) -> None:
    observer = OBSERVERS[method]("x")
    observer.update(np.zeros((0, 4), np.float32))
    with pytest.raises(BadData, match="tensor x has no values"):
        observer.amax()


@pytest.mark.parametrize("method", BOTH)
def test_zeros_alone_have_range_zero(method: str) -> None:
    observer = OBSERVERS[method]("x")
    observer.update(np.zeros((2, 4), np.float32))
    assert observer.amax() == 0.0


@pytest.mark.parametrize("percentile", [0, -1, 100.5, float("nan")])
def test_an_impossible_percentile_is_refused(percentile: float) -> None:
    with pytest.raises(BadData, match="percentile"):
        PercentileObserver("x", percentile=percentile)
