"""The sampler: rows evenly from the images, extremes of all tokens, whatever the batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from calib.errors import BadData
from calib.linear_sample import InputSample, InputSampler


def stream(images: int, tokens: int, channels: int = 3) -> np.ndarray:
    """[images, tokens, channels]; each value says its image and token: 1000 * image + token + channel / 10."""
    image, token, channel = np.ogrid[:images, :tokens, :channels]
    values: np.ndarray = (1000 * (image + 1) + token + channel / 10).astype(np.float32)
    return values


def sampled(values: np.ndarray, rows: int, cuts: Sequence[int] = (), seed: int = 0) -> InputSample:
    sampler = InputSampler(len(values), {"x": rows}, seed)
    for batch in np.split(values, cuts):
        sampler.update({"x": batch}, len(batch))
    return sampler.samples()["x"]


def by_image(sample: InputSample) -> list[int]:
    """How many rows came from each image that gave any."""
    return np.unique(sample.rows[:, 0] // 1000, return_counts=True)[1].tolist()


@pytest.mark.parametrize("cuts", [(), (5,), (1, 2, 6)])
def test_each_image_gives_the_same_number_of_rows(cuts: Sequence[int]) -> None:
    sample = sampled(stream(8, 100), 40, cuts)
    assert by_image(sample) == [5] * 8
    assert len(np.unique(sample.rows[:, 0])) == 40, "no token twice"


def test_where_the_rows_do_not_divide_images_differ_by_one_row() -> None:
    assert sorted(by_image(sampled(stream(8, 100), 20))) == [2] * 4 + [3] * 4


def test_with_fewer_rows_than_images_they_are_spread_over_the_stream() -> None:
    sample = sampled(stream(30, 10), 6)
    assert sorted((sample.rows[:, 0] // 1000).tolist()) == [5, 10, 15, 20, 25, 30]


def test_with_fewer_tokens_than_rows_all_are_kept() -> None:
    values = stream(4, 5)
    sample = sampled(values, 100, (2,))
    assert sorted(sample.rows[:, 0].tolist()) == sorted(values[..., 0].ravel().tolist())


def test_rows_are_whole_tokens_shuffled_over_the_images() -> None:
    sample = sampled(stream(8, 100), 80)
    np.testing.assert_allclose(sample.rows[:, 2] - sample.rows[:, 0], 0.2, atol=1e-3)
    assert len(set((sample.first(20).rows[:, 0] // 1000).tolist())) > 4, "any first part is a sample too"


def test_the_cut_into_batches_does_not_matter() -> None:
    values = np.random.default_rng(0).standard_normal((12, 7, 4)).astype(np.float32)
    whole = sampled(values, 30)
    for cuts in ((1,), (4, 8), range(1, 12)):
        other = sampled(values, 30, tuple(cuts))
        np.testing.assert_array_equal(other.rows, whole.rows)
        np.testing.assert_array_equal(other.lowest, whole.lowest)
        np.testing.assert_array_equal(other.highest, whole.highest)


def test_the_seed_chooses_the_rows() -> None:
    values = stream(8, 100)
    first = sampled(values, 40, seed=1).rows
    np.testing.assert_array_equal(first, sampled(values, 40, seed=1).rows)
    assert set(first[:, 0].tolist()) != set(sampled(values, 40, seed=2).rows[:, 0].tolist())


def test_a_tensors_rows_do_not_depend_on_the_other_tensors() -> None:
    values, other = stream(6, 50), np.ones((6, 9, 2), np.float32)
    alone = sampled(values, 24).rows
    for rows in ({"x": 24, "y": 10}, {"y": 10, "x": 24}):
        sampler = InputSampler(6, rows)
        sampler.update({"y": other, "x": values, "unasked": other}, 6)
        found = sampler.samples()
        assert list(found) == list(rows)
        np.testing.assert_array_equal(found["x"].rows, alone)


def test_windows_count_with_their_image() -> None:
    values = stream(8, 100)
    sampler = InputSampler(8, {"x": 40})
    sampler.update({"x": values.reshape(8 * 4, 25, 3)}, 8)
    assert by_image(sampler.samples()["x"]) == [5] * 8


def test_extremes_are_those_of_all_tokens_not_of_the_rows_kept() -> None:
    values = np.random.default_rng(0).standard_normal((4, 200, 3)).astype(np.float32)
    values[1, 17], values[3, 5] = (50, 1, 0), (0, -70, 0)
    sample = sampled(values, 8, (2,))
    np.testing.assert_array_equal(sample.lowest, values.min(axis=(0, 1)))
    np.testing.assert_array_equal(sample.highest, values.max(axis=(0, 1)))
    assert sample.amax == 70
    assert np.abs(sample.rows).max() < 50, "the control: the rows missed them"


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_rows_kept_never_exceed_what_was_asked(extra: int) -> None:
    sampler = InputSampler(4, {"x": 10})
    for _ in range(4 + extra):
        sampler.update({"x": np.ones((1, 100, 3), np.float32)}, 1)
        assert sampler._kept["x"].shape == (10, 3) and sampler._filled["x"] <= 10
    assert len(sampler.samples()["x"].rows) == 10


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_naming_the_tensor(value: float) -> None:
    values = np.ones((2, 5, 3), np.float32)
    values[1, 2, 1] = value
    with pytest.raises(BadData, match=r"tensor blocks\.0\.fc1 holds NaN or infinite"):
        InputSampler(2, {"blocks.0.fc1": 1}).update({"blocks.0.fc1": values}, 2)


def test_a_missing_tensor_is_refused() -> None:
    with pytest.raises(BadData, match="no tensor y"):
        InputSampler(2, {"y": 1}).update({"x": np.ones((2, 5, 3), np.float32)}, 2)


def test_a_tensor_that_is_zero_throughout_is_refused() -> None:
    with pytest.raises(BadData, match="tensor x is zero in all 2 calibration images"):
        sampled(np.zeros((2, 5, 3), np.float32), 4)
    values = np.zeros((2, 50, 3), np.float32)
    values[1, 3, 2] = -1
    assert sampled(values, 1).amax == 1, "one value elsewhere than in the rows is enough"


def test_without_a_batch_there_is_no_sample() -> None:
    with pytest.raises(BadData, match="tensor x has no values"):
        InputSampler(2, {"x": 4}).samples()


def test_a_moved_sample_by_hand() -> None:
    rows = np.array([[1, -4], [5, 4]], np.float32)
    sample = InputSample("x", rows, np.array([-3, -4], np.float32), np.array([5, 8], np.float32))
    moved = sample.moved(np.array([1, 2], np.float32), np.array([2, 0.5], np.float32))
    assert moved.rows.tolist() == [[0, -12], [2, 4]]
    assert moved.lowest.tolist() == [-2, -12] and moved.highest.tolist() == [2, 12]
    assert moved.amax == 12 and moved.name == "x"
    assert sample.first(1).rows.tolist() == [[1, -4]] and sample.first(1).amax == 8
