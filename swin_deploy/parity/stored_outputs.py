"""The outputs that a run keeps of each measured artifact: one `.npz` a view, under the key of its measurement.

A resumed run goes on with them, and a comparison of two runs pairs them image by image.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from swin_deploy.atomic import replacing
from swin_deploy.parity.measure import Arrays, Outputs

__all__ = ["read_outputs", "write_outputs"]


def write_outputs(path: Path, key: str, outputs: Outputs) -> None:
    """Write them whole or not at all.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    arrays: dict[str, Any] = {
        f"b{size}/{name}": array for size, found in outputs.by_batch.items() for name, array in found.items()
    }
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, key=np.array(key), **arrays)


def read_outputs(path: Path, key: str) -> dict[int, Arrays] | None:
    """What was measured under `key`, by batch size, or `None` when the file is missing, another's or damaged."""
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            by_batch: dict[int, dict[str, Any]] = {}
            for member in stored.files:
                if member != "key":
                    size, _, name = member.partition("/")
                    by_batch.setdefault(int(size[1:]), {})[name] = stored[member]
            return dict(by_batch)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
