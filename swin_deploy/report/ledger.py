"""The ledger: one line a measured row, as text, ready for a table of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.distances import EXACT_DB
from swin_deploy.parity.gates import Verdict

__all__ = ["COLUMNS", "LedgerLine", "decibels", "ledger"]

COLUMNS = ("artifact", "measured as", "verdict", "SQNR dB", "agree %", "top-1 %", "drop (95 % bound)", "size", "time")


@dataclass(frozen=True)
class LedgerLine:
    """One line of the table; see `COLUMNS`.

    Attributes:
        cells: The texts, in the order of `COLUMNS`.
        verdict: For colouring.
        reason: Why it was skipped; shown below the table.
    """

    cells: tuple[str, ...]
    verdict: Verdict
    reason: str


def ledger(manifest: Manifest) -> tuple[LedgerLine, ...]:
    """Every row of every step, in the order they ran."""
    lines = []
    for step in manifest.steps:
        if step.skipped:
            cells = (step.artifact, step.stage, Verdict.SKIPPED.value, *("-",) * (len(COLUMNS) - 3))
            lines.append(LedgerLine(cells, Verdict.SKIPPED, step.skipped))
        for position, row in enumerate(step.rows):
            lines.append(_line(step, row, images=int(manifest.evaluation["images"]), first=position == 0))
    return tuple(lines)


def _line(step: StepRecord, row: Row, *, images: int, first: bool) -> LedgerLine:
    oracle = row.label == "oracle"
    verdict = "ORACLE" if oracle else row.verdict.value
    sqnr = agreement = top1 = drop = "-"
    if row.measurement is not None:
        distances = row.measurement["oracle"]
        largest = max(distances.values(), key=lambda entry: int(entry["images"]))
        if not oracle:
            sqnr = decibels(min(float(entry["sqnr_db"]) for entry in distances.values()))
            agreement = f"{100 * largest['agreement']:.2f}"
        top1, drop = _task(row.measurement["task"], oracle)
        if largest["images"] < images:  # a slow view was shown the first so many only
            agreement += f" of {largest['images']}"
    cells = (
        step.artifact if first else "",
        f"{row.label} ({row.backend})",
        verdict,
        sqnr,
        agreement,
        top1,
        drop,
        _size(step.bytes) if first else "",
        f"{step.seconds:.1f} s" if first else "",
    )
    return LedgerLine(cells, row.verdict, row.reason)


def _task(task: Mapping[str, Any] | None, oracle: bool) -> tuple[str, str]:
    if task is None:
        return "NOT MEASURED", "-"
    if oracle:
        return f"{task['top1']:.2f}", "-"
    return f"{task['top1']:.2f}", f"{task['drop']:+.2f} (< {task['upper']:+.2f})"


def decibels(value: float) -> str:
    """A signal-to-noise ratio in a cell; the two marks that are no ratios in words."""
    if value >= EXACT_DB:
        return "exact"
    return "NaN/Inf" if value <= -EXACT_DB else f"{value:.1f}"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
