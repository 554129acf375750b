"""From a decoded image to the network's input: resize, centre crop, scale, normalise, as the training loader did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from calib.errors import BadData

__all__ = ["Preprocess", "grey"]

_CHOICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("resize", ("squash", "shorter-side", "none")),
    ("interpolation", ("bilinear", "bicubic")),
    ("resampler", ("torch", "pillow")),
)
_KEYS = ("height", "width", "resize", "crop_pct", "interpolation", "resampler", "mean", "std", "channels")
_CUBIC = -0.75  # the constant that torch uses; Pillow's bicubic has -0.5, one of the reasons why the two differ


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the network's input.

    The image is resized to size / `crop_pct`, rounded down, and the middle [height, width] of that is kept; pixels are
    then scaled by 1/255, reduced by `mean` and divided by `std`.

    Attributes:
        height: Rows of the network's input.
        width: Columns of the network's input.
        resize: `squash` ignores the aspect ratio; `shorter-side` keeps it and covers the target, as torchvision's
            `Resize(int)` for square targets and as timm's `ResizeKeepRatio` for others; `none` takes the middle of the
            image pixel by pixel, as restoration needs it, and refuses a smaller one. The next two then say nothing.
        interpolation: `bilinear` or `bicubic`.
        resampler: `torch` is `torch.nn.functional.interpolate(align_corners=False, antialias=False)` on float32
            0..255, clamped to 0..255. `pillow` is Pillow's antialiased resize, rounded to uint8, as in the evaluation
            transforms of timm and torchvision. The two differ by many grey levels, so this is part of the model.
        mean: Per channel R, G, B, on the 0..1 scale.
        std: Per channel R, G, B, on the 0..1 scale.
        crop_pct: Part of the resized side that the crop keeps, more than 0 and at most 1.
        channels: Of the network's input: 3, or 1 for the grey image by Rec. 601 (of `mean` and `std` the first
            counts). A network of any other number gets R, G and B in turns, which only made-up images bear.
    """

    height: int
    width: int
    resize: Literal["squash", "shorter-side", "none"]
    interpolation: Literal["bilinear", "bicubic"]
    resampler: Literal["torch", "pillow"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float = 1.0
    channels: int = 3

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            BadData: a field has a value that no image can be prepared with; the message names it.
        """
        for key in ("height", "width", "channels"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadData(f"preprocessing: {key} is {value!r}", needed="a whole number, at least 1")
        for key, choices in _CHOICES:
            if getattr(self, key) not in choices:
                raise BadData(f"preprocessing: {key} is {getattr(self, key)!r}", needed=f"one of {', '.join(choices)}")
        if not _is_number(self.crop_pct) or not 0 < self.crop_pct <= 1:
            raise BadData(f"preprocessing: crop_pct is {self.crop_pct!r}", needed="more than 0 and at most 1")
        if self.resize == "none" and self.crop_pct != 1:
            raise BadData(f"preprocessing: crop_pct is {self.crop_pct!r} without a resize", needed="1, or no crop_pct")
        for key in ("mean", "std"):
            value = getattr(self, key)
            if not isinstance(value, tuple) or len(value) != 3 or not all(map(_is_number, value)):
                raise BadData(f"preprocessing: {key} is {value!r}", needed="three finite numbers, for R, G and B")
        if min(self.std) <= 0:
            raise BadData(f"preprocessing: std is {self.std!r}", needed="three numbers above 0")

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Prepare one image.

        Args:
            image: uint8 [H, W, 3], RGB, of any size; with `resize` `none` at least of the network's.

        Returns:
            float32 [channels, height, width].

        Raises:
            BadData: `image` has another type or shape.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise BadData(f"an image of {image.dtype} {list(image.shape)}", needed="uint8 [H, W, 3] in RGB")
        if self.channels == 1:
            image = grey(image)
        rows, columns = self._resized(image.shape[0], image.shape[1])
        if self.resize == "none":
            resized = image.astype(np.float32)
        elif self.resampler == "torch":
            resized = _resize_torch(image, rows, columns, self.interpolation)
        else:
            resized = _resize_pillow(image, rows, columns, self.interpolation)  # [rows, columns, 3]
        top, left = self.corner(rows, columns)
        cropped = resized[top : top + self.height, left : left + self.width]  # [height, width, 3]
        unit = cropped / np.float32(255)
        normal = (unit - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        planes = normal.transpose(2, 0, 1)  # [3, height, width]
        if self.channels != 3:
            planes = planes[np.arange(self.channels) % 3]  # [channels, height, width]
        return np.ascontiguousarray(planes, dtype=np.float32)

    def corner(self, rows: int, columns: int) -> tuple[int, int]:
        """First row and column of the crop in a resized image of `rows` and `columns`."""
        # Python's round, half to even, is what torchvision's CenterCrop uses on the odd pixel.
        return round((rows - self.height) / 2), round((columns - self.width) / 2)

    def batch(self, images: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Prepare images of any sizes, to float32 [B, channels, height, width].

        Raises:
            BadData: `images` is empty or one of them is unfit.
        """
        prepared = [self(image) for image in images]
        if not prepared:
            raise BadData("a batch of no images", needed="at least one image")
        return np.stack(prepared)  # [B, channels, height, width]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values; `from_json` reads them back unchanged."""
        return {key: list(value) if isinstance(value := getattr(self, key), tuple) else value for key in _KEYS}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Preprocess:
        """Read what `to_json` wrote.

        Raises:
            BadData: a key is missing or unknown, or a value unfit.
        """
        missing, unknown = sorted(set(_KEYS) - set(record)), sorted(set(record) - set(_KEYS))
        if missing or unknown:
            seen = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
            raise BadData(f"preprocessing: {' and '.join(seen)}", needed=f"exactly the keys {', '.join(_KEYS)}")
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value := record[key], list) else value for key in _KEYS
        }
        return cls(**fields)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns before the crop; never fewer than the crop takes."""
        if self.resize == "none":
            if height < self.height or width < self.width:
                raise BadData(
                    f"an image of {height}x{width}",
                    needed=f"at least {self.height}x{self.width}, which the network takes: it is not to be enlarged",
                    do="Leave the image out, or choose a smaller --image-size",
                )
            return height, width
        rows, columns = math.floor(self.height / self.crop_pct), math.floor(self.width / self.crop_pct)
        if self.resize == "squash":
            return rows, columns
        if rows == columns:  # torchvision's Resize(int): the longer side is rounded down
            if height <= width:
                return rows, int(rows * width / height)
            return int(columns * height / width), columns
        ratio = min(height / rows, width / columns)  # timm's ResizeKeepRatio: both sides rounded, half to even
        return round(height / ratio), round(width / ratio)


def grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The grey image by Rec. 601, thrice: uint8 [H, W, 3] to the same. Grey images are left as they are."""
    plane = np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("L"))  # [H, W]
    return np.repeat(plane[..., None], 3, axis=2)  # [H, W, 3]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _resize_pillow(
    image: npt.NDArray[np.uint8], rows: int, columns: int, interpolation: str
) -> npt.NDArray[np.float32]:
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((columns, rows), filters[interpolation])
    return np.asarray(resized, dtype=np.float32)  # [rows, columns, 3]


