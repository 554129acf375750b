"""Noise, single colours and copies are refused as calibration data; photographs and structured images are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calib.errors import BadData
from calib.images import ImageSet, open_images
from calib.noise import neighbour_correlation, refuse_noise
from calib.synthetic import structured_images

CIFAR = Path(__file__).parents[2] / "examples" / "cifar10"


def stored(folder: Path, images: np.ndarray) -> ImageSet:
    np.savez(folder / "set.npz", images=images)
    return open_images(folder / "set.npz")


def uniform(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def gaussian(count: int) -> np.ndarray:
    return np.clip(np.random.default_rng(0).normal(127, 40, (count, 32, 32, 3)), 0, 255).astype(np.uint8)


def grey(rows: list[list[int]]) -> np.ndarray:
    return np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", ["calib.tar.xz", "eval.tar.xz"])
def test_photographs_pass(name: str) -> None:
    images = open_images(CIFAR / name)
    refuse_noise(images)
    refuse_noise(images.subset([0]))
    found = [neighbour_correlation(images[i]) for i in range(0, len(images), 10)]
    assert None not in found and min(map(float, found)) > 0.4 and np.median(found) > 0.8


@pytest.mark.parametrize("size", [8, 16, 32, 300])
def test_structured_images_pass(tmp_path: Path, size: int) -> None:
    refuse_noise(stored(tmp_path, structured_images(20, size, size, seed=0)))


@pytest.mark.parametrize("images", [uniform(70), uniform(9, 300), uniform(100, 8), gaussian(20), uniform(1)])
def test_white_noise_is_refused(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(BadData, match=r"of \d+ calibration images looked at are random noise"):
        refuse_noise(stored(tmp_path, images))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_folder_of_noise_is_refused(tmp_path: Path, suffix: str) -> None:
    for index, image in enumerate(uniform(12)):
        Image.fromarray(image).save(tmp_path / f"{index}{suffix}")
    with pytest.raises(BadData, match="12 of 12"):
        refuse_noise(open_images(tmp_path))


def test_some_noise_among_pictures_passes_and_a_majority_does_not(tmp_path: Path) -> None:
    pictures = structured_images(20, 32, 32, seed=0)
    refuse_noise(stored(tmp_path, np.concatenate([uniform(20), pictures])))
    with pytest.raises(BadData, match="21 of 40"):
        refuse_noise(stored(tmp_path, np.concatenate([uniform(21), pictures[:19]])))


def test_a_large_set_is_judged_on_64_images_of_its_whole_length(tmp_path: Path) -> None:
    images = np.concatenate([structured_images(200, 8, 8, seed=0), uniform(300, 8)])
    with pytest.raises(BadData, match="of 64 calibration images"):
        refuse_noise(stored(tmp_path, images))


def test_single_colours_are_refused_unless_one_image_shows_something(tmp_path: Path) -> None:
    flat = np.ones((100, 16, 16, 3), np.uint8) * np.arange(100, dtype=np.uint8)[:, None, None, None]
    with pytest.raises(BadData, match="each of the 100 calibration images has a single colour"):
        refuse_noise(stored(tmp_path, flat))
    flat[1] = structured_images(1, 16, 16, seed=0)[0]  # not one of the 64 that are looked at first
    refuse_noise(stored(tmp_path, flat))


def test_copies_of_one_image_are_refused_and_a_single_image_is_not(tmp_path: Path) -> None:
    picture = structured_images(1, 32, 32, seed=0)
    with pytest.raises(BadData, match="all 5 calibration images are the same"):
        refuse_noise(stored(tmp_path, np.repeat(picture, 5, axis=0)))
    refuse_noise(stored(tmp_path, picture))


def test_the_correlation_by_hand() -> None:
    # Rows alike: pairs side by side are (0, 10) and (10, 20), correlated 1; the same for those below each other.
    assert neighbour_correlation(grey([[0, 10, 20], [0, 10, 20]])) == pytest.approx(1)
    # A chessboard: each neighbour is the opposite.
    assert neighbour_correlation(grey([[0, 9, 0], [9, 0, 9]])) == pytest.approx(-1)
    # Side by side (0, 1), (1, 1), (1, 0): means 2/3, products -2/9, 1/9, -2/9 over squares 2/3: -1/2. No other row.
    assert neighbour_correlation(grey([[0, 1, 1, 0]])) == pytest.approx(-0.5)


def test_one_grey_level_or_one_pixel_has_no_correlation() -> None:
    assert neighbour_correlation(grey([[7, 7, 7], [7, 7, 7]])) is None
    assert neighbour_correlation(grey([[7]])) is None
