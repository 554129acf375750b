"""What stands beside a checkpoint: architecture facts that no tensor holds, preprocessing and class names.

Two kinds of JSON are read: ours (`<checkpoint stem>.json`, as in examples/) and the `config.json` that timm writes
beside `model.safetensors`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calib.errors import BadData
from calib.preprocess import Preprocess
from swin_deploy.errors import BadInput

__all__ = ["ArchitectureHints", "Sidecar", "find_sidecar", "read_sidecar"]

Size = tuple[int, int]


@dataclass(frozen=True)
class ArchitectureHints:
    """Facts that shapes do not tell. `None` means not stated; nothing is ever guessed.

    Attributes:
        image_size: Height and width in pixels.
        window: Window in tokens.
        pretrained_window: V2: one entry a stage, or one for all.
        source: Where the facts come from, for messages.
    """

    image_size: Size | None = None
    window: Size | None = None
    pretrained_window: tuple[Size, ...] | None = None
    source: str = "nothing beside the checkpoint"

    def overridden(
        self, *, image_size: Size | None, window: Size | None, pretrained_window: Size | None
    ) -> ArchitectureHints:
        """These hints with the user's options on top."""
        given = [
            option
            for option, value in (
                ("--image-size", image_size),
                ("--window", window),
                ("--pretrained-window", pretrained_window),
            )
            if value is not None
        ]
        pretrained = (pretrained_window,) if pretrained_window else self.pretrained_window
        if window not in (None, self.window) and not pretrained_window and pretrained and (0, 0) in pretrained:
            pretrained = None  # "the window itself" was said of another window
        return ArchitectureHints(
            image_size or self.image_size,
            window or self.window,
            pretrained,
            " and ".join([self.source, *given]) if given else self.source,
        )


@dataclass(frozen=True)
class Sidecar:
    """Everything known beside the weights."""

    path: Path | None = None
    hints: ArchitectureHints = field(default_factory=ArchitectureHints)
    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None
    depths: tuple[int, ...] | None = None


def find_sidecar(checkpoint: Path) -> Path | None:
    """The JSON that belongs to `checkpoint`, `None` when there is none."""
    candidates = (checkpoint.with_suffix(".json"), checkpoint.with_name("config.json"))
    return next((path for path in candidates if path.is_file()), None)


