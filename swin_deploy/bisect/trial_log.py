"""A judge that remembers: each mixture is measured once, and stands in a log before the next one is looked at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from calib.errors import BadData
from calib.keyed_log import KeyedLog
from swin_deploy.bisect.trial import Trial

__all__ = ["RememberedTrials"]

_KEYS = {"high", "trial", "seconds"}


class RememberedTrials:
    """Wraps a judge with a memory and a log.

    Args:
        judge: Measures the network with a set of blocks raised.
        log: Where measurements are written and found again.
        key: Fingerprint of whatever they depend on beside the set.
        heard: Called with each answer, and whether it was remembered.

    Raises:
        BadData: the log is of something else, or is damaged before its last line.

    Attributes:
        measured: How many sets the judge was asked about.
        resumed: How many measurements the log held at the start.
    """

    def __init__(
        self,
        judge: Callable[[frozenset[str]], Trial],
        log: Path,
        key: str,
        heard: Callable[[frozenset[str], Trial, bool], None] = lambda high, trial, remembered: None,
    ) -> None:
        self._judge, self._heard = judge, heard
        self._log = KeyedLog(log, "mixtures of precisions", key)
        self._known = dict(_read(where, line) for where, line in self._log.lines)
        self.measured, self.resumed = 0, len(self._known)

    def __call__(self, high: frozenset[str]) -> Trial:
        """What the judge says of a set of raised blocks: measured now, or remembered."""
        remembered = high in self._known
        if not remembered:
            start = time.monotonic()
            found = self._judge(high)
            self.measured += 1
            seconds = round(time.monotonic() - start, 3)
            self._log.append({"high": sorted(high), "trial": found.to_json(), "seconds": seconds})
            self._known[high] = found
        self._heard(high, self._known[high], remembered)
        return self._known[high]


def _read(where: str, line: bytes) -> tuple[frozenset[str], Trial]:
    try:
        entry = json.loads(line)
        if set(entry) != _KEYS or not all(isinstance(block, str) for block in entry["high"]):
            raise ValueError("other keys than a measurement has")
        return frozenset(entry["high"]), Trial(**entry["trial"])
    except (ValueError, TypeError, AssertionError) as error:
        raise BadData(
            f"{where} is damaged: {error}", needed="a log as it was written", do="Leave --resume out to measure again"
        ) from error
