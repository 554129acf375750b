"""Runs side by side: what was different about them, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.comparison.compared_run import ComparedRun, open_runs
from swin_deploy.comparison.difference import Difference, differences
from swin_deploy.comparison.pair import Pair, pairs
from swin_deploy.errors import BadInput
from swin_deploy.report.front import TimedRun
from swin_deploy.report.measured_times import latency_lines

__all__ = ["Comparison", "compare_runs"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Comparison:
    """Two or more runs; the first is what the others are compared with.

    Attributes:
        runs: In the order they were named.
        differences: Of what they were made from, with and on.
        pairs: Artifacts of each later run against the first's, image by image.
    """

    runs: tuple[ComparedRun, ...]
    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...]

    @property
    def timed(self) -> tuple[TimedRun, ...]:
        """The runs with their times."""
        return tuple(TimedRun(run.name, run.manifest, latency_lines(run.manifest)) for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "comparison",
            "runs": [_run(run) for run in self.runs],
            "differences": [
                {"kind": found.kind, "name": found.name, "values": list(found.values)} for found in self.differences
            ],
            "pairs": [pair.to_json() for pair in self.pairs],
        }


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Read the runs and compare them.

    Raises:
        UsageFault: fewer than two, or one of them twice.
        BadInput: one cannot be used; see `swin_deploy.comparison.compared_run.open_runs`.
    """
    runs = open_runs(folders)
    try:
        found = tuple(pair for run in runs[1:] for pair in pairs(runs[0], run))
        return Comparison(runs, differences(runs), found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BadInput(
            f"a manifest holds what no build writes: {type(error).__name__}: {error}",
            needed="folders as swin-deploy build left them",
        ) from error


def _run(run: ComparedRun) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "name": run.name,
        "folder": str(run.folder),
        "verdict": manifest.verdict,
        "status": manifest.status,
        "recommendation": manifest.recommendation,
        "artifacts": [
            {
                "artifact": step.artifact,
                "precision": step.precision,
                "file": step.file,
                "bytes": step.bytes,
                "verdict": step.verdict.value,
                "kernels": step.facts.get("kernels"),
                "rows": [
                    {
                        "label": row.label,
                        "backend": row.backend,
                        "verdict": row.verdict.value,
                        "measurement": row.measurement,
                    }
                    for row in step.rows
                ],
            }
            for step in manifest.steps
        ],
        "speed": manifest.speed,
    }