def read_sidecar(checkpoint: Path) -> Sidecar:
    """Find and read the JSON that belongs to `checkpoint`; an empty `Sidecar` when there is none.

    Raises:
        BadInput: the file is there and cannot be understood.
    """
    path = find_sidecar(checkpoint)
    if path is None:
        return Sidecar()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(
            f"{path} is not valid JSON: {error}",
            needed="the architecture and preprocessing of the checkpoint",
            do="Mend or remove the file",
        ) from error
    if not isinstance(raw, dict):
        raise BadInput(
            f"{path} holds a {type(raw).__name__}",
            needed="a JSON object",
            do="Mend the file after examples/cifar10/swin_v1_cifar10.json, or remove it",
        )
    try:
        return _timm_config(path, raw) if "pretrained_cfg" in raw else _own(path, raw)
    except BadData as error:
        raise BadInput(
            f"{path}: {error.seen}", needed=error.needed, do=error.do or "Mend or remove the file"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else error
        raise BadInput(
            f"{path} cannot be understood: {reason}",
            needed="the layout of examples/cifar10/swin_v1_cifar10.json or of timm's config.json",
            do="Mend or remove the file",
        ) from error


def _own(path: Path, raw: dict[str, Any]) -> Sidecar:
    arguments = raw.get("arguments", {})
    size = _size(arguments["img_size"]) if "img_size" in arguments else None
    pretrained = arguments.get("pretrained_window_sizes")
    window = _size(arguments["window_size"]) if "window_size" in arguments else None
    hints = ArchitectureHints(
        image_size=size,
        window=window,
        pretrained_window=_pretrained(pretrained, window),
        source=path.name,
    )
    preprocess = None
    if "preprocessing" in raw:
        stated = raw["preprocessing"]
        height, width = _size(stated["resize"])
        preprocess = Preprocess(
            height=height,
            width=width,
            resize="squash",
            mean=_triple(stated["mean"]),
            std=_triple(stated["std"]),
            **_interpolation(path, stated["interpolation"]),
        )
    return Sidecar(path, hints, preprocess, _classes(raw.get("classes")), _depths(arguments))


def _timm_config(path: Path, raw: dict[str, Any]) -> Sidecar:
    """Read timm's hub layout: `architecture` is a model name, `pretrained_cfg` the evaluation transform."""
    config = raw["pretrained_cfg"]
    arguments = raw.get("model_args") or {}
    if "img_size" in arguments:
        height, width = _size(arguments["img_size"])
    else:
        _, height, width = config["input_size"]
    window = _size(arguments["window_size"]) if "window_size" in arguments else None
    pretrained = _pretrained(arguments.get("pretrained_window_sizes"), window)
    # timm states the windows in its model names alone, e.g. swinv2_base_window12to16_192to256.
    named = re.search(r"_window(\d+)(?:to(\d+))?(?:_|$)", raw.get("architecture", ""))
    if named and window is None:
        first, last = int(named[1]), int(named[2] or named[1])
        window = (last, last)
        # The fine-tuned names were all pre-trained at 192 px: 12 tokens, and 6 in the last stage.
        pretrained = ((first, first),) * 3 + ((first // 2, first // 2),) if named[2] else ((0, 0),)
    hints = ArchitectureHints((height, width), window, pretrained, f"{path.name} ({raw.get('architecture')})")
    preprocess = Preprocess(
        height=height,
        width=width,
        resize="squash" if config.get("crop_mode") == "squash" else "shorter-side",
        crop_pct=float(config.get("crop_pct", 1.0)),
        interpolation=config["interpolation"],
        resampler="pillow",
        mean=_triple(config["mean"]),
        std=_triple(config["std"]),
    )
    names = _classes(raw.get("label_names") or config.get("label_names"))
    return Sidecar(path, hints, preprocess, names, _depths(arguments))


def _interpolation(path: Path, text: str) -> dict[str, Any]:
    """Read e.g. `bicubic, align_corners=False, antialias=False, on float32 0..255, then clamp(0,255)`."""
    kind, *details = [part.strip() for part in re.split(r",\s*(?![^()]*\))", text)]
    known = {"align_corners=False", "antialias=False", "on float32 0..255", "then clamp(0,255)"}
    unknown = sorted(set(details) - known)
    if kind not in ("bilinear", "bicubic") or unknown:
        raise BadInput(
            f"{path}: interpolation {text!r} is not understood{': ' + ', '.join(unknown) if unknown else ''}",
            needed="bilinear or bicubic, optionally followed by: " + ", ".join(sorted(known)),
            do="Mend the file, or say how images were prepared in one of these ways",
        )
    return {"interpolation": kind, "resampler": "torch" if "antialias=False" in details else "pillow"}


def _pretrained(value: Any, window: Size | None) -> tuple[Size, ...] | None:
    """Follow timm's convention: absent or 0 means the window itself."""
    if value is None:
        return None if window is None else ((0, 0),)
    return tuple(_size(entry) for entry in value) if isinstance(value, (list, tuple)) else (_size(value),)


def _size(value: Any) -> Size:
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list) or len(sides) != 2 or not all(isinstance(side, int) and side >= 0 for side in sides):
        raise ValueError(f"{value!r} is not a size, which is one whole number or height and width")
    return sides[0], sides[1]


def _depths(arguments: dict[str, Any]) -> tuple[int, ...] | None:
    return tuple(int(depth) for depth in arguments["depths"]) if arguments.get("depths") else None


def _classes(value: Any) -> tuple[str, ...] | None:
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"the class names are {str(value)[:40]}, not a list of texts")
    return tuple(value)


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
