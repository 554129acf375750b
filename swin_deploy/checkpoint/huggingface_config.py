"""The `config.json` of transformers: what it says of a Swin, Swinv2 or Swin2SR, alone or inside a larger model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.json_values import class_names, numbers, pretrained_windows, size
from swin_deploy.errors import BadInput

__all__ = ["config_classes", "config_depths", "config_hints"]

Size = tuple[int, int]
_SWINS = ("swin", "swinv2", "swin2sr", "maskformer-swin", "donut-swin")
# Where the configuration of a larger model keeps that of its Swin.
_INSIDE = ("backbone_config", "encoder")
# What a key that is left out means: the defaults of SwinConfig and Swinv2Config, and of Swin2SRConfig where it differs.
_IMAGE_SIZE, _WINDOW = {"swin2sr": 64}, {"swin2sr": 8}
# GELU by the error function, under the two names it has there.
_GELU = ("gelu", "gelu_python")
# The norms of patch embedding, merging and output stages have this epsilon whatever the configuration says.
_EPS = 1e-5


def config_hints(path: Path, raw: Mapping[str, Any], shown_size: Size | None) -> ArchitectureHints:
    """What the configuration says of the architecture.

    Args:
        path: The file, for messages.
        raw: Its content.
        shown_size: Height and width of the images that preprocessing makes, where it is known: the model is run at that
            size, while `image_size` of the configuration is the one it was built for.

    Raises:
        BadInput: a Swin is described that the two forms are not.
        ValueError: a value cannot be understood.
    """
    swin = _swin(raw)
    if swin is None:
        return ArchitectureHints(source=path.name)
    kind = swin["model_type"]
    _refuse(path, swin)
    built = size(swin.get("image_size", _IMAGE_SIZE.get(kind, 224)))
    pretrained = None
    if kind == "swinv2":
        pretrained = pretrained_windows(swin.get("pretrained_window_sizes") or [0])
    elif kind == "swin2sr":
        pretrained = ((0, 0),)
    # The image size of a part, or of a network for images of any size, is not the one to run at.
    runs_at_built = swin is raw and kind != "swin2sr"
    backbone = _is_backbone(raw)
    image_range = swin.get("img_range", 1.0 if kind == "swin2sr" else None)
    return ArchitectureHints(
        image_size=shown_size or (built if runs_at_built else None),
        window=size(swin.get("window_size", _WINDOW.get(kind, 7))),
        pretrained_window=pretrained,
        source=path.name,
        trained_size=built,
        heads=numbers(swin.get("num_heads")),
        task="backbone" if backbone else None,
        out_stages=_out_stages(path, swin) if backbone or swin is not raw else None,
        norm_eps=_EPS,
        image_range=None if image_range is None else float(image_range),
    )


def config_depths(raw: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Number of blocks of each stage, where it is stated."""
    swin = _swin(raw)
    return None if swin is None else numbers(swin.get("depths"))


def config_classes(raw: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of a classifier's classes in the order of its outputs; `None` for the placeholders that transformers puts.

    Raises:
        ValueError: they are not numbered from 0.
    """
    names = raw.get("id2label")
    if not names or _swin(raw) is not raw or _is_backbone(raw):
        return None
    if not isinstance(names, dict) or sorted(map(int, names)) != list(range(len(names))):
        raise ValueError(f"id2label is {str(names)[:40]}, not a name for each number from 0")
    ordered = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
    if ordered == [f"LABEL_{index}" for index in range(len(ordered))]:
        return None
    return class_names(ordered)


def _swin(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The configuration of the Swin itself, `None` where there is none."""
    for found in (raw, *(raw.get(name) for name in _INSIDE)):
        if isinstance(found, dict) and found.get("model_type") in _SWINS:
            return found
    return None


def _is_backbone(raw: Mapping[str, Any]) -> bool:
    return any(str(name).endswith("Backbone") for name in raw.get("architectures") or ())


def _refuse(path: Path, swin: Mapping[str, Any]) -> None:
    activation = swin.get("hidden_act", "gelu")
    if activation not in _GELU:
        raise BadInput(
            f"{path}: hidden_act is {activation!r}",
            needed="gelu, which is what every published Swin has",
            do="Bring the model itself with --model, which is deployed as it is",
        )
    eps = swin.get("layer_norm_eps", _EPS)
    if eps != _EPS:
        raise BadInput(
            f"{path}: layer_norm_eps is {eps!r}, which transformers uses in the blocks alone",
            needed=f"{_EPS:g}, as in the other norms, since the two forms have one epsilon",
            do="Bring the model itself with --model, which is deployed as it is",
        )


def _out_stages(path: Path, swin: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Stages of the backbone's features, counted from 0; theirs are counted from 1, behind the stem."""
    indices = swin.get("out_indices") or ()
    names = swin.get("out_features") or [f"stage{index}" if index else "stem" for index in indices]
    if "stem" in names:
        raise BadInput(
            f"{path}: out_features has the stem, which is what the patch embedding computes",
            needed="features of stages",
            do="Save the backbone without stem in its out_features",
        )
    found = [re.fullmatch(r"stage(\d+)", str(name)) for name in names]
    if not all(found):
        raise ValueError(f"out_features is {names!r}, not a list of stage1, stage2 and so on")
    return tuple(int(stage[1]) - 1 for stage in found if stage) or None
