"""The tables of a comparison, for the page and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swin_deploy.comparison.compared_run import ComparedRun
from swin_deploy.comparison.comparison import Comparison
from swin_deploy.comparison.pair import Pair
from swin_deploy.parity.paired_drop import PairedDrop
from swin_deploy.report.latency_line import LatencyLine
from swin_deploy.report.ledger import LedgerLine, columns, ledger
from swin_deploy.report.page.front_figure import run_colour
from swin_deploy.report.page.table import Cell, Table, badge

__all__ = ["difference_table", "ledger_table", "pair_table", "speed_table"]


def difference_table(comparison: Comparison) -> Table:
    """A row each, a column a run."""
    rows = tuple(
        (Cell(f"{found.kind}: {found.name}"), *(Cell(_short(value), "any") for value in found.values))
        for found in comparison.differences
    )
    return Table("What differs", ("of", *(run.name for run in comparison.runs)), rows)


def _short(value: str) -> str:
    """A hash says that it differs, and no more."""
    digits = len(value) == 64 and set(value) <= set("0123456789abcdef")
    return f"{value[:12]}…" if digits else value


def ledger_table(runs: Sequence[ComparedRun]) -> Table:
    """Every measured row of every run, those of one artifact together."""
    heads = columns(runs[0].manifest)
    lines: dict[tuple[str, str], list[tuple[int, LedgerLine]]] = {}
    for place, run in enumerate(runs):
        for line in ledger(run.manifest):
            label = line.row.label if line.row else line.step.stage
            lines.setdefault((line.step.artifact, label), []).append((place, line))
    rows = tuple(
        (
            Cell(artifact, line.step.precision if number == 0 else "again"),
            Cell(line.cells[1], "wide"),
            Cell(runs[place].name, run_colour(place)),
            badge(line.cells[2]),
            *(Cell(text, "quiet" if text == "-" else "") for text in line.cells[3:-1]),
        )
        for (artifact, _), found in lines.items()
        for number, (place, line) in enumerate(found)
    )
    shown = (*heads[:2], "run", *heads[2:-1])
    return Table("Ledgers side by side", shown, rows, frozenset(range(4, len(shown))))


def pair_table(found: Sequence[Pair], unit: str) -> Table:
    """Each pair that could be compared image by image."""
    classes, told = any(pair.agreement is not None for pair in found), any(pair.drop for pair in found)
    digits = 2 if classes else 3
    heads = ["artifact", "measured as", "run", "images", *(["same decision %"] if classes else [])]
    heads += [f"loses against {found[0].first}, {unit}", "lower", "upper"] if told else []
    heads += ["lost", "won", "McNemar p"] if told and classes else []
    rows = []
    for pair in found:
        drop = pair.drop
        row = [Cell(pair.artifact), Cell(pair.label), Cell(pair.second), Cell(str(pair.images))]
        if classes:
            row.append(_optional(pair.agreement, lambda share: f"{100 * share:.2f}"))
        if told:
            row += [
                _optional(value, lambda value: f"{value:+.{digits}f}")
                for value in ((drop.drop, drop.lower, drop.upper) if drop else (None,) * 3)
            ]
        if told and classes:
            lost, won, p = (drop.lost, drop.won, drop.mcnemar_p) if isinstance(drop, PairedDrop) else (None,) * 3
            row += [_optional(lost, str), _optional(won, str), _optional(p, lambda p: f"{p:.3g}")]
        rows.append(tuple(row))
    return Table("Paired, image by image", tuple(heads), tuple(rows), frozenset(range(3, len(heads))))


def _optional(value: float | None, text: Callable[[float], str]) -> Cell:
    return Cell("-", "quiet") if value is None else Cell(text(value))


def speed_table(comparison: Comparison) -> Table:
    """Every timed line of every run; empty where nothing was."""
    lines: list[tuple[int, LatencyLine]] = [
        (place, line) for place, run in enumerate(comparison.timed) for line in run.lines
    ]
    lines.sort(key=lambda entry: (entry[1].device, entry[1].artifact, entry[1].batch, entry[0]))
    heads = ("artifact", "run", "device", "backend", "batch", "p50 ms", "p95 ms", "p99 ms", "CV %", "images/s")
    rows = tuple(
        (
            Cell(line.name, line.precision),
            Cell(comparison.runs[place].name, run_colour(place)),
            Cell(line.device),
            Cell(line.backend),
            Cell(str(line.batch)),
            *(Cell(f"{value:.2f}") for value in (line.p50_ms, line.p95_ms, line.p99_ms)),
            Cell(f"{100 * line.variation:.1f}"),
            Cell(f"{line.images_per_second:.0f}"),
        )
        for place, line in lines
    )
    return Table("Times", heads, rows, frozenset(range(4, len(heads))))
