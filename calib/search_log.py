"""A judge that remembers: each plan is measured once, and written down before the next one is looked at.

The key of the log (see `calib.keyed_log`) stands for all that the figures depend on: graph, data, settings.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calib.errors import BadData
from calib.keyed_log import KeyedLog
from calib.plan_judge import Choice, Figures, PlanJudge, TaskDamage

__all__ = ["RememberingJudge"]

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
        self._judge = judge
        self._log = None if log is None else KeyedLog(log, "plans judged", key)
        self._known: dict[tuple[tuple[str, str], ...], Figures] = {}
        for where, line in self._log.lines if self._log else ():
            choice, figures = _read(line, where)
            self._known[tuple(sorted(choice.items()))] = figures
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
                self._log.append({"choice": given, **asdict(found), "seconds": round(time.monotonic() - start, 3)})
            self._known[place] = found
        return self._known[place]


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
