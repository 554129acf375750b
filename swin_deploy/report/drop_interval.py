"""What each measured artifact costs the task, with its one-sided bounds and the margin that they are judged by."""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict

__all__ = ["DropInterval", "drop_intervals", "interval_of", "margin_of", "unit_of"]

_DROPS = ("top1-drop", "psnr-y-drop")


@dataclass(frozen=True)
class DropInterval:
    """Of one row; percentage points of top-1 for a classifier, dB of PSNR-Y for restoration.

    Attributes:
        artifact: Its name.
        label: How it was measured.
        backend: On what.
        precision: The arithmetic it asks for.
        score: The measure itself: percent, or dB.
        drop: The point estimate.
        lower: One-sided 95 % lower bound; `None` where these images bound nothing.
        upper: One-sided 95 % upper bound, likewise.
        images: Images it was measured on.
        verdict: Of the drop alone; `None` where it was not judged: no gate, or too few images.
    """

    artifact: str
    label: str
    backend: str
    precision: str
    score: float
    drop: float
    lower: float | None
    upper: float | None
    images: int
    verdict: Verdict | None


def drop_intervals(manifest: Manifest) -> tuple[DropInterval, ...]:
    """Every row that was measured by its task but the oracle's own, in the order they ran."""
    found = (interval_of(step, row) for step in manifest.steps for row in step.rows if row.label != "oracle")
    return tuple(interval for interval in found if interval is not None)


def interval_of(step: StepRecord, row: Row) -> DropInterval | None:
    """Of one row; `None` where there was nothing to tell by."""
    task = row.measurement and row.measurement["task"]
    if not task:
        return None
    judged = [check["verdict"] for check in row.judgements if check["check"] in _DROPS]
    # Where all images lose the same, the interval has no width, which is no certainty.
    bounded = task["upper"] is not None and task.get("spread") != 0
    return DropInterval(
        step.artifact,
        row.label,
        row.backend,
        step.precision,
        float(task["top1"] if "top1" in task else task["db"]),
        float(task["drop"]),
        float(task["lower"]) if bounded else None,
        float(task["upper"]) if bounded else None,
        int(task["images"]),
        Verdict(judged[-1]) if judged else None,
    )


def margin_of(manifest: Manifest) -> float:
    """The most that may be lost, in the unit of `unit_of`."""
    return float(manifest.recipe["max_psnr_drop" if manifest.task == "restoration" else "max_drop"])


def unit_of(manifest: Manifest) -> str:
    """What a drop is counted in."""
    return "dB" if manifest.task == "restoration" else "points"
