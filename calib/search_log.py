"""A judge that remembers: each plan is measured once, and written down before the next one is looked at.

The log is JSON lines. The first holds a key, which stands for all that the figures depend on: graph, data, settings. A
log with the same key is gone on with, one with another key is started afresh, since its figures are of something else.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calib.errors import BadData
from calib.plan_judge import Choice, Figures, PlanJudge, TaskDamage

__all__ = ["RememberingJudge"]

_START = '{"log": "plans judged", "version": 1, "key": '
_KEYS = {"choice", "sqnr_db", "task", "seconds"}


class RememberingJudge:
    """Wraps a judge with a memory, and with a log where a path is given.

    Args:
        judge: What measures.
        log: Where measurements are written and found again; `None` keeps them in memory alone. Its folder exists.
        key: Fingerprint of whatever the figures depend on beside the choice.

    Raises:
        BadData: the file at `log` is no such log, or is damaged before its last line.
        OSError: the log cannot be read or written.

    Attributes:
        measured: How many choices the judge was asked about.
        resumed: How many measurements the log held at the start.
    """

    def __init__(self, judge: PlanJudge, log: Path | None = None, key: str = "") -> None:
        self._judge, self._log = judge, log
        self._known: dict[tuple[tuple[str, str], ...], Figures] = {}
        if log is not None:
            self._open(log, key)
        self.measured, self.resumed = 0, len(self._known)

    def figures(self, choice: Choice) -> Figures:
        """What the judge says of `choice`: measured now, or remembered."""
        place = tuple(sorted(choice.items()))
        if place not in self._known:
            start = time.monotonic()
            given = dict(place)
            found = Figures(float(self._judge.sqnr_db(given)), self._judge.task(given))
            self.measured += 1
            if self._log is not None:
                record = {"choice": given, **asdict(found), "seconds": round(time.monotonic() - start, 3)}
                _append(self._log, json.dumps(record, allow_nan=False))
            self._known[place] = found
        return self._known[place]

    def _open(self, path: Path, key: str) -> None:
        head = f"{_START}{json.dumps(key)}}}"
        content = path.read_bytes() if path.exists() else b""
        # What a line break does not end was being written when the run was cut off.
        whole, _, torn = content.rpartition(b"\n")
        if not _START.encode().startswith(content[: len(_START)]):
            raise BadData(
                f"{path} is no log of judged plans", needed="such a log, or no file", do="Choose another name for it"
            )
        lines = whole.split(b"\n") if whole else []
        if not lines or lines[0] != head.encode():
            path.write_bytes(b"")
            _append(path, head)
            return
        for number, line in enumerate(lines[1:], 2):
            choice, figures = _read(line, f"{path}, line {number}")
            self._known[tuple(sorted(choice.items()))] = figures
        if torn:
            with path.open("rb+") as handle:
                handle.truncate(len(whole) + 1)


def _append(path: Path, line: str) -> None:
    with path.open("ab") as handle:
        handle.write(line.encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())  # a measurement takes seconds, so this costs nothing


def _read(line: bytes, where: str) -> tuple[dict[str, str], Figures]:
    try:
        record: Any = json.loads(line)
        if set(record) != _KEYS or not all(isinstance(variant, str) for variant in record["choice"].values()):
            raise ValueError("other keys than a measurement has")
        task = None if record["task"] is None else TaskDamage(**record["task"])
        return dict(record["choice"]), Figures(float(record["sqnr_db"]), task)
    except (ValueError, TypeError, AttributeError, BadData) as error:
        raise BadData(
            f"{where} is damaged: {error}", needed="a log as it was written", do="Delete it to measure again"
        ) from error
