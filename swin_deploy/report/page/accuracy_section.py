"""What the task loses, with intervals: the point, its one-sided bounds and the margin."""

from __future__ import annotations

from swin_deploy.device.score_interval import wilson
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import TASK_IMAGES, TASK_PAIRS
from swin_deploy.report.drop_interval import DropInterval, drop_intervals, margin_of, unit_of
from swin_deploy.report.page.document import Note, Part, Section, TableOf, figures
from swin_deploy.report.page.interval_figure import interval_figure
from swin_deploy.report.page.table import Cell, Table, badge

__all__ = ["accuracy_section"]


def accuracy_section(manifest: Manifest) -> Section:
    """The intervals; where there is nothing to tell a drop by, how often decisions agree."""
    found, margin = drop_intervals(manifest), margin_of(manifest)
    parts: list[Part] = [Note(f"Judged on {manifest.judged_on()}.")]
    if found:
        measure = f"{'PSNR-Y' if manifest.task == 'restoration' else 'top-1'}, {unit_of(manifest)}"
        parts += figures((interval_figure(found, margin, measure), _caption(manifest)))
        parts.append(TableOf(_table(manifest, found, margin)))
    else:
        parts.append(Note("NOT MEASURED: there is nothing to tell a loss by, only distances to the oracle.", "warn"))
        if manifest.task == "classifier":
            parts.append(TableOf(_agreement(manifest)))
    return Section("accuracy", "Accuracy", tuple(parts))


def _caption(manifest: Manifest) -> str:
    least = f"{TASK_PAIRS} pairs" if manifest.task == "restoration" else f"{TASK_IMAGES} labelled images"
    return (
        "The tick is the one-sided 95 % upper bound: a drop is judged by it, not by the dot. A hollow dot was not "
        f"judged: it has no gate, or fewer than {least}."
    )


def _table(manifest: Manifest, found: tuple[DropInterval, ...], margin: float) -> Table:
    digits = 3 if manifest.task == "restoration" else 2
    score = "PSNR-Y dB" if manifest.task == "restoration" else "top-1 %"
    heads = ("artifact", "measured as", "drop judged", score, "drop", "lower", "upper", "margin", "images")

    def bound(row: DropInterval, value: float | None) -> Cell:
        if value is None:
            return Cell("no spread", "quiet")
        return Cell(f"{value:+.{digits}f}", "over" if row.verdict is not None and value > margin else "")

    rows = tuple(
        (
            Cell(row.artifact, row.precision),
            Cell(f"{row.label} ({row.backend})", "wide"),
            Cell("not judged", "quiet") if row.verdict is None else badge(row.verdict),
            Cell(f"{row.score:.{digits}f}"),
            Cell(f"{row.drop:+.{digits}f}"),
            bound(row, row.lower),
            bound(row, row.upper),
            Cell(f"{margin:g}", "quiet"),
            Cell(f"{row.images}"),
        )
        for row in found
    )
    return Table("Drops with their one-sided 95 % bounds", heads, rows, frozenset(range(3, len(heads))))


def _agreement(manifest: Manifest) -> Table:
    rows = []
    for step in manifest.steps:
        for row in step.rows:
            if row.measurement is None or row.label == "oracle":
                continue
            largest = max(row.measurement["oracle"].values(), key=lambda entry: int(entry["images"]))
            share, images = float(largest["agreement"]), int(largest["images"])
            low = wilson(share, images)[0]
            rows.append(
                (
                    Cell(step.artifact, step.precision),
                    Cell(f"{row.label} ({row.backend})", "wide"),
                    Cell(f"{100 * share:.2f}"),
                    Cell(f"> {100 * low:.2f}"),
                    Cell(str(images)),
                )
            )
    heads = ("artifact", "measured as", "agree %", "95 % bound", "images")
    return Table("How often the oracle's decision was met", heads, tuple(rows), frozenset((2, 3, 4)))
