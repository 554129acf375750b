"""One line of the doctor's: what was looked at, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Literal

__all__ = ["Line", "Verdict", "exit_status"]

Subject = Literal["machine", "checkpoint"]


class Verdict(str, Enum):
    """What a line means for a deployment."""

    OK = "OK"
    WARN = "WARN"  # it works, but not as well as it could, or nobody has tried it
    FAIL = "FAIL"  # it will not work


# What a FAIL ends with: something needed is not there, or the checkpoint cannot be used as it is.
_STATUS: dict[Subject, int] = {"machine": 3, "checkpoint": 5}


@dataclass(frozen=True)
class Line:
    """One finding.

    Attributes:
        about: `machine` or `checkpoint`.
        check: What was looked at, in a word or two.
        verdict: What it means.
        seen: What was found.
        do: The next step; needed unless all is well.
    """

    about: Subject
    check: str
    verdict: Verdict
    seen: str
    do: str = ""

    def __post_init__(self) -> None:
        assert self.do or self.verdict is Verdict.OK, f"{self.check}: a {self.verdict.value} without what to do"

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "verdict": self.verdict.value}


def exit_status(lines: Iterable[Line]) -> int:
    """0 without a FAIL, 3 if one is about the machine, else 5."""
    failed = {line.about for line in lines if line.verdict is Verdict.FAIL}
    return next((_STATUS[subject] for subject in _STATUS if subject in failed), 0)
