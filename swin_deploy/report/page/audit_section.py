"""Audit: what the engines truly run, as their builders or inspectors listed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swin_deploy.manifest import Manifest, StepRecord
from swin_deploy.report.page.document import Note, Part, Section, TableOf
from swin_deploy.report.page.table import Cell, Table, badge, cells

__all__ = ["audit_section", "census_cells", "census_heads", "engine_table"]

Census = Mapping[str, Any]
_COUNTS = (("kernels", "kernels"), ("fused_attentions", "attentions fused"), ("gemms", "products"))
_OTHERS = (("reformats", "reformats"), ("casts", "casts"), ("shapes", "shape operations"))
_TYPES = ("int8", "fp8", "fp16", "bf16", "fp32", "unknown")


def audit_section(manifest: Manifest) -> Section | None:
    """`None` where no engine was built."""
    engines = _engines(manifest)
    if not engines:
        return None
    parts: list[Part] = []
    table = engine_table(manifest)
    if table is not None:
        told = "Products: matrix products outside of fused attentions, by the type they read. Kernels are no latency."
        if any(census.get("opaque") for step in engines for census in _listed(step).values()):
            told += " A listing that hides the kernels of a fused region gives lower bounds, marked +."
        parts += [TableOf(table), Note(told, "small")]
    silent = [str(step.file) for step in engines if not _listed(step)]
    if silent:
        parts.append(Note(f"NOT LISTED: {', '.join(silent)}: the builder printed no layers.", "skipped"))
    rows = tuple(
        (Cell(str(step.file), step.precision), Cell(check["check"]), badge(check["verdict"]), Cell(check["detail"]))
        for step in engines
        for row in step.rows
        if row.label == "audit"
        for check in row.judgements
    )
    if rows:
        parts.append(TableOf(Table("Is it what was asked for?", ("engine", "check", "verdict", "seen"), rows)))
    return Section("audit", "Audit of the engines", tuple(parts))


def engine_table(manifest: Manifest) -> Table | None:
    """The engines' kernels, targets with the same ones in one row; `None` where nothing was listed."""
    found: list[tuple[StepRecord, str, Census]] = []
    for step in _engines(manifest):
        for target, census in _listed(step).items():
            if found and found[-1][0] is step and found[-1][2] == census:
                found[-1] = (step, f"{found[-1][1]}, {target}", census)
            else:
                found.append((step, target, census))
    if not found:
        return None
    known = [census for _, _, census in found]
    heads = ("engine", "target", "size", *census_heads(known))
    rows = tuple(
        (
            Cell(str(step.file), step.precision),
            Cell(f"SM {target}" if target[:1].isdigit() else target),
            Cell(f"{step.bytes / 2**20:.1f} MiB"),
            *census_cells(census, known),
        )
        for step, target, census in found
    )
    return Table("Kernels of each engine", heads, rows, frozenset(range(2, len(heads))))


def census_heads(known: Sequence[Census]) -> tuple[str, ...]:
    """The columns that any of the censuses fills."""
    return (
        *(title for _, title in _COUNTS),
        *(f"in {name.upper()}" if name != "unknown" else "type unknown" for name in _types(known)),
        *(title for key, title in _OTHERS if any(key in census for census in known)),
    )


def census_cells(census: Census, known: Sequence[Census]) -> tuple[Cell, ...]:
    """The numbers under `census_heads`."""
    bound = "+" if census.get("opaque") else ""
    types = _products(census)
    return cells(
        *(f"{census.get(key, '-')}{bound if key == 'kernels' else ''}" for key, _ in _COUNTS),
        *(str(types.get(name, 0)) for name in _types(known)),
        *(str(census.get(key, "-")) for key, _ in _OTHERS if any(key in other for other in known)),
    )


def _engines(manifest: Manifest) -> list[StepRecord]:
    return [step for step in manifest.steps if "-plan" in step.format and step.file]


def _listed(step: StepRecord) -> Mapping[str, Census]:
    found: Mapping[str, Census] = step.facts.get("kernels") or {}
    return found


def _types(known: Sequence[Census]) -> list[str]:
    return [name for name in _TYPES if any(_products(census).get(name) for census in known)]


def _products(census: Census) -> Mapping[str, int]:
    """By type; an older census told INT8 from the rest alone."""
    return census.get("gemms_by_type") or {"int8": int(census.get("int8_gemms", 0))}
