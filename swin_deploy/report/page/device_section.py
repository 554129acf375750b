"""What devices made of the run's bundle: the results that they wrote, brought back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swin_deploy.parity.gates import Verdict
from swin_deploy.report.finish_file import Finish, FinishedEngine
from swin_deploy.report.ledger import decibels
from swin_deploy.report.page.audit_section import census_cells, census_heads
from swin_deploy.report.page.document import Facts, Folded, Note, Part, Section, TableOf
from swin_deploy.report.page.table import Cell, Table, badge

__all__ = ["device_section"]

_SENSORS = (("power_w", "power", "W"), ("temperatures_c", "temperature", "°C"), ("clocks_mhz", "clock", "MHz"))
_LOOKS = {Verdict.SKIPPED.value: "skipped", Verdict.FAIL.value: "fail"}


def device_section(finishes: Sequence[Finish]) -> Section | None:
    """`None` without results."""
    if not finishes:
        return None
    parts: list[Part] = []
    for finish in finishes:
        parts += [
            Note(
                f"{finish.name}: {finish.verdict} (exit status {finish.status})", "" if finish.status == 0 else "fail"
            ),
            TableOf(
                Table(
                    f"Engines on {finish.name}",
                    ("engine", "verdict", "profile", "batch", "SQNR dB", "agree %", "images"),
                    tuple(row for engine in finish.engines for row in _engine_rows(engine)),
                    frozenset((3, 4, 5, 6)),
                )
            ),
        ]
        parts += [part for engine in finish.engines for part in _engine_parts(engine)]
        parts += [Note(remark, "small") for remark in finish.remarks]
        about = {"bundle": finish.bundle, "device": finish.device, "tool": finish.tool}
        entries = [(f"{kind}, {key}", str(value)) for kind, facts in about.items() for key, value in facts.items()]
        parts.append(Folded(f"{finish.name}: device, tools and bundle", (Facts(tuple(entries)),)))
    return Section("devices", "On the device", tuple(parts))


def _engine_rows(engine: FinishedEngine) -> tuple[tuple[Cell, ...], ...]:
    """One row a batch; one of dashes where no fixture was replayed."""
    head = (Cell(engine.name, engine.precision), badge(engine.verdict), Cell(engine.profile))
    if not engine.batches:
        return ((*head, *(Cell("-", "quiet"),) * 4),)
    return tuple(
        (
            *(head if place == 0 else (Cell(engine.name, "again"), Cell(""), Cell(""))),
            Cell(size),
            Cell(decibels(float(found["sqnr_db"]))),
            Cell("-" if found["agreement"] is None else f"{100 * found['agreement']:.2f}"),
            Cell(str(found["images"])),
        )
        for place, (size, found) in enumerate(engine.batches.items())
    )


def _engine_parts(engine: FinishedEngine) -> list[Part]:
    parts: list[Part] = []
    if engine.reason:
        parts.append(Note(f"{engine.verdict} {engine.name}: {engine.reason}", _LOOKS.get(engine.verdict, "warn")))
    parts += [
        Note(f"{engine.name}, {check['check']}: {check['verdict']}: {check['detail']}", "fail")
        for check in engine.checks
        if check["verdict"] == Verdict.FAIL.value
    ]
    throttled = (engine.telemetry or {}).get("throttled") or ()
    parts += [Note(f"{engine.name}: {sentence}", "warn") for sentence in throttled]
    inner: list[Part] = []
    if engine.checks:
        rows = tuple((Cell(check["check"]), badge(check["verdict"]), Cell(check["detail"])) for check in engine.checks)
        inner.append(TableOf(Table(f"Checks of {engine.name}", ("check", "verdict", "seen"), rows)))
    if engine.audit and "kernels" in engine.audit:
        known = [engine.audit]
        heads = census_heads(known)
        row = census_cells(engine.audit, known)
        inner.append(TableOf(Table(f"Kernels of {engine.name}", heads, (row,), frozenset(range(len(heads))))))
    if engine.telemetry:
        inner.append(Facts(tuple(_telemetry(engine.telemetry))))
    return [*parts, Folded(f"{engine.name}: checks, kernels and telemetry", tuple(inner))] if inner else parts


def _telemetry(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [
        (key.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else str(value))
        for key, value in facts.items()
        if isinstance(value, (str, int, float)) and value != ""
    ]
    for key, what, unit in _SENSORS:
        for name, spread in (facts.get(key) or {}).items():
            found.append((f"{what}, {name}", _spread(spread, unit)))
    return found


def _spread(spread: object, unit: str) -> str:
    if not isinstance(spread, Mapping):
        return f"{spread} {unit}"
    return f"{float(spread['mean']):.1f} {unit} in the mean, {float(spread['max']):.1f} at most"
