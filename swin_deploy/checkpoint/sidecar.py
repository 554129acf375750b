"""What stands beside a checkpoint: architecture facts that no tensor holds, preprocessing and class names.

Three kinds of JSON are read: ours (`<checkpoint stem>.json`, as in examples/), the `config.json` that timm writes
beside `model.safetensors`, and the `config.json` of transformers with its `preprocessor_config.json`.

Ours is one object; every key may be left out:

- `arguments`: `img_size` (of the training, and to run at), `window_size` (one entry a stage where they differ),
  `pretrained_window_sizes`, `depths`, `num_heads` and `img_range`, with the meaning that they have as arguments of the
  code bases' models;
- `task`: `classification`, `backbone` or `restoration`, where it is not left to the keys;
- `out_stages`: the stages whose features a backbone gives, counted from 0;
- `attention`: `window`, or the name of a shipped variant. A class of your own is named by `--attention` alone, since
  importing it runs its code;
- `preprocessing`: `resize`, `interpolation`, `mean` and `std`;
- `classes`: the names of the classes in the order of the outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from calib.errors import BadData
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.hints import TASKS, ArchitectureHints
from swin_deploy.checkpoint.huggingface_config import config_classes, config_depths, config_hints
from swin_deploy.checkpoint.huggingface_preprocessing import processor_preprocess
from swin_deploy.checkpoint.json_values import (
    class_names,
    numbers,
    pretrained_windows,
    read_object,
    size,
    triple,
    windows,
)
from swin_deploy.errors import BadInput

__all__ = ["Sidecar", "find_sidecar", "read_sidecar"]

Size = tuple[int, int]
_Arguments = ParamSpec("_Arguments")
_Read = TypeVar("_Read")
_PROCESSOR = "preprocessor_config.json"
# What timm's names say: the window, or that of the pre-training and the one behind it.
_WINDOWS = re.compile(r"_window(\d+)(?:to(\d+))?(?:_|$)")


@dataclass(frozen=True)
class Sidecar:
    """Everything known beside the weights.

    Attributes:
        path: The JSON, `None` where there is none.
        hints: What it says of the architecture.
        preprocess: How images become inputs, where it is stated in terms that are known.
        classes: Names of the classes in the order of the outputs.
        depths: Number of blocks of each stage, to be held against the weights.
        unprepared: Why `preprocess` is `None` although a file states the preprocessing; else empty.
    """

    path: Path | None = None
    hints: ArchitectureHints = field(default_factory=ArchitectureHints)
    preprocess: Preprocess | None = None
    classes: tuple[str, ...] | None = None
    depths: tuple[int, ...] | None = None
    unprepared: str = ""


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
    raw = read_object(path)
    if "pretrained_cfg" in raw:
        return _understood(path, _timm_config, path, raw)
    if isinstance(raw.get("model_type"), str):
        return _huggingface(path, raw)
    return _understood(path, _own, path, raw)


def _understood(
    path: Path, read: Callable[_Arguments, _Read], *arguments: _Arguments.args, **options: _Arguments.kwargs
) -> _Read:
    """What `read` makes of a file.

    Raises:
        BadInput: the file cannot be understood.
    """
    try:
        return read(*arguments, **options)
    except BadData as error:
        raise BadInput(
            f"{path}: {error.seen}", needed=error.needed, do=error.do or "Mend or remove the file"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else error
        raise BadInput(
            f"{path} cannot be understood: {reason}",
            needed="the layout of examples/cifar10/swin_v1_cifar10.json, of timm's config.json or of transformers'",
            do="Mend or remove the file",
        ) from error


def _own(path: Path, raw: dict[str, Any]) -> Sidecar:
    arguments = raw.get("arguments", {})
    window, stage_windows = windows(arguments["window_size"]) if "window_size" in arguments else (None, None)
    image_range = arguments.get("img_range")
    hints = ArchitectureHints(
        image_size=size(arguments["img_size"]) if "img_size" in arguments else None,
        window=window,
        pretrained_window=_pretrained(arguments.get("pretrained_window_sizes"), "window_size" in arguments),
        source=path.name,
        heads=numbers(arguments.get("num_heads")),
        task=_task(raw.get("task")),
        out_stages=numbers(raw.get("out_stages")),
        attention=_attention(path, raw.get("attention", "window")),
        image_range=None if image_range is None else float(image_range),
        stage_windows=stage_windows,
    )
    preprocess = None
    if "preprocessing" in raw:
        stated = raw["preprocessing"]
        height, width = size(stated["resize"])
        preprocess = Preprocess(
            height=height,
            width=width,
            resize="squash",
            mean=triple(stated["mean"]),
            std=triple(stated["std"]),
            **_interpolation(path, stated["interpolation"]),
        )
    return Sidecar(path, hints, preprocess, class_names(raw.get("classes")), numbers(arguments.get("depths")))


def _timm_config(path: Path, raw: dict[str, Any]) -> Sidecar:
    """Read timm's hub layout: `architecture` is a model name, `pretrained_cfg` the evaluation transform."""
    config = raw["pretrained_cfg"]
    arguments = raw.get("model_args") or {}
    if "img_size" in arguments:
        height, width = size(arguments["img_size"])
    else:
        _, height, width = config["input_size"]
    name = raw.get("architecture", "")
    if not isinstance(name, str):
        raise TypeError(f"the architecture is {name!r}, not a name")
    _refuse_arguments(path, arguments, raw.get("global_pool"))
    window, stage_windows = windows(arguments["window_size"]) if "window_size" in arguments else _named_windows(name)
    stated = arguments.get("pretrained_window_sizes")
    pretrained = None if stated is None else pretrained_windows(stated)
    if pretrained is None and (window or stage_windows):
        pretrained = _named_pretrained(name)
    hints = ArchitectureHints(
        (height, width),
        window,
        pretrained,
        f"{path.name} ({name})",
        stage_windows=stage_windows,
    )
    preprocess = Preprocess(
        height=height,
        width=width,
        resize="squash" if config.get("crop_mode") == "squash" else "shorter-side",
        crop_pct=float(config.get("crop_pct", 1.0)),
        interpolation=config["interpolation"],
        resampler="pillow",
        mean=triple(config["mean"]),
        std=triple(config["std"]),
    )
    names = class_names(raw.get("label_names") or config.get("label_names"))
    return Sidecar(path, hints, preprocess, names, numbers(arguments.get("depths")))


