"""What a search reports, as JSON and in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_deploy.bisect.smallest_set import Found
from swin_deploy.bisect.trial import Need, Trial

__all__ = ["SCHEMA_VERSION", "BisectResult", "Verified"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Verified:
    """The final run, on the file that was written.

    Attributes:
        trial: What was measured.
        met: Whether that meets the need.
        file: The file's name; with `.rejected` behind it where it does not.
        sha256: Of the file.
    """

    trial: Trial
    met: bool
    file: str
    sha256: str


@dataclass(frozen=True)
class BisectResult:
    """What a search came to.

    Attributes:
        subject: The artifact that was searched in.
        low: Its precision.
        high: What raised blocks compute in.
        need: The gate.
        backend: What executed the trials.
        images: How many images.
        source: Where they are from.
        blocks: All that can be raised.
        found: What was found.
        most: Mixtures that could have been judged at most.
        measured: Mixtures that were run now.
        resumed: Mixtures that the log held.
        verified: The final run; `None` where there was no file to write.
        plan_file: The precision plan that stands for the set, or empty.
        rebuild: The command that builds a run with it, or empty.
    """

    subject: str
    low: str
    high: str
    need: Need
    backend: str
    images: int
    source: str
    blocks: tuple[str, ...]
    found: Found
    most: int
    measured: int
    resumed: int
    verified: Verified | None = None
    plan_file: str = ""
    rebuild: str = ""

    @property
    def status(self) -> int:
        """The exit status: 0 where a set is enough and was seen to be, else 4."""
        if self.found.blocks is None:
            return 4
        return 0 if self.verified is None or self.verified.met else 4

    @property
    def verdict(self) -> str:
        """One sentence on the outcome."""
        low, high, gate, found = self.low.upper(), self.high, self.need.words(), self.found
        if found.blocks is None:
            return (
                f"FAIL: even with every block in {high} the graph gives {self.need.figure(found.all)}, and {gate} is "
                f"needed: the fault is not {low}'s"
            )
        if not found.blocks:
            return f"PASS: no block has to be raised: all in {low} gives {self.need.figure(found.none)}"
        count = len(found.blocks)
        which = f"{count} block{'s' if count > 1 else ''} in {high}: {', '.join(found.blocks)}"
        if self.verified is not None and not self.verified.met:
            return f"FAIL: {which} met {gate}, and in the final run they give {self.need.figure(self.verified.trial)}"
        return f"PASS: {gate} with {which}"

    @property
    def certainty(self) -> str:
        """How sure it is that no smaller set would do; empty where there is no set."""
        found = self.found
        if not found.blocks:
            return ""
        single = len(found.blocks) == 1
        text = "" if single else "1-minimal: with any one of them lowered again the gate fails. "
        if found.smallest:
            return text + ("Smallest: with none raised the gate fails." if single else self._counted())
        return text + (
            f"Smallest found: at least {found.at_least} are needed, and not every set of {found.at_least} to "
            f"{len(found.blocks) - 1} was tried."
        )

    def _counted(self) -> str:
        if len(self.found.needed) == len(self.found.blocks or ()):
            return "Smallest, if raising more never hurts: each of them is needed even with all others raised."
        return "Smallest, if raising more never hurts: every smaller set was tried, or lacks a block that is needed."

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file, and as `--json` prints it."""
        found = self.found
        verified = self.verified
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "bisect",
            "subject": self.subject,
            "low": self.low,
            "high": self.high,
            "metric": self.need.metric.value,
            "need": self.need.least,
            "backend": self.backend,
            "images": self.images,
            "source": self.source,
            "candidates": list(self.blocks),
            "blocks": None if found.blocks is None else list(found.blocks),
            "smallest": found.smallest,
            "at_least": found.at_least,
            "needed": list(found.needed),
            "none_raised": found.none.to_json(),
            "all_raised": found.all.to_json(),
            "alone_raised": _by_block(found.alone_high),
            "alone_lowered": _by_block(found.alone_low),
            "judged": found.asked,
            "judged_at_most": self.most,
            "measured": self.measured,
            "resumed": self.resumed,
            "final": None
            if verified is None
            else {
                "trial": verified.trial.to_json(),
                "met": verified.met,
                "file": verified.file,
                "sha256": verified.sha256,
            },
            "plan_file": self.plan_file or None,
            "rebuild": self.rebuild or None,
            "status": self.status,
            "verdict": self.verdict,
            "certainty": self.certainty,
        }


def _by_block(trials: Mapping[str, Trial]) -> dict[str, Any]:
    return {block: trial.to_json() for block, trial in trials.items()}