def _resize_torch(image: npt.NDArray[np.uint8], rows: int, columns: int, interpolation: str) -> npt.NDArray[np.float32]:
    height, width = image.shape[:2]
    down = _axis_weights(height, rows, interpolation)  # [rows, height]
    across = _axis_weights(width, columns, interpolation)  # [columns, width]
    flat = image.astype(np.float32).reshape(height, width * 3)  # [height, width * 3]
    tall = (down @ flat).reshape(rows, width, 3)  # [rows, width, 3]
    resized = across @ tall  # [rows, columns, 3]
    # Bicubic overshoots at edges; a pixel outside 0..255 is one that no 8-bit training image had.
    return np.clip(resized, np.float32(0), np.float32(255))


@lru_cache(maxsize=64)
def _axis_weights(size: int, target: int, interpolation: str) -> npt.NDArray[np.float32]:
    """How `target` samples along one axis mix `size` samples, float32 [target, size].

    The positions are those of torch in float32, where scale * (i + 0.5) - 0.5 is one fused multiply-add with a scale
    that is already rounded: near 500 a float32 position is off by 3e-5, which a steep edge turns into 0.01 grey levels,
    so positions from exact arithmetic would not do. The weights are then exact. What is left, up to 2.5e-4 grey levels
    for bicubic on white noise and 1e-4 for bilinear, is torch's own float32 rounding.
    Source: torch's documentation of `interpolate`, and its results (see the tests).
    """
    scale = np.float32(size) / np.float32(target)
    position = (np.float64(scale) * (np.arange(target) + 0.5) - 0.5).astype(np.float32)  # [target]
    if interpolation == "bilinear":
        position = np.maximum(position, np.float32(0))
    first = np.floor(position).astype(np.int64)  # [target]
    t = (position - first.astype(np.float32)).astype(np.float64)  # [target], in 0..1
    if interpolation == "bilinear":
        taps = {0: 1 - t, 1: t}
    else:
        taps = {-1: _cubic_far(t + 1), 0: _cubic_near(t), 1: _cubic_near(1 - t), 2: _cubic_far(2 - t)}
    weights = np.zeros((target, size))
    for offset, weight in taps.items():
        # Samples outside the image are its border: their weights add up on the outermost sample.
        np.add.at(weights, (np.arange(target), np.clip(first + offset, 0, size - 1)), weight)
    dense = weights.astype(np.float32)  # [target, size]
    dense.setflags(write=False)  # the cache hands out this very array
    return dense


def _cubic_near(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution for a distance of 0 to 1."""
    return ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1


def _cubic_far(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution for a distance of 1 to 2."""
    return ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC
