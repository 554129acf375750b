"""The signal-to-noise ratio of each output, for networks that have several: one row a measured artifact."""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.manifest import Manifest
from swin_deploy.report.ledger import decibels

__all__ = ["TITLE", "OutputTable", "by_output"]

TITLE = "SQNR of each output, dB"


@dataclass(frozen=True)
class OutputTable:
    """A table of texts.

    Attributes:
        heads: `artifact`, `measured as` and the outputs' names.
        rows: As many cells each; a ratio is the lowest of the batches.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def by_output(manifest: Manifest) -> OutputTable | None:
    """The table, or `None` where the network has one output, or nothing was measured."""
    names: tuple[str, ...] = ()
    rows = []
    for step in manifest.steps:
        for row in step.rows:
            if row.measurement is None or row.label == "oracle":
                continue
            found = [entry.get("by_output", {}) for entry in row.measurement["oracle"].values()]
            names = names or tuple(found[0])
            lowest = (decibels(min(float(entry[name]) for entry in found)) for name in names)
            rows.append((step.artifact, row.label, *lowest))
    return OutputTable(("artifact", "measured as", *names), tuple(rows)) if names else None