def _refuse_arguments(path: Path, arguments: Mapping[str, Any], pool: Any) -> None:
    """Refuse what timm's models can be made with, what no tensor tells, and what the two forms have not.

    Raises:
        BadInput: naming it.
    """
    usual = {"always_partition": False, "global_pool": "avg", "act_layer": "gelu"}
    given = {"global_pool": pool, **{name: arguments[name] for name in usual if name in arguments}}
    for name, value in given.items():
        if value not in (None, usual[name]):
            raise BadInput(
                f"{path}: the model was made with {name}={value!r}",
                needed=f"{name}={usual[name]!r}, as every published Swin of timm's has it",
                do="Bring the model itself with --model, which is deployed as it is",
            )


def _named_windows(name: str) -> tuple[Size | None, tuple[Size, ...] | None]:
    """Timm states the windows in its model names alone, e.g. swinv2_base_window12to16_192to256; of all or each stage.

    Source of swin_s3's: the functions of these names in timm's swin_transformer.py.
    """
    searched = {"tiny": (7, 7, 14, 7), "small": (14, 14, 14, 7), "base": (7, 7, 14, 7)}
    if found := re.match(r"swin_s3_(tiny|small|base)_", name):
        return None, tuple((side, side) for side in searched[found[1]])
    if found := _WINDOWS.search(name):
        side = int(found[2] or found[1])
        return (side, side), None
    return None, None


def _named_pretrained(name: str) -> tuple[Size, ...]:
    """The fine-tuned names were all pre-trained at 192 px: 12 tokens, and 6 in the last stage."""
    found = _WINDOWS.search(name)
    if not found or not found[2]:
        return ((0, 0),)
    first = int(found[1])
    return ((first, first),) * 3 + ((first // 2, first // 2),)


def _huggingface(path: Path, raw: dict[str, Any]) -> Sidecar:
    """Read transformers' two files; the second one may be missing."""
    processor = path.with_name(_PROCESSOR)
    preprocess, unprepared = None, ""
    if processor.is_file():
        found = _understood(processor, processor_preprocess, read_object(processor))
        if isinstance(found, str):
            unprepared = f"{processor}: {found}"
        else:
            preprocess = found
    shown = None if preprocess is None else (preprocess.height, preprocess.width)
    hints = _understood(path, config_hints, path, raw, shown)
    classes, depths = _understood(path, config_classes, raw), _understood(path, config_depths, raw)
    return Sidecar(path, hints, preprocess, classes, depths, unprepared)


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


def _pretrained(value: Any, has_window: bool) -> tuple[Size, ...] | None:
    """Follow timm's convention: absent or 0 means the window itself."""
    if value is None:
        return ((0, 0),) if has_window else None
    return pretrained_windows(value)


def _task(value: Any) -> str | None:
    if value is not None and value not in TASKS:
        raise ValueError(f"the task is {value!r}, not one of {', '.join(TASKS)}")
    return None if value is None else str(value)


def _attention(path: Path, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"the attention is {value!r}, not a name")
    if ":" in value:
        raise BadInput(
            f"{path}: attention is {value}, and importing that would run its code",
            needed="window, or the name of a shipped variant",
            do=f"Remove the entry and give --attention {value} yourself",
        )
    return value
