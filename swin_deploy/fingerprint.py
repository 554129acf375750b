"""Keys that change when a result has to be made again: of a stage's configuration, and of a measurement."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from calib.images import ImageSet

__all__ = ["configuration", "key_of"]


def configuration(value: Any) -> Any:
    """A dataclass, recursively, as plain JSON; images stand as their fingerprint."""
    if isinstance(value, ImageSet):
        return {"source": value.source, "images": len(value), "fingerprint": value.fingerprint()}
    if is_dataclass(value) and not isinstance(value, type):
        # Fields with an underscore are memory, not configuration.
        public = (field.name for field in fields(value) if not field.name.startswith("_"))
        return {name: configuration(getattr(value, name)) for name in public}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): configuration(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [configuration(entry) for entry in value]
    return value


def key_of(*parts: Any) -> str:
    """SHA-256 of the parts' JSON, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
