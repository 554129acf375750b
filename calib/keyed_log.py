"""JSON lines that a long work writes one by one and finds again after an interruption.

The first line holds a key, which stands for all that the entries depend on. A log with the same key is gone on with,
one with another key is started afresh, since its entries are of something else. Each entry is on disk before the next
one is looked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calib.errors import BadData

__all__ = ["KeyedLog"]


class KeyedLog:
    """An open log.

    Args:
        path: Its file; the folder exists.
        kind: What the entries are, e.g. `plans judged`; a file of another kind is refused.
        key: Fingerprint of whatever the entries depend on.

    Raises:
        BadData: the file at `path` is no log of this kind.
        OSError: it cannot be read or written.

    Attributes:
        lines: Entries that were there, each with where it stands, for errors; the last one only if it is whole.
    """

    def __init__(self, path: Path, kind: str, key: str) -> None:
        self._path = path
        start = f'{{"log": {json.dumps(kind)}, "version": 1, "key": '
        head = f"{start}{json.dumps(key)}}}"
        content = path.read_bytes() if path.exists() else b""
        # What a line break does not end was being written when the run was cut off.
        whole, _, torn = content.rpartition(b"\n")
        if not start.encode().startswith(content[: len(start)]):
            raise BadData(
                f"{path} is no log of {kind}", needed="such a log, or no file", do="Choose another name for it"
            )
        lines = whole.split(b"\n") if whole else []
        if not lines or lines[0] != head.encode():
            path.write_bytes(b"")
            self._append(head)
            lines = []
        elif torn:
            with path.open("rb+") as handle:
                handle.truncate(len(whole) + 1)
        self.lines = tuple((f"{path}, line {number}", line) for number, line in enumerate(lines[1:], 2))

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry to disk."""
        self._append(json.dumps(entry, allow_nan=False))

    def _append(self, line: str) -> None:
        with self._path.open("ab") as handle:
            handle.write(line.encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())  # a measurement takes seconds, so this costs nothing
