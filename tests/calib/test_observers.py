"""What all methods have in common: the bounds of a range, its independence of batches, and data that has no range."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calib.errors import BadData
from calib.histogram import MagnitudeHistogram
from calib.observers import OBSERVERS, Method
from calib.percentile import percentile_magnitude

ALL = sorted(OBSERVERS)
FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def amax(method: str, *batches: np.ndarray) -> float:
    observer = OBSERVERS[method]("x")
    for batch in batches:
        observer.update(batch)
    return observer.amax()


def test_the_known_methods_are_read_only() -> None:
    assert ALL == ["entropy", "min-max", "moving-average", "mse", "percentile"]
    with pytest.raises(TypeError):
        OBSERVERS["mine"] = OBSERVERS["mse"]  # type: ignore[index]


@pytest.mark.parametrize("method", ALL)
def test_a_method_makes_an_observer_of_the_tensors_name(method: str) -> None:
    assert OBSERVERS[method]("blocks.0.qkv").name == "blocks.0.qkv"


def test_min_max_keeps_the_largest_magnitude_of_either_sign() -> None:
    assert amax("min-max", floats(1, -3), floats(2).reshape(1, 1, 1)) == 3.0


def test_the_moving_average_of_two_batches_by_hand() -> None:
    assert amax("moving-average", floats(1, -3), floats(2)) == pytest.approx((0.9 * 3 + 2) / 1.9)


def test_outliers_are_kept_by_min_max_and_clipped_by_the_histograms_methods() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    values[:5] = 40
    found = {method: amax(method, values[5:], values[:5]) for method in ("min-max", "percentile", "entropy", "mse")}
    assert found["min-max"] == 40.0
    assert 3 < found["percentile"] < 5 and 3 < found["entropy"] < 5
    # Clipping at t costs 5 (40 - t)**2 and rounding 100,000 (t / 127)**2 / 12, together least at 36.3.
    assert found["mse"] == pytest.approx(36.3, rel=0.012)


@pytest.mark.parametrize("method", ALL)
@settings(max_examples=30, deadline=None)
@given(st.lists(arrays(np.float32, st.integers(1, 30), elements=FINITE), min_size=1, max_size=4))
def test_a_range_is_above_zero_and_at_most_the_largest_magnitude(method: str, batches: list[np.ndarray]) -> None:
    largest = max(float(np.abs(batch).max()) for batch in batches)
    found = amax(method, *batches)
    assert 0 < found <= largest if largest else found == 0


@pytest.mark.parametrize("method", sorted(set(ALL) - {"moving-average"}))
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.floats(0.1, 1000))
def test_the_cut_into_batches_does_not_matter(method: str, seed: int, parts: int, growth: float) -> None:
    values = np.random.default_rng(seed).standard_normal(3000).astype(np.float32)
    values[2000:] *= np.float32(growth)
    assert amax(method, *np.array_split(values, parts)) == amax(method, values) == amax(method, values[::-1])


def test_the_cut_into_batches_does_matter_to_the_moving_average() -> None:
    assert amax("moving-average", floats(1), floats(3)) != amax("moving-average", floats(1, 3))


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_non_finite_values_are_refused_naming_the_tensor(method: str, value: float, kind: str) -> None:
    observer = OBSERVERS[method]("layers.1.fc2")
    observer.update(floats(1, 2))
    with pytest.raises(BadData, match=rf"tensor layers\.1\.fc2 holds {kind} values"):
        observer.update(floats(0, value, 3))
    assert observer.amax() > 0, "the earlier batch still stands"


@pytest.mark.parametrize("method", ALL)
def test_integers_are_refused(method: str) -> None:
    with pytest.raises(BadData, match="holds int8"):
        OBSERVERS[method]("x").update(np.zeros(3, np.int8))


@pytest.mark.parametrize("method", ALL)
def test_without_values_there_is_no_range(method: str) -> None:
    with pytest.raises(BadData, match="tensor x has no values"):
        amax(method, np.zeros((0, 4), np.float32))


@pytest.mark.parametrize("method", ALL)
def test_zeros_alone_have_range_zero(method: str) -> None:
    assert amax(method, np.zeros((2, 4), np.float32)) == 0.0


def test_options_are_given_with_partial() -> None:
    observer = Method(MagnitudeHistogram, partial(percentile_magnitude, percentile=50))("x")
    observer.update(floats(1, 2, 3, 4))
    assert observer.amax() == 2.0
