"""The ledger: one line a measured row, as text, ready for a table of any kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict

__all__ = ["LedgerLine", "columns", "decibels", "ledger"]

# Between the ratio and the size stand the measures of the network's own task, if it has any.
_TASK_COLUMNS: Mapping[str | None, tuple[str, ...]] = MappingProxyType(
    {
        "classifier": ("agree %", "top-1 %", "drop (95 % bound)"),
        "restoration": ("PSNR-Y dB", "to pictures dB", "drop dB (95 % bound)"),
    }
)


@dataclass(frozen=True)
class LedgerLine:
    """One line of the table; see `columns`.

    Attributes:
        cells: The texts, in the order of `columns`.
        verdict: For colouring.
        reason: Why it was skipped; shown below the table.
        step: What made the artifact.
        row: What was measured; `None` where the step itself was skipped.
    """

    cells: tuple[str, ...]
    verdict: Verdict
    reason: str
    step: StepRecord
    row: Row | None = None


def columns(manifest: Manifest) -> tuple[str, ...]:
    """The table's head: what every network has, and the measures of this one's task."""
    return ("artifact", "measured as", "verdict", "SQNR dB", *_TASK_COLUMNS.get(manifest.task, ()), "size", "time")


def ledger(manifest: Manifest) -> tuple[LedgerLine, ...]:
    """Every row of every step, in the order they ran."""
    lines, width = [], len(columns(manifest))
    for step in manifest.steps:
        if step.skipped:
            cells = (step.artifact, step.stage, Verdict.SKIPPED.value, *("-",) * (width - 3))
            lines.append(LedgerLine(cells, Verdict.SKIPPED, step.skipped, step))
        for position, row in enumerate(step.rows):
            lines.append(_line(manifest, step, row, first=position == 0))
    return tuple(lines)


def _line(manifest: Manifest, step: StepRecord, row: Row, *, first: bool) -> LedgerLine:
    oracle = row.label == "oracle"
    count = len(_TASK_COLUMNS.get(manifest.task, ()))
    measures = ["-"] * (1 + count)
    if row.measurement is not None:
        measures = _measures(manifest.task, row.measurement, oracle)
        largest = max(int(entry["images"]) for entry in row.measurement["oracle"].values())
        if largest < int(manifest.evaluation["images"]):  # a slow view was shown the first so many only
            measures[1 if count else 0] += f" of {largest}"
    cells = (
        step.artifact if first else "",
        f"{row.label} ({row.backend})",
        "ORACLE" if oracle else row.verdict.value,
        *measures,
        _size(step.bytes) if first else "",
        f"{step.seconds:.1f} s" if first else "",
    )
    return LedgerLine(cells, row.verdict, row.reason, step, row)


def _measures(task: str | None, measurement: Mapping[str, Any], oracle: bool) -> list[str]:
    """The ratio, then the cells of the task's own columns."""
    distances = list(measurement["oracle"].values())
    ratio = "-" if oracle else _lowest(distances, "sqnr_db")
    if task == "classifier":
        largest = max(distances, key=lambda entry: int(entry["images"]))
        agreement = "-" if oracle else f"{100 * largest['agreement']:.2f}"
        return [ratio, agreement, *_top1(measurement["task"], oracle)]
    if task == "restoration":
        return [ratio, "-" if oracle else _lowest(distances, "psnr_y_db"), *_pictures(measurement["task"], oracle)]
    return [ratio]


def _lowest(distances: Iterable[Mapping[str, Any]], key: str) -> str:
    return decibels(min(float(entry[key]) for entry in distances))


def _top1(task: Mapping[str, Any] | None, oracle: bool) -> tuple[str, str]:
    if task is None:
        return "NOT MEASURED", "-"
    if oracle:
        return f"{task['top1']:.2f}", "-"
    return f"{task['top1']:.2f}", f"{task['drop']:+.2f} (< {task['upper']:+.2f})"


def _pictures(task: Mapping[str, Any] | None, oracle: bool) -> tuple[str, str]:
    if task is None:
        return "NOT MEASURED", "-"
    if oracle:
        return f"{task['db']:.3f}", "-"
    # Where all images lose the same, the interval has no width, which is no certainty.
    bound = f"< {task['upper']:+.3f}" if task["spread"] > 0 else "no spread"
    return f"{task['db']:.3f}", f"{task['drop']:+.3f} ({bound})"


def decibels(value: float) -> str:
    """A signal-to-noise ratio in a cell; the two marks that are no ratios in words."""
    if value >= EXACT_DB:
        return "exact"
    return "NaN/Inf" if value <= -EXACT_DB else f"{value:.1f}"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
