"""Accuracy against time: what was measured, and what a search modelled."""

from __future__ import annotations

from collections.abc import Sequence

from swin_deploy.report.front import Front, Point, TimedRun, measured_fronts, modelled_front
from swin_deploy.report.page.document import Folded, Heading, Note, Part, Section, TableOf, figures
from swin_deploy.report.page.front_figure import front_figure, run_colour
from swin_deploy.report.page.table import Cell, Table

__all__ = ["front_section"]

_CAPTION = "Further left is faster, further down loses less; bars reach to the 95 % bound, the line joins the best."
_MEASURED = (
    "Times were measured. Accuracy is that of the engine where it was executed on the evaluation images, else of the "
    "graph that it was built from."
)
_MODELLED = (
    "No engine was timed: the time is MODELLED, {how}. Accuracy was measured, on the images of the selection, where "
    "the best of many plans looks better than it is. Of the plan that was found a few noisy linears may have gone back "
    "to float before it was built: see report.md."
)


def front_section(runs: Sequence[TimedRun]) -> Section | None:
    """The fronts of one run, or of several together; `None` where there is neither a time nor a search."""
    measured, modelled = measured_fronts(runs), modelled_front(runs)
    names = tuple(run.name for run in runs) if len(runs) > 1 else ()
    parts: list[Part] = []
    for number, device in enumerate(dict.fromkeys(front.device for front in measured)):
        own = [front for front in measured if front.device == device]
        figure = front_figure(f"front-{number}", own, names)
        parts += [Heading(f"Measured on {device}"), *figures((figure, _CAPTION)), TableOf(_table(own, names))]
        parts.append(Note(_MEASURED, "small"))
    if modelled is not None:
        files = sorted({str(run.manifest.recipe["timings"]) for run in runs if run.manifest.recipe.get("timings")})
        how = (
            f"as the sum of what {', '.join(files)} has for each linear" if files else "by a roofline over the linears"
        )
        parts += [Heading("Plans that the search looked at: modelled time"), Note(_MODELLED.format(how=how))]
        table = TableOf(_table([modelled], names))
        if len(modelled.points) > 1:
            title = f"{len(table.table.rows)} of the {len(modelled.points)} plans lie on the front"
            figure = front_figure("front-modelled", [modelled], names)
            parts += [*figures((figure, _CAPTION)), Folded(title, (table,))]
        else:
            parts += [Note("The search was content with the first plan that it looked at."), table]
    return Section("front", "Accuracy against time", tuple(parts)) if parts else None


def _table(fronts: Sequence[Front], runs: tuple[str, ...]) -> Table:
    """The points of the fronts; the others are in the picture."""
    best = [(front, point) for front in fronts for point in front.points if point.best or point.chosen]
    several, bounded = len(fronts) > 1, any(point.upper is not None for _, point in best)
    texts = ["on the front", *(["run"] if runs else []), *(["at"] if several else [])]
    rows = tuple(
        (
            Cell(point.label + (" (found)" if point.chosen else ""), point.precision),
            *([Cell(point.run, run_colour(runs.index(point.run)))] if runs else []),
            *([Cell(front.title)] if several else []),
            Cell(f"{point.time:.2f}"),
            Cell(f"{point.loss:+.2f}"),
            *([_bound(front, point)] if bounded else []),
        )
        for front, point in best
    )
    heads = (*texts, fronts[0].time, fronts[0].loss, *(["95 % bound"] if bounded else []))
    count = sum(len(front.points) for front in fronts)
    return Table(f"{len(best)} of {count} points", heads, rows, frozenset(range(len(texts), len(heads))))


def _bound(front: Front, point: Point) -> Cell:
    if point.upper is None:
        return Cell("-", "quiet")
    return Cell(f"< {point.upper:+.2f}", "over" if front.limit is not None and point.upper > front.limit else "")
