"""The file that a measurement goes on in: what was measured, on what, cell by cell.

    {"schema_version": 1, "kind": "gpu-swin", "environment": {...}, "ceilings": {...} or null,
     "cells": {"swin_t/128": {"code": "...", "seconds": 61.2, "rows": [...], "notes": {...}}}}

A cell is what one sitting measures together, its rows taking turns. Each is written as soon as it is done, so that the
next sitting goes on behind it; one whose code has changed since is measured again, after those that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from swin_deploy.atomic import write_text
from swin_deploy.errors import BadInput, UsageFault

__all__ = ["SCHEMA_VERSION", "Cell", "Results", "Row", "opened", "read", "still_to_do"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One contestant in one cell. Times are GPU milliseconds a call, images on the GPU already; a rehearsal has none.

    Attributes:
        name: What ran.
        precision: What it multiplies in.
        missing: Why it did not run, or `None`.
        ms: Median.
        p10_ms: 10th percentile.
        p90_ms: 90th percentile.
        calls: How many calls were timed.
        steady: Whether the warm-up ended because calls no longer got faster.
        ratio: How many times as fast as the row that the cell compares with: the median over rounds.
        ratio_low: Lower quartile of the same.
        ratio_high: Upper quartile of the same.
        graph_ms: Median as a CUDA graph, where the row itself is timed without.
        relative_error: |y - y32| / |y32| over all logits, in L2; y32 is the paper form's in FP32.
        agreement: Share of images with the top-1 class of FP32.
        finite: Whether its logits are.
    """

    name: str
    precision: str
    missing: str | None = None
    ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    calls: int = 0
    steady: bool | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    graph_ms: float | None = None
    relative_error: float | None = None
    agreement: float | None = None
    finite: bool | None = None


@dataclass(frozen=True)
class Cell:
    """Rows that were measured together.

    Attributes:
        code: Fingerprint of the code that was measured, and behind it what was measured beyond the usual rows.
        seconds: How long it took, compiling included.
        rows: In the order of the table.
        notes: What a reader must know, by name: choices of tiles, what throttled.
    """

    code: str
    seconds: float
    rows: tuple[Row, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def row(self, name: str) -> Row | None:
        """The row of that name, if it ran."""
        return next((row for row in self.rows if row.name == name and row.missing is None), None)


@dataclass(frozen=True)
class Results:
    """All that was measured so far on one device.

    Attributes:
        kind: Which script's.
        environment: The device and the versions; see `environment.environment`.
        ceilings: `Ceilings.facts()` of the device, or `None`.
        cells: By name.
    """

    kind: str
    environment: Mapping[str, str]
    ceilings: Mapping[str, Any] | None = None
    cells: Mapping[str, Cell] = field(default_factory=dict)

    def with_cell(self, name: str, cell: Cell) -> Results:
        """With one cell more, or anew."""
        return replace(self, cells={**self.cells, name: cell})

    def write(self, path: Path) -> None:
        """As JSON."""
        facts = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        write_text(path, json.dumps(facts, indent=1) + "\n")


def opened(path: Path, kind: str, environment: Mapping[str, str]) -> Results:
    """What `path` holds, to go on with, or nothing yet.

    Raises:
        BadInput: it holds something else.
        UsageFault: it was measured on another device or with other versions, which one table cannot mix.
    """
    if not path.is_file():
        return Results(kind, dict(environment))
    found = read(path, kind)
    if dict(found.environment) != dict(environment):
        raise UsageFault(
            f"{path} was measured elsewhere: {_differences(found.environment, environment)}",
            needed="one device and one set of versions a file",
            do="Choose another --out",
        )
    return found


def read(path: Path, kind: str) -> Results:
    """What `path` holds.

    Raises:
        BadInput: it holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if (raw["schema_version"], raw["kind"]) != (SCHEMA_VERSION, kind):
            raise ValueError(f"a file of kind {raw['kind']!r}, schema {raw['schema_version']!r}")
        cells = {
            name: Cell(cell["code"], cell["seconds"], tuple(Row(**row) for row in cell["rows"]), cell["notes"])
            for name, cell in raw["cells"].items()
        }
        return Results(kind, raw["environment"], raw["ceilings"], cells)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} cannot be gone on with: {error}",
            needed=f"a result file of kind {kind!r}, schema {SCHEMA_VERSION}",
            do="Choose another --out",
        ) from error


def _differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    return "; ".join(f"{key} {theirs.get(key)} there, {ours.get(key)} here" for key in keys)


def still_to_do(results: Results, wanted: Iterable[str], code: str) -> list[str]:
    """Of `wanted` the cells that are missing, in their order, then those in which other code, or less, was measured."""
    names = list(wanted)
    missing = [name for name in names if name not in results.cells]
    return missing + [name for name in names if name in results.cells and not results.cells[name].code.startswith(code)]
