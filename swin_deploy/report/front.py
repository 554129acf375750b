"""Accuracy against time: the plans and artifacts of which none other is both faster and better.

Two kinds, never mixed. One is measured: times of a device beside what was lost. The other is of the plans that a search
looked at, whose accuracy was measured and whose time was not: it is modelled, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.device.distances import EXACT_DB
from swin_deploy.manifest import Manifest, Row
from swin_deploy.report.drop_interval import margin_of, unit_of
from swin_deploy.report.latency_line import LatencyLine
from swin_deploy.report.plan_figures import chain_of, chains

__all__ = ["Front", "Point", "TimedRun", "measured_fronts", "modelled_front"]

_NOISE = "noise at the outputs, dB"


@dataclass(frozen=True)
class TimedRun:
    """A run with everything that was timed of it.

    Attributes:
        name: Tells it from others; empty where it is the only one.
        manifest: What is known of it.
        lines: Its times, see `swin_deploy.report.measured_times`.
    """

    name: str
    manifest: Manifest
    lines: tuple[LatencyLine, ...]


@dataclass(frozen=True)
class Point:
    """One artifact or plan.

    Attributes:
        label: What it is, in a few words.
        precision: The arithmetic.
        run: Name of the run.
        time: On the time's axis; less is faster.
        loss: On the accuracy's axis; less is better.
        upper: One-sided 95 % upper bound of the loss, where there is one.
        best: Whether it lies on the front.
        chosen: Whether it is the plan that a search ended with.
    """

    label: str
    precision: str
    run: str
    time: float
    loss: float
    upper: float | None
    best: bool = False
    chosen: bool = False

    @property
    def at_most(self) -> float:
        """What it may lose: the bound, where there is one."""
        return self.loss if self.upper is None else self.upper


@dataclass(frozen=True)
class Front:
    """Points that may be compared with each other.

    Attributes:
        title: What they have in common.
        device: Where they were timed; empty where they were not.
        time: What the time's axis counts.
        loss: What the accuracy's axis counts.
        points: In the order of their times.
        limit: The most that may be lost; `None` where nothing is judged by it.
    """

    title: str
    device: str
    time: str
    loss: str
    points: tuple[Point, ...]
    limit: float | None


def measured_fronts(runs: Sequence[TimedRun]) -> tuple[Front, ...]:
    """One front a device and batch, of all runs with the first one's task and kind of images."""
    found: dict[tuple[str, int], list[Point]] = {}
    for run in runs:
        if (run.manifest.task, _with_task(run.manifest)) != (runs[0].manifest.task, _with_task(runs[0].manifest)):
            continue
        for line in run.lines:
            row = _judged(run.manifest, line)
            loss = row and _loss(run.manifest, row)
            if loss:
                precision = line.precision or _precision(run.manifest, line)
                point = Point(line.name, precision, run.name, line.p50_ms, *loss)
                found.setdefault((line.device, line.batch), []).append(point)
    return tuple(
        Front(
            f"batch {batch}",
            device,
            "milliseconds a call, median",
            _loss_name(runs[0].manifest),
            _with_best(points),
            margin_of(runs[0].manifest) if _with_task(runs[0].manifest) else None,
        )
        for (device, batch), points in found.items()
        if len(points) > 1  # one alone is compared with nothing
    )


def modelled_front(runs: Sequence[TimedRun]) -> Front | None:
    """The plans that searches looked at; `None` where there was no search."""
    points = [
        point
        for run in runs
        for chain in chains(run.manifest)
        for step in chain.steps
        if "search" in step.facts
        for point in _plans(step.facts["search"], chain.precision, run.name)
    ]
    if not points:
        return None
    bounded = all(point.upper is not None for point in points)
    return Front(
        "plans of the search, time modelled",
        "",
        "saving that is left, % (0: all linears quantized, 100: none)",
        _loss_name(runs[0].manifest) if bounded else _NOISE,
        _with_best(points),
        margin_of(runs[0].manifest) if bounded else None,
    )


def _plans(search: Mapping[str, Any], precision: str, run: str) -> Iterable[Point]:
    plan = search["plan"]
    possible = float(plan["possible"])
    found: list[Point] = []
    for step in plan["steps"] if possible > 0 else ():
        left = 100 * (1 - float(step["saving"]) / possible)
        known = step["drop"] is not None
        loss = float(step["drop"]) if known else -float(step["sqnr_db"])
        upper = float(step["drop_upper"]) if known else None
        label = f"{step['move']} {', '.join(step['changes'])}" if 0 < len(step["changes"]) <= 2 else str(step["move"])
        found.append(Point(label, precision, run, left, loss, upper))
    kept = [place for place, step in enumerate(plan["steps"]) if step["kept"]]
    if found and kept and plan["choice"]:
        found[kept[-1]] = replace(found[kept[-1]], chosen=True)
    return found


def _judged(manifest: Manifest, line: LatencyLine) -> Row | None:
    """What is known of the accuracy of a timed artifact: its own row, or that of its precision's chain."""
    step = next((step for step in manifest.steps if step.file == line.artifact), None)
    own = [row for row in (step.rows if step else ()) if row.measurement is not None and row.label != "oracle"]
    precision = line.precision or (step.precision if step else "")
    return own[0] if own else (chain_of(manifest, precision).judged if precision else None)


def _precision(manifest: Manifest, line: LatencyLine) -> str:
    found = (step.precision for step in manifest.steps if step.file == line.artifact)
    return next(found, Precision.FP32.value)


def _loss(manifest: Manifest, row: Row) -> tuple[float, float | None] | None:
    assert row.measurement is not None
    task = row.measurement["task"]
    if task is not None:
        return float(task["drop"]), None if task["upper"] is None else float(task["upper"])
    if _with_task(manifest):
        return None  # points and decibels have no common axis
    lowest = min(float(entry["sqnr_db"]) for entry in row.measurement["oracle"].values())
    return (-lowest, None) if abs(lowest) < EXACT_DB else None


def _with_task(manifest: Manifest) -> bool:
    return bool(manifest.evaluation["labelled"] or manifest.evaluation["pictures"])


def _loss_name(manifest: Manifest) -> str:
    if not _with_task(manifest):
        return _NOISE
    measure = "PSNR-Y" if manifest.task == "restoration" else "top-1"
    return f"drop in {measure}, {unit_of(manifest)}"


def _with_best(points: Sequence[Point]) -> tuple[Point, ...]:
    """In the order of their times, those marked of which no faster one may lose less."""
    kept, least = [], float("inf")
    for point in sorted(points, key=lambda point: (point.time, point.at_most)):
        kept.append(replace(point, best=point.at_most < least))
        least = min(least, point.at_most)
    return tuple(kept)
