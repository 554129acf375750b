"""Preprocessing against torch's interpolate, torchvision's and timm's transforms, and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calib.errors import BadData
from calib.preprocess import Preprocess

PLAIN = Preprocess(
    height=8,
    width=8,
    resize="squash",
    interpolation="bilinear",
    resampler="torch",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey_levels(spec: Preprocess, image: np.ndarray) -> np.ndarray:
    """The result in HWC on 0..255, for a spec with mean 0 and std 1."""
    return spec(image).transpose(1, 2, 0) * np.float32(255)


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((32, 32), (56, 56)),
        ((500, 375), (224, 224)),
        ((375, 500), (341, 256)),
        ((48, 64), (96, 33)),
        ((7, 5), (90, 200)),
        ((600, 20), (599, 21)),
        ((1, 1), (3, 4)),
        ((2, 3), (1, 1)),
        ((40, 30), (40, 30)),
    ],
)
# White noise is the worst case. torch's float32 weights make up most of the difference; for bicubic, whose weights
# have four roundings and reach beyond 1, they alone come to 2e-4 grey levels.
@pytest.mark.parametrize(("interpolation", "tolerance"), [("bilinear", 1e-4), ("bicubic", 3e-4)])
def test_the_torch_resampler_agrees_with_torch(
    size: tuple[int, int], target: tuple[int, int], interpolation: Any, tolerance: float
) -> None:
    torch = pytest.importorskip("torch")
    image = noise(*size)
    spec = replace(PLAIN, height=target[0], width=target[1], interpolation=interpolation)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float().contiguous()  # [1, 3, H, W]
    resized = torch.nn.functional.interpolate(
        batch, size=target, mode=interpolation, align_corners=False, antialias=False
    )
    expected = resized.clamp(0, 255)[0].permute(1, 2, 0).numpy()
    assert np.abs(grey_levels(spec, image) - expected).max() <= tolerance


def test_bicubic_without_the_clamp_would_leave_the_range_of_an_image() -> None:
    torch = pytest.importorskip("torch")
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    batch = torch.from_numpy(edge).permute(2, 0, 1)[None].float()  # [1, 3, 8, 8]
    raw = torch.nn.functional.interpolate(batch, size=(16, 16), mode="bicubic", align_corners=False)
    assert raw.max() > 256 and raw.min() < -1, "the control: torch itself overshoots here"
    ours = replace(PLAIN, height=16, width=16, interpolation="bicubic")(edge)
    assert ours.max() == 1.0 and ours.min() == 0.0


def test_a_doubled_row_has_the_hand_computed_bilinear_values() -> None:
    row = np.zeros((1, 2, 3), np.uint8)
    row[0, 1] = 200
    spec = replace(PLAIN, height=1, width=4)
    # Samples at -0.25 (border), 0.25, 0.75 and 1.25 (border) of the two pixels.
    assert grey_levels(spec, row)[0, :, 0] == pytest.approx([0, 50, 150, 200], abs=1e-4)


def test_a_doubled_row_has_the_hand_computed_bicubic_values() -> None:
    row = np.zeros((1, 4, 3), np.uint8)
    row[0, 2:] = 100
    spec = replace(PLAIN, height=1, width=8, interpolation="bicubic")
    # Output 4 lies at 1.75: weights of the pixels 0..3 at t = 0.75 with a = -0.75 are
    # far(1.75) = -0.0352, near(0.75) = 0.2617, near(0.25) = 0.8789, far(1.25) = -0.1055; the last two see 100.
    assert grey_levels(spec, row)[0, 4, 0] == pytest.approx(100 * (0.87890625 - 0.10546875), abs=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (53, 37), (301, 200), (200, 301), (15, 90)])
@pytest.mark.parametrize(("target", "crop_pct"), [(24, 1.0), (24, 0.875), (23, 0.9), (33, 0.95)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_pillow_resampler_agrees_with_torchvision(
    size: tuple[int, int], target: int, crop_pct: float, interpolation: Any
) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    image = noise(*size)
    mode = transforms.InterpolationMode(interpolation)
    expected = transforms.Compose(
        [
            transforms.Resize(int(target / crop_pct), interpolation=mode),
            transforms.CenterCrop(target),
            transforms.ToTensor(),
            transforms.Normalize(**IMAGENET),
        ]
    )(Image.fromarray(image)).numpy()
    spec = Preprocess(target, target, "shorter-side", interpolation, "pillow", crop_pct=crop_pct, **IMAGENET)
    ours = spec(image)
    assert ours.shape == expected.shape == (3, target, target) and ours.dtype == np.float32
    assert np.abs(ours - expected).max() <= 1e-6


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (301, 200), (15, 90)])
@pytest.mark.parametrize("target", [(24, 24), (24, 36), (41, 23)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.9])
@pytest.mark.parametrize(("resize", "mode"), [("shorter-side", "center"), ("squash", "squash")])
def test_the_pillow_resampler_agrees_with_timm(
    size: tuple[int, int], target: tuple[int, int], crop_pct: float, resize: Any, mode: str
) -> None:
    data = pytest.importorskip("timm.data")
    image = noise(*size)
    transform = data.create_transform(
        (3, *target), interpolation="bicubic", crop_pct=crop_pct, crop_mode=mode, **IMAGENET
    )
    expected = transform(Image.fromarray(image)).numpy()
    ours = Preprocess(*target, resize, "bicubic", "pillow", crop_pct=crop_pct, **IMAGENET)(image)
    assert np.abs(ours - expected).max() <= 1e-6


def test_the_two_resamplers_are_not_interchangeable() -> None:
    image = noise(64, 64)
    torch_like = grey_levels(replace(PLAIN, interpolation="bicubic"), image)
    pillow_like = grey_levels(replace(PLAIN, interpolation="bicubic", resampler="pillow"), image)
    assert np.abs(torch_like - pillow_like).max() > 50


def test_the_middle_is_cropped_and_normalised() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[2:6, 2:6] = (255, 51, 0)
    spec = replace(PLAIN, height=4, width=4, crop_pct=0.5, mean=(0.5, 0.1, 0.25), std=(0.25, 0.1, 0.5))
    expected = np.array([2.0, 1.0, -0.5], np.float32)[:, None, None]
    assert np.allclose(spec(image), np.broadcast_to(expected, (3, 4, 4)), atol=1e-6)


def test_a_batch_holds_each_image_as_alone() -> None:
    images = [noise(9, 9), noise(20, 11)]
    batch = PLAIN.batch(images)
    assert batch.shape == (2, 3, 8, 8) and batch.dtype == np.float32 and batch.flags.c_contiguous
    assert np.array_equal(batch[1], PLAIN(images[1]))
    assert PLAIN.batch(np.stack([images[0]] * 3)).shape == (3, 3, 8, 8)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(BadData, match="no images"):
        PLAIN.batch([])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_unfit_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(BadData, match="Needed: uint8"):
        PLAIN(image)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 0),
        ("width", 8.0),
        ("height", True),
        ("resize", "longer-side"),
        ("interpolation", "nearest"),
        ("resampler", "opencv"),
        ("crop_pct", 0.0),
        ("crop_pct", 1.5),
        ("crop_pct", float("nan")),
        ("mean", (0.5, 0.5)),
        ("mean", [0.5, 0.5, 0.5]),
        ("mean", (0.5, 0.5, float("nan"))),
        ("mean", 0.5),
        ("std", (0.5, 0.5, 0.0)),
        ("std", ("0.5", 0.5, 0.5)),
    ],
)
def test_an_unfit_field_is_named(field: str, value: object) -> None:
    with pytest.raises(BadData, match=field):
        replace(PLAIN, **{field: value})


def test_the_json_form_reads_back_equal() -> None:
    spec = Preprocess(56, 48, "shorter-side", "bicubic", "pillow", crop_pct=0.9, **IMAGENET)
    assert Preprocess.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_json_form_with_other_keys_is_refused() -> None:
    record = PLAIN.to_json()
    with pytest.raises(BadData, match="unknown gamma"):
        Preprocess.from_json({**record, "gamma": 1})
    del record["resampler"]
    with pytest.raises(BadData, match="missing resampler"):
        Preprocess.from_json(record)


MIDDLE = replace(PLAIN, height=4, width=6, resize="none")


def test_without_a_resize_the_middle_is_taken_pixel_by_pixel() -> None:
    image = noise(7, 9)
    assert (np.rint(grey_levels(MIDDLE, image)) == image[2:6, 2:8]).all()  # round(1.5) is 2, half to even
    assert MIDDLE.corner(7, 9) == (2, 2)
    whole = noise(4, 6)
    assert (np.rint(grey_levels(MIDDLE, whole)) == whole).all()


@pytest.mark.parametrize("size", [(3, 6), (4, 5), (3, 99)])
def test_without_a_resize_a_smaller_image_is_refused_and_never_enlarged(size: tuple[int, int]) -> None:
    with pytest.raises(BadData, match=f"an image of {size[0]}x{size[1]}.*at least 4x6"):
        MIDDLE(noise(*size))


def test_a_crop_of_a_resize_that_is_not_made_is_refused() -> None:
    with pytest.raises(BadData, match="without a resize"):
        replace(MIDDLE, crop_pct=0.9)


def test_one_channel_is_the_grey_image_by_rec_601() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    spec = replace(PLAIN, height=1, width=4, resize="none", channels=1)
    found = spec(image)
    assert found.shape == (1, 1, 4)
    assert np.rint(found[0, 0] * 255).tolist() == [76, 150, 29, 255]  # 0.299, 0.587 and 0.114 of 255


def test_a_grey_image_stays_what_it_is_in_one_channel() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    spec = replace(PLAIN, height=1, width=256, resize="none", channels=1)
    assert np.rint(spec(levels)[0, 0] * 255).tolist() == list(range(256))


def test_other_numbers_of_channels_repeat_the_colours_in_turns() -> None:
    image = noise(8, 8)
    three, five = PLAIN(image), replace(PLAIN, channels=5)(image)
    assert (five == three[[0, 1, 2, 0, 1]]).all()
    assert PLAIN.batch([image]).shape == (1, 3, 8, 8)
