"""Synthetic images: reproducible to the byte, distinct, and with the structure that white noise lacks."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from calib.errors import BadData
from calib.synthetic import structured_images


def slope(images: np.ndarray) -> float:
    """Exponent of the mean amplitude spectrum of grey images, -1 for 1/f."""
    grey = images.astype(np.float64).mean(axis=-1)  # [N, S, S]
    size = grey.shape[1]
    window = np.hanning(size)
    grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window
    amplitude = np.sqrt((np.abs(np.fft.fft2(grey)) ** 2).mean(axis=0))  # [S, S]
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    band = (frequency > 1.5 / size) & (frequency < 0.35)
    return float(np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0])


def test_a_seed_gives_these_very_bytes() -> None:
    # To regenerate after a wanted change: print the digest below. The bytes are the same on NumPy 1.26 and 2.x.
    digest = hashlib.sha256(structured_images(3, 24, 40, seed=7).tobytes()).hexdigest()
    assert digest == "c368f8c40dc988a1d4ac4fb2d4547f2e213ce106da9c6d04d1d39a005ed77413"


def test_another_seed_gives_other_images() -> None:
    assert not np.array_equal(structured_images(2, 16, 16, seed=0), structured_images(2, 16, 16, seed=1))


def test_fewer_images_are_a_prefix_of_more() -> None:
    assert np.array_equal(structured_images(2, 16, 16, seed=3), structured_images(5, 16, 16, seed=3)[:2])


def test_images_are_distinct_and_use_the_full_range() -> None:
    images = structured_images(64, 32, 32, seed=0)
    assert images.shape == (64, 32, 32, 3) and images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 64
    assert all(image.min() == 0 and image.max() == 255 for image in images)
    means = images.mean(axis=(1, 2, 3))
    assert means.std() > 10, "images differ in brightness"


def test_the_spectrum_falls_as_that_of_photographs_does() -> None:
    images = structured_images(100, 32, 32, seed=0)
    assert -1.6 < slope(images) < -0.9
    white = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    assert abs(slope(white)) < 0.1, "the control: white noise has a flat spectrum"


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (7, 5)])
def test_tiny_sizes_work(size: tuple[int, int]) -> None:
    assert structured_images(2, *size, seed=0).shape == (2, *size, 3)


@pytest.mark.parametrize("arguments", [(0, 8, 8, 0), (1, 0, 8, 0), (1, 8, -1, 0), (1, 8, 8, -1)])
def test_impossible_requests_are_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(BadData, match="synthetic images"):
        structured_images(*arguments)
