"""Rows of timm, live: every window, patch and head size that differs in kind, and windows that do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from tests.checkpoint.live_models import filled, random_batch
from tests.checkpoint.parity_row import Original, ParityRow, Sample

__all__ = ["ROWS", "timm_original"]

Size = tuple[int, int]
_SMALL: dict[str, Any] = {
    "patch_size": 2,
    "num_classes": 5,
    "embed_dim": 16,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "drop_path_rate": 0.0,
}
_NAMES = {"v1": "swin_tiny_patch4_window7_224", "v2": "swinv2_tiny_window8_256"}


def _config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What timm writes beside the weights."""
    height, width = arguments["img_size"]
    kept = {name: value for name, value in arguments.items() if name not in ("drop_path_rate", "strict_img_size")}
    return {
        "architecture": "swin",
        "num_classes": 5,
        "pretrained_cfg": {
            "input_size": [3, height, width],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "model_args": kept,
    }


@torch.no_grad()
def timm_original(
    family: str,
    arguments: Mapping[str, Any],
    features: str = "",
    resized: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Original:
    """A small model of timm's.

    Args:
        family: `v1` or `v2`.
        arguments: Of its constructor, beside the small ones.
        features: How timm takes the features of stages, `list` or `getter`; a classifier without.
        resized: What its `set_input_size` is asked for behind the saving.
        options: What `load_checkpoint` is asked for then.
    """
    pytest.importorskip("timm")
    from timm import create_model

    given = {**_SMALL, "img_size": (28, 28), "window_size": 7, **arguments}
    if features:
        given.update(features_only=True, feature_cls=features, out_indices=tuple(range(len(given["depths"]))))
        del given["num_classes"]
    model = filled(create_model(_NAMES[family], **given))
    # As it is saved: another size and window are asked of the file, and of timm by its own means.
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if resized:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its interpolation's old indexing
            model.set_input_size(**resized)
    size = (resized or given)["img_size"]
    images = random_batch(*size)
    answer = model.double()(images)
    outputs = tuple(answer) if features else (answer,)
    if features == "list":
        outputs = tuple(part.permute(0, 3, 1, 2) for part in outputs)  # channels last, as timm computes
    config = _config({name: value for name, value in given.items() if name not in ("feature_cls", "features_only")})
    return Original(state, (Sample(images, outputs),), options or {}, config)


def _row(
    family: str,
    case: str,
    *,
    features: str = "",
    padded: bool = False,
    double: float = 1e-10,
    resized: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> ParityRow:
    def original() -> Original:
        asked = {"task": "backbone"} if features else {}
        return timm_original(family, arguments, features, resized, {**asked, **(options or {})})

    task = "backbone" if features else "classification"
    return ParityRow("timm", family, task, case, "live", original, padded, double=double)


_BOTH: list[tuple[str, dict[str, Any]]] = [
    ("window 7, patch 4", {"img_size": (56, 56), "patch_size": 4}),
    ("window 8, odd depths, heads of 12", {"img_size": (32, 32), "window_size": 8, "embed_dim": 24, "depths": (1, 3)}),
    ("window 12, heads of 40", {"img_size": (48, 48), "window_size": 12, "embed_dim": 40, "num_heads": (1, 2)}),
    ("window 16, heads of 5", {"img_size": (64, 64), "window_size": 16, "embed_dim": 10}),
    ("window 24", {"img_size": (96, 96), "window_size": 24, "depths": (2, 1)}),
    ("oblong image, three stages", {"img_size": (56, 112), "depths": (2, 3, 1), "num_heads": (2, 4, 8)}),
    ("window larger than both maps", {"window_size": 16}),
    ("window larger than one side", {"img_size": (20, 60), "window_size": (12, 6), "padded": True}),
    ("oblong window", {"img_size": (24, 56), "window_size": (6, 7)}),
    ("maps that windows do not cover", {"img_size": (36, 44), "window_size": 4, "padded": True}),
    ("odd maps", {"img_size": (30, 26), "window_size": 4, "padded": True}),
    (
        "another image size, same window",
        {"img_size": (28, 28), "resized": {"img_size": (56, 56), "window_size": 7}},
    ),
    (
        "another image size, windows padded",
        {"img_size": (28, 28), "resized": {"img_size": (40, 36), "window_size": 7}, "padded": True},
    ),
]
_LARGER = {"resized": {"img_size": (48, 48), "window_size": 12}}
_SMALLER = {"resized": {"img_size": (20, 20), "window_size": 5}}
_CLIPPED = {"img_size": (56, 56), "resized": {"img_size": (12, 12), "window_size": 7}}
_INTERPOLATED = 1e-8  # tables come out of an interpolation in FP32, with other roundings than timm's own

ROWS = (
    *(_row(family, case, **arguments) for family in ("v1", "v2") for case, arguments in _BOTH),
    _row("v1", "tables interpolated to a larger window", **_LARGER, options={"window": (12, 12)}, double=_INTERPOLATED),
    _row("v1", "tables interpolated to a smaller window", **_SMALLER, options={"window": (5, 5)}, double=_INTERPOLATED),
    _row("v1", "tables interpolated where the size clips the window", **_CLIPPED, double=_INTERPOLATED),
    _row("v2", "bias for a window that the size clips", **_CLIPPED),
    _row(
        "v1",
        "tables interpolated to an oblong window",
        resized={"img_size": (48, 20), "window_size": (12, 5)},
        options={"window": (12, 5)},
        double=_INTERPOLATED,
    ),
    _row("v1", "no qkv bias", qkv_bias=False),
    _row(
        "v2",
        "bias for a larger window",
        **_LARGER,
        options={"window": (12, 12), "pretrained_window": ((12, 12), (12, 12))},
    ),
    _row("v2", "fine-tuned from a smaller window", img_size=(48, 48), window_size=12, pretrained_window_sizes=(8, 6)),
    _row(
        "v2",
        "fine-tuned from a smaller window and enlarged again",
        pretrained_window_sizes=(6, 4),
        **_LARGER,
        options={"window": (12, 12), "pretrained_window": ((6, 6), (4, 4))},
    ),
    _row("v2", "no qkv bias", qkv_bias=False),
    *(
        _row(family, f"{case}, {kind}", features=kind, **arguments)
        for family in ("v1", "v2")
        for kind in ("list", "getter")
        for case, arguments in (
            ("exact", {}),
            ("padded", {"img_size": (36, 44), "window_size": 4, "padded": True}),
        )
    ),
)
