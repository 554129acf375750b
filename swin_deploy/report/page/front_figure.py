"""Accuracy against time as a picture: a panel a front, each with its points and the line that joins the best."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from swin_deploy.artifact import Precision
from swin_deploy.report.front import Front, Point
from swin_deploy.report.page.inline_svg import ink, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["front_figure", "run_colour"]

_RUN_COLOURS = 6
_BARS = 24  # with more points their bounds are a fog: then those of the front alone are drawn
_MARKERS = ("s", "o", "v", "D", "^")  # a precision each, where the colour tells the run


def run_colour(number: int) -> str:
    """The variable of the page that a run is drawn in."""
    return f"run-{number % _RUN_COLOURS + 1}"


def front_figure(name: str, fronts: Sequence[Front], runs: tuple[str, ...] = ()) -> str:
    """Markup; empty without points or without matplotlib.

    Args:
        name: Unique in the page.
        fronts: With one kind of loss.
        runs: The runs in their order, where points are told apart by run rather than by precision.
    """
    if not fronts or not all(front.points for front in fronts):
        return ""
    return inline_svg(
        name,
        ", ".join(front.title for front in fronts),
        "Each point is one artifact or plan; further left is faster, further down loses less. A thin bar reaches to "
        "the 95 % bound, a line joins the points that no faster one beats.",
        partial(_draw, fronts, runs),
        height=320,
    )


def _draw(fronts: Sequence[Front], runs: tuple[str, ...], figure: Figure) -> None:
    figure.set_layout_engine("constrained", wspace=0.03)
    panels = figure.subplots(1, len(fronts), squeeze=False, sharey=True)[0]
    for axes, front in zip(panels, fronts, strict=True):
        _panel(axes, front, runs)
    panels[0].set_ylabel(fronts[0].loss)
    figure.supxlabel(fronts[0].time, fontsize=11.5)
    known = [precision.value for precision in Precision]
    used = sorted({point.precision for front in fronts for point in front.points}, key=known.index)
    for place, run in enumerate(runs):
        panels[0].scatter([], [], s=42, color=ink(run_colour(place)), label=run)
    for precision in used:
        colour = ink("muted" if runs else precision)
        panels[0].scatter([], [], s=42, marker=_marker(precision, runs), color=colour, label=precision.upper())
    figure.legend(loc="outside upper left", ncols=6, frameon=False, handletextpad=0.2, columnspacing=1.5)


def _panel(axes: Axes, front: Front, runs: tuple[str, ...]) -> None:
    best = [point for point in front.points if point.best]
    axes.plot(
        [point.time for point in best],
        [point.loss for point in best],
        color=ink("muted"),
        linewidth=1.2,
        drawstyle="steps-post",
        zorder=1,
    )
    for point in front.points:
        colour = ink(run_colour(runs.index(point.run)) if runs else point.precision)
        if point.upper is not None and (point.best or len(front.points) <= _BARS):
            axes.plot([point.time] * 2, [point.loss, point.upper], color=colour, linewidth=1.2, alpha=0.6, zorder=2)
        axes.scatter(
            [point.time],
            [point.loss],
            s=95 if point.chosen else 42,
            marker="*" if point.chosen else _marker(point.precision, runs),
            color=colour,
            alpha=1 if point.best or point.chosen else 0.55,
            linewidths=0,
            zorder=3,
        )
    if front.limit is not None and front.limit < 4 * max(abs(point.at_most) for point in front.points):
        axes.axhline(front.limit, color=ink("fail"), linewidth=1.5, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"margin {front.limit:g}",
            (1, front.limit),
            (0, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=ink("fail"),
        )
    for point in front.points:
        _name(axes, point)
    axes.margins(x=0.08, y=0.12)
    axes.locator_params(axis="x", nbins=5)
    if front.device:
        axes.set_xlim(0, 1.08 * max(point.time for point in front.points))
    axes.set_title(front.title, color=ink("muted"))
    axes.grid()


def _marker(precision: str, runs: tuple[str, ...]) -> str:
    return _MARKERS[[entry.value for entry in Precision].index(precision)] if runs else "o"


def _name(axes: Axes, point: Point) -> None:
    if point.chosen:
        axes.annotate("found", (point.time, point.loss), (9, 5), textcoords="offset points")
