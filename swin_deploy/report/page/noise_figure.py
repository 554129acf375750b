"""The noise of each artifact as a picture: how far from the oracle, how far from its parent, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.report.attribution import Attributed
from swin_deploy.report.page.inline_svg import ink, inline_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["noise_figure"]

_ROW = 24  # pixels
_MOST = 150.0  # dB: FP32 shows no more


def noise_figure(found: Sequence[Attributed]) -> str:
    """Markup; empty without rows or without matplotlib."""
    shown = [row for row in found if row.oracle_db > -EXACT_DB]
    if not shown:
        return ""
    return inline_svg(
        "noise",
        "SQNR of each artifact against the oracle and against its parent",
        "A full dot is the distance to the oracle, a ring the distance to the parent, a bar the gate. Where ring and "
        "dot lie together the step itself made the noise; where the ring lies further right it came with the parent.",
        partial(_draw, shown),
        height=78 + _ROW * len(shown),
    )


def _draw(found: Sequence[Attributed], figure: Figure) -> None:
    axes = figure.add_subplot()
    for place, row in enumerate(found):
        colour, own = ink(row.precision), _shown(row.oracle_db)
        if row.parent_db is not None and row.parent_db > -EXACT_DB:
            parent = _shown(row.parent_db)
            axes.plot([own, parent], [place, place], color=ink("line"), linewidth=1.5, zorder=1)
            axes.scatter(
                [parent], [place], s=70, facecolors="none", edgecolors=colour, linewidths=1.5, clip_on=False, zorder=3
            )
        axes.scatter([own], [place], s=26, color=colour, clip_on=False, zorder=4)
        if row.needed_db is not None:
            axes.plot([row.needed_db] * 2, [place - 0.34, place + 0.34], color=ink("fail"), linewidth=2, zorder=2)
    axes.set_yticks(range(len(found)), [f"{row.artifact}  {row.label}" for row in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, _MOST + 4)
    axes.set_xlabel("SQNR, dB: further right is closer")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    for marker, colour, filled, text in (
        ("o", "ink", True, "against the oracle"),
        ("o", "ink", False, "against the parent"),
        ("|", "fail", True, "gate"),
    ):
        axes.plot(
            [],
            [],
            linestyle="",
            marker=marker,
            markersize=6 if filled else 8,
            color=ink(colour),
            markerfacecolor=ink(colour) if filled else "none",
            markeredgewidth=2 if marker == "|" else 1.5,
            label=text,
        )
    figure.legend(loc="outside upper left", ncols=3, frameon=False, handletextpad=0.2, columnspacing=1.5)


def _shown(value: float) -> float:
    return min(max(value, 0.0), _MOST)
