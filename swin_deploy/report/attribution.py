"""Which step made the noise: an artifact's distance to the oracle beside its distance to what it was made from.

Noise of independent causes adds up. So the noise against the parent, over the noise against the oracle, is the share
that the step itself made, and the rest came with its parent. Errors that a step happens to undo make the quotient
larger than 1, which is shown as all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.manifest import Manifest, Row
from swin_deploy.parity.gates import GATES, GateName

__all__ = ["Attributed", "attributed", "made_here", "needed_db"]


@dataclass(frozen=True)
class Attributed:
    """One measured row.

    Attributes:
        artifact: Its name.
        label: How it was measured.
        parent: What it was made from.
        precision: The arithmetic it asks for.
        oracle_db: SQNR against the oracle, the lowest of the batches.
        parent_db: SQNR against the parent at the usual batch; `None` where the parent was not measured.
        share: 0 to 1, see `made_here`; `None` where nothing can be told.
        needed_db: What the gate asks for; `None` without a gate.
    """

    artifact: str
    label: str
    parent: str
    precision: str
    oracle_db: float
    parent_db: float | None
    share: float | None
    needed_db: float | None


def attributed(manifest: Manifest) -> tuple[Attributed, ...]:
    """Every measured row but the oracle's own, in the order they ran."""
    usual = usual_batch(manifest)
    return tuple(
        Attributed(
            step.artifact,
            row.label,
            step.parent,
            step.precision,
            min(float(entry["sqnr_db"]) for entry in row.measurement["oracle"].values()),
            None if row.measurement["parent"] is None else float(row.measurement["parent"]["sqnr_db"]),
            made_here(row.measurement, usual),
            needed_db(manifest, row),
        )
        for step in manifest.steps
        for row in step.rows
        if row.measurement is not None and row.label != "oracle"
    )


def usual_batch(manifest: Manifest) -> str:
    """The batch that has seen all images, as the manifest's keys have it."""
    return str(manifest.recipe["batch"][1])


def made_here(measurement: Mapping[str, Any], usual: str) -> float | None:
    """The share of an artifact's noise that its own step made; `None` without a parent, or without a ratio."""
    oracle, parent = measurement["oracle"].get(usual), measurement["parent"]
    if oracle is None or parent is None:
        return None
    behind, own = float(oracle["sqnr_db"]), float(parent["sqnr_db"])
    if own >= EXACT_DB:
        return 0.0
    if abs(behind) >= EXACT_DB or own <= -EXACT_DB:
        return None
    return float(min(1.0, 10 ** ((behind - own) / 10)))


def needed_db(manifest: Manifest, row: Row) -> float | None:
    """The ratio that a row's gate asks for, in dB."""
    if row.gate is None or row.gate not in {name.value for name in GateName}:
        return None
    gate = GATES[GateName(row.gate)]
    return gate.sqnr_db if manifest.task == "classifier" else gate.dense_db
