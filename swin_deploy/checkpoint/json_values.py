"""Values of the JSON that stands beside a checkpoint, checked as they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swin_deploy.errors import BadInput

__all__ = ["class_names", "numbers", "pretrained_windows", "read_object", "size", "triple", "windows"]

Size = tuple[int, int]


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        BadInput: it is no JSON, or no object.
    """
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
    return raw


def size(value: Any) -> Size:
    """One whole number for both sides, or height and width.

    Raises:
        ValueError: it is neither.
    """
    sides = [value, value] if _whole(value) else value
    if not isinstance(sides, list) or len(sides) != 2 or not all(map(_whole, sides)):
        raise ValueError(f"{value!r} is not a size, which is one whole number or height and width")
    return sides[0], sides[1]


def windows(value: Any) -> tuple[Size | None, tuple[Size, ...] | None]:
    """The window of all stages, or the windows of each: more than two entries, or pairs, are one a stage.

    Raises:
        ValueError: it is neither, or an entry is no size.
    """
    if isinstance(value, list) and (len(value) != 2 or any(isinstance(entry, list) for entry in value)) and value:
        return None, tuple(map(size, value))
    return size(value), None


def pretrained_windows(value: Any) -> tuple[Size, ...]:
    """One entry a stage, or one for all; 0 means the window itself.

    Raises:
        ValueError: an entry is no size.
    """
    return tuple(map(size, value)) if isinstance(value, list) else (size(value),)


def numbers(value: Any) -> tuple[int, ...] | None:
    """One whole number a stage, or `None` where none is stated.

    Raises:
        ValueError: there is something else.
    """
    if not value:
        return None
    if not isinstance(value, list) or not all(map(_whole, value)):
        raise ValueError(f"{value!r} is not one whole number a stage")
    return tuple(value)


def triple(values: Any) -> tuple[float, float, float]:
    """One number for each of R, G and B."""
    first, second, third = (float(value) for value in values)
    return first, second, third


def class_names(value: Any) -> tuple[str, ...] | None:
    """The names of the classes, or `None` where none are stated.

    Raises:
        ValueError: there is something else.
    """
    if not value:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"the class names are {str(value)[:40]}, not a list of texts")
    return tuple(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
