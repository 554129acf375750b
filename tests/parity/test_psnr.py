"""PSNR-Y against numbers worked out by hand, and against SwinIR's formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.device.psnr_y import luma, psnr_y
from swin_deploy.parity.psnr import BEST_DB, border_of, psnr_y_against_picture


def colour(red: float, green: float, blue: float) -> np.ndarray:
    return np.array([red, green, blue], np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("image", "level"),
    [
        (colour(0, 0, 0), 16.0),
        (colour(1, 1, 1), 235.0),
        (colour(1, 0, 0), 16 + 65.481),
        (colour(0, 1, 0), 16 + 128.553),
        (colour(0, 0, 1), 16 + 24.966),
        (colour(0.5, 0.5, 0.5), 16 + 219 / 2),
        (colour(-3, 2, 0), 16 + 128.553),  # clamped to 0 and 1
    ],
)
def test_the_luma_is_bt_601_in_studio_range(image: np.ndarray, level: float) -> None:
    assert 255 * luma(image) == pytest.approx(np.full((2, 2), level))


def test_red_and_blue_are_not_exchanged() -> None:
    assert luma(colour(1, 0, 0))[0, 0] > luma(colour(0, 0, 1))[0, 0]


def test_a_grey_network_has_its_image_for_luma_and_other_channels_count_alike() -> None:
    assert luma(np.full((1, 2, 2), 0.25, np.float32)).tolist() == [[0.25, 0.25]] * 2
    assert luma(np.zeros((4, 2, 2), np.float32)).shape == (4, 2, 2)


def test_psnr_y_by_hand() -> None:
    # One of four pixels differs by 0.2 in green: the error of Y is 0.2 * 128.553 / 255, its mean square a quarter.
    reference = colour(0.5, 0.5, 0.5)
    candidate = reference.copy()
    candidate[1, 0, 0] += 0.2
    wanted = -10 * math.log10((0.2 * 128.553 / 255) ** 2 / 4)
    assert psnr_y(candidate, reference) == pytest.approx(wanted, abs=1e-5)
    assert psnr_y(reference, candidate) == pytest.approx(wanted, abs=1e-5)


def test_a_grey_level_in_all_channels_is_49_decibels() -> None:
    # 20 log10(255 / (219 / 255)) = 48.13 + 1.32
    assert psnr_y(colour(0.5, 0.5, 0.5) + np.float32(1 / 255), colour(0.5, 0.5, 0.5)) == pytest.approx(49.45, abs=5e-3)


def test_equal_images_are_exact_and_what_is_beyond_white_is_white() -> None:
    assert psnr_y(colour(1, 1, 1), colour(1, 1, 1)) == EXACT_DB
    assert psnr_y(colour(1.5, 1.5, 1.5), colour(1, 1, 1)) == EXACT_DB


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_has_the_lowest_ratio_on_either_side(bad: float) -> None:
    spoiled = colour(0.5, 0.5, 0.5)
    spoiled[2, 1, 1] = bad
    assert psnr_y(spoiled, colour(0.5, 0.5, 0.5)) == psnr_y(colour(0.5, 0.5, 0.5), spoiled) == -EXACT_DB
    assert psnr_y_against_picture(spoiled, np.zeros((3, 2, 2), np.uint8), 0) == 0.0


def swinir(output: np.ndarray, picture: np.ndarray, border: int) -> float:
    """SwinIR's evaluation as its text has it, in float64: [C, H, W] both, in RGB."""
    first = (np.clip(output, 0, 1) * np.float32(255.0)).round().astype(np.uint8).astype(np.float64)
    second = picture.astype(np.float64)
    if border:
        first, second = (image[:, border:-border, border:-border] for image in (first, second))
    planes = [np.tensordot([65.481, 128.553, 24.966], image / 255, axes=1) + 16 for image in (first, second)]
    return float(20 * np.log10(255 / np.sqrt(np.mean((planes[0] - planes[1]) ** 2))))


@pytest.mark.parametrize("border", [0, 2, 4])
def test_against_a_picture_it_is_swinirs_own_figure(border: int) -> None:
    random = np.random.default_rng(border)
    picture = random.integers(0, 256, (3, 24, 17), dtype=np.uint8)
    output = (picture / 255 + 0.05 * random.standard_normal(picture.shape)).astype(np.float32)
    found = psnr_y_against_picture(output, picture, border)
    assert found == pytest.approx(swinir(output, picture, border), abs=1e-9)
    assert found != pytest.approx(swinir(output, picture, border + 1), abs=1e-4)  # the control: the border counts


def test_the_border_is_the_scale_and_denoising_has_none() -> None:
    assert [border_of(scale) for scale in (1, 2, 4, 8)] == [0, 2, 4, 8]


def test_an_error_in_the_border_alone_is_not_seen_against_the_picture_and_is_against_the_oracle() -> None:
    picture = np.full((3, 8, 8), 100, np.uint8)
    output = (picture / 255).astype(np.float32)
    output[:, 0] = 0
    assert psnr_y_against_picture(output, picture, 2) == BEST_DB
    assert psnr_y_against_picture(output, picture, 0) < 25
    assert psnr_y(output, (picture / 255).astype(np.float32)) < 25


def test_an_error_below_half_a_grey_level_is_rounded_away_against_the_picture_alone() -> None:
    picture = np.full((3, 8, 8), 100, np.uint8)
    output = ((picture + 0.4) / 255).astype(np.float32)
    assert psnr_y_against_picture(output, picture, 0) == BEST_DB
    assert psnr_y(output, (picture / 255).astype(np.float32)) < 60


def test_a_shift_by_one_pixel_is_seen() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    output = (picture / 255).astype(np.float32)
    assert psnr_y_against_picture(np.roll(output, 1, axis=2), picture, 2) < 20
    assert psnr_y(np.roll(output, 1, axis=1), output) < 20


@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 8, 8), (3, 4, 4)])
def test_other_shapes_and_a_border_that_leaves_nothing_are_refused(shape: tuple[int, int, int]) -> None:
    output = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match="images of shapes"):
        psnr_y_against_picture(output, np.zeros((3, 8, 8) if shape != (3, 4, 4) else shape, np.uint8), 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        psnr_y(output, np.zeros((3, 8, 8), np.float32))
