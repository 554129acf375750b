"""What each artifact loses, with its one-sided bounds, beside the margin: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from swin_deploy.report.drop_interval import DropInterval
from swin_deploy.report.page.inline_svg import ink, inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["interval_figure"]

_ROW = 24  # pixels
# A drop of many margins would press all others into a line: it is drawn at the edge, as an arrow with its figure.
_FURTHEST = 4.0  # margins


def interval_figure(found: Sequence[DropInterval], margin: float, measure: str) -> str:
    """Markup; empty without rows or without matplotlib.

    Args:
        found: What was measured.
        margin: The most that may be lost.
        measure: Of what, with its unit.
    """
    if not found:
        return ""
    return inline_svg(
        "intervals",
        f"Drop in {measure} with 95 % bounds",
        "A dot is the measured drop, its line reaches from the lower to the upper one-sided 95 % bound. An artifact "
        f"passes where the whole line ends before the margin of {margin:g}.",
        partial(_draw, found, margin, measure),
        height=62 + _ROW * len(found),
    )


def _draw(found: Sequence[DropInterval], margin: float, measure: str, figure: Figure) -> None:
    axes = figure.add_subplot()
    edge = _FURTHEST * margin if margin > 0 else max(abs(row.upper or row.drop) for row in found) or 1.0
    highest = min(edge, max([margin, *(row.drop if row.upper is None else row.upper for row in found)]) * 1.15)
    lowest = max(-edge, min([0.0, *(row.drop if row.lower is None else row.lower for row in found)]) * 1.15)
    for place, row in enumerate(found):
        colour = ink(row.precision)
        if not lowest <= row.drop <= highest:
            right = row.drop > highest
            at = highest if right else lowest
            axes.plot([at], [place], marker=">" if right else "<", color=colour, clip_on=False, markersize=7)
            offset, side = (-10, "right") if right else (10, "left")
            axes.annotate(
                f"{row.drop:+.2f}", (at, place), (offset, 0), textcoords="offset points", ha=side, va="center"
            )
            continue
        if row.lower is not None and row.upper is not None:
            axes.plot([row.lower, row.upper], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot([row.upper] * 2, [place - 0.24, place + 0.24], color=colour, linewidth=2)
        judged = row.verdict is not None
        axes.plot(
            [row.drop],
            [place],
            marker="o",
            markersize=6.5,
            color=colour,
            markerfacecolor=colour if judged else ink("paper"),
            markeredgewidth=1.5,
        )
    axes.axvline(0, color=ink("muted"), linewidth=1, zorder=0)
    axes.axvline(margin, color=ink("fail"), linewidth=1.5, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        f"margin {margin:g}",
        (margin, 1),
        (-5, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right",
        color=ink("fail"),
    )
    axes.set_yticks(range(len(found)), [f"{row.artifact}  {row.label}" for row in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(lowest, highest)
    axes.set_xlabel(f"drop in {measure}: further left is better")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
