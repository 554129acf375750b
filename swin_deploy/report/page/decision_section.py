"""What to deploy: a line for each precision, and what was not executed."""

from __future__ import annotations

from collections.abc import Sequence

from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.candidate import Candidate, candidates
from swin_deploy.report.drop_interval import unit_of
from swin_deploy.report.finish_file import Finish
from swin_deploy.report.latency_line import LatencyLine
from swin_deploy.report.ledger import decibels, ledger
from swin_deploy.report.page.document import Note, Part, Section, TableOf
from swin_deploy.report.page.table import Cell, Table, badge

__all__ = ["decision_section", "skipped_section"]


def decision_section(manifest: Manifest, lines: Sequence[LatencyLine], finishes: Sequence[Finish] = ()) -> Section:
    """One row a precision."""
    found = candidates(manifest, lines)
    devices = tuple(f"on {finish.name}" for finish in finishes)
    heads = (
        "precision",
        "verdict",
        "engine",
        *devices,
        f"drop, {unit_of(manifest)}",
        "95 % bound",
        "SQNR dB",
        "size",
        "kernels",
    )
    timed = any(candidate.time for candidate in found)
    table = Table(
        "One row a precision: what it costs, how large it is, what is known of its time",
        (*heads, "time"),
        tuple(_row(candidate, finishes) for candidate in found),
        frozenset(range(3 + len(devices), len(heads) + 1)),
    )
    told = "A precision is judged by the engine where that was executed, and else by the graph that it was built from."
    if any(candidate.interval and candidate.interval.verdict is None for candidate in found):
        told += " A drop in grey was not judged, for want of images."
    if not timed:
        told += " Nothing was timed."
    return Section("decision", "What to deploy", (TableOf(table), Note(told, "small")))


def _row(candidate: Candidate, finishes: Sequence[Finish]) -> tuple[Cell, ...]:
    interval, time, engine = candidate.interval, candidate.time, candidate.engine
    if engine is None:
        built = Cell("none built", "quiet")
    else:
        built = badge("EXECUTED" if candidate.executed else Verdict.SKIPPED)
    refused = [finish.name for finish in finishes if _on_device(candidate.precision, finish).text == Verdict.FAIL.value]
    remark = f" (refused on {refused[0]})" if refused else " (recommended)" if candidate.recommended else ""
    name = candidate.precision.upper() + remark
    missing, unsure = Cell("-", "quiet"), "quiet" if interval is not None and interval.verdict is None else ""
    return (
        Cell(name, candidate.precision),
        badge(candidate.verdict),
        built,
        *(_on_device(candidate.precision, finish) for finish in finishes),
        missing if interval is None else Cell(f"{interval.drop:+.2f}", unsure),
        missing if interval is None or interval.upper is None else Cell(f"< {interval.upper:+.2f}", unsure),
        missing if candidate.sqnr_db is None else Cell(decibels(candidate.sqnr_db)),
        missing if engine is None else Cell(f"{engine.bytes / 2**20:.1f} MiB"),
        missing if candidate.kernels is None else Cell(str(candidate.kernels)),
        Cell("not timed", "quiet") if time is None else Cell(f"{time.p50_ms:.2f} ms at batch {time.batch}"),
    )


def _on_device(precision: str, finish: Finish) -> Cell:
    found = next((engine for engine in finish.engines if engine.precision == precision), None)
    return Cell("-", "quiet") if found is None else badge(found.verdict)


def skipped_section(manifest: Manifest) -> Section | None:
    """Everything that was not executed, each with its reason; `None` where all was."""
    found: dict[str, list[str]] = {}
    for line in ledger(manifest):
        if line.verdict is Verdict.SKIPPED:
            name = line.step.artifact if line.row is None else f"{line.step.artifact} ({line.row.label})"
            found.setdefault(line.reason or "no reason was given", []).append(name)
    if not found:
        return None
    parts: list[Part] = [Note("These were not executed here, so nothing of what follows proves anything about them.")]
    parts += [Note(f"SKIPPED {', '.join(names)}: {reason}", "skipped") for reason, names in found.items()]
    return Section("skipped", "Not executed", tuple(parts))
