"""The `preprocessor_config.json` of transformers: how an image becomes an input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from calib.preprocess import Preprocess
from swin_deploy.checkpoint.json_values import size, triple

__all__ = ["processor_preprocess"]

Size = tuple[int, int]
Resize = Literal["squash", "shorter-side"]
# Pillow's numbers for its filters; transformers resizes with antialiasing, by Pillow or by torchvision.
_FILTERS: Mapping[Any, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
# What else a processor can do to an image.
_OTHERS = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_flip_channel_order")
_CONVNEXT_CROPS_BELOW = 384


def processor_preprocess(raw: Mapping[str, Any]) -> Preprocess | str:
    """What the processor does, or why it cannot be said in the terms of `Preprocess`.

    Raises:
        ValueError: a value cannot be understood.
    """
    reason = _inexpressible(raw)
    if reason:
        return reason
    sides = _sides(raw)
    if isinstance(sides, str):
        return sides
    resize, (height, width), resized = sides
    normalised = raw.get("do_normalize", True)
    return Preprocess(
        height=height,
        width=width,
        resize=resize,
        crop_pct=_crop_pct(height, resized),
        interpolation=_FILTERS[raw["resample"]],
        resampler="pillow",
        mean=triple(raw["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=triple(raw["image_std"]) if normalised else (1.0, 1.0, 1.0),
    )


def _inexpressible(raw: Mapping[str, Any]) -> str:
    others = [name for name in _OTHERS if raw.get(name)]
    if others:
        return f"{others[0]} is true"
    for name in ("do_resize", "do_rescale"):
        if not raw.get(name, True):
            return f"{name} is false"
    if abs(float(raw.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-6 or raw.get("offset"):
        return "pixels are scaled to another range than 0..1"
    for name in ("size", "resample", *(("image_mean", "image_std") if raw.get("do_normalize", True) else ())):
        if raw.get(name) is None:
            return f"{name} is not stated"
    if raw["resample"] not in _FILTERS:
        return f"resample is {raw['resample']!r}, neither 2 (bilinear) nor 3 (bicubic)"
    return ""


def _sides(raw: Mapping[str, Any]) -> tuple[Resize, Size, int] | str:
    """The kind of resizing, height and width of the result, and the height before the crop; or why not."""
    stated = raw["size"]
    if isinstance(stated, int):
        # Processors of old took one number for the shorter side, but for those that squash.
        kind = str(raw.get("image_processor_type") or raw.get("feature_extractor_type") or "")
        if not kind.startswith(("ViT", "Segformer", "Beit", "Deit", "DeiT")):
            return f"size is {stated} for a processor that is not known ({kind or 'not named'})"
        stated = {"height": stated, "width": stated}
    if not isinstance(stated, dict):
        raise ValueError(f"size is {stated!r}, neither a number nor an object")
    keys = {key for key, value in stated.items() if value is not None}
    crop = raw.get("crop_size")
    if isinstance(crop, dict):
        crop = [crop.get("height"), crop.get("width")]
    cropped = size(crop) if raw.get("do_center_crop") and crop is not None else None
    if keys == {"height", "width"}:
        height, width = size([stated["height"], stated["width"]])
        if cropped is None or cropped == (height, width):
            return "squash", (height, width), height
        if cropped[0] * width != cropped[1] * height or cropped[0] > height:
            return f"images of {height}x{width} are cropped to {cropped[0]}x{cropped[1]}"
        return "squash", cropped, height
    if keys == {"shortest_edge"}:
        side, _ = size(stated["shortest_edge"])
        if raw.get("crop_pct") is not None:  # ConvNextImageProcessor
            if side >= _CONVNEXT_CROPS_BELOW:
                return "squash", (side, side), side
            return "shorter-side", (side, side), int(side / raw["crop_pct"])
        if cropped is None:
            return "the shorter side is resized and nothing cropped, so that images have no one size"
        if cropped[0] != cropped[1] or cropped[0] > side:
            return f"images with a shorter side of {side} are cropped to {cropped[0]}x{cropped[1]}"
        return "shorter-side", cropped, side
    return f"size is stated by {', '.join(sorted(keys)) or 'nothing'}"


def _crop_pct(height: int, resized: int) -> float:
    """The part that makes `resized` from `height` again, which is rounded down."""
    part = height / resized
    return part if math.floor(height / part) == resized else math.nextafter(part, 0.0)
