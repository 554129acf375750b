"""Latency distributions on one device: a panel a batch, an artifact a line, from its fast calls to its slow ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from swin_deploy.report.latency_line import LatencyLine
from swin_deploy.report.page.inline_svg import ink, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["latency_figure"]

_ROW, _PANEL = 26, 54  # pixels
_UNNAMED = "fp32"  # the colour of what did not say its precision


def latency_figure(name: str, lines: Sequence[LatencyLine]) -> str:
    """Markup; empty without lines or without matplotlib.

    Args:
        name: Unique in the page.
        lines: Of one device.
    """
    if not lines:
        return ""
    panels = [[line for line in lines if line.batch == batch] for batch in dict.fromkeys(line.batch for line in lines)]
    return inline_svg(
        name,
        f"Latency on {lines[0].device}",
        "Each line reaches from the 1st to the 99th percentile of the calls, its thick part from the 25th to the 75th; "
        "the dot is the median and the tick the 95th percentile. A line without a thick part kept four percentiles.",
        partial(_draw, panels),
        height=24 + _PANEL * len(panels) + _ROW * len(lines),
    )


def _draw(panels: Sequence[Sequence[LatencyLine]], figure: Figure) -> None:
    heights = [_PANEL + _ROW * len(lines) for lines in panels]
    figure.set_layout_engine("constrained", h_pad=6 / 72)
    found = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, lines in zip(found, panels, strict=True):
        _panel(axes, lines)
    found[-1].set_xlabel("milliseconds a call")


def _panel(axes: Axes, lines: Sequence[LatencyLine]) -> None:
    for place, line in enumerate(lines):
        colour = ink(line.precision or _UNNAMED)
        found = line.quantiles_ms
        low, high = (found[1], found[99]) if found else (line.p50_ms, line.p99_ms)
        axes.plot([low, high], [place, place], color=colour, linewidth=1.5, solid_capstyle="butt")
        if found:
            axes.plot([found[25], found[75]], [place, place], color=colour, linewidth=9, solid_capstyle="butt")
        axes.plot([line.p95_ms] * 2, [place - 0.2, place + 0.2], color=colour, linewidth=2)
        axes.plot([line.p50_ms], [place], marker="o", markersize=5, color=colour, markerfacecolor=ink("paper"))
    axes.set_title(f"batch {lines[0].batch}", color=ink("muted"))
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlim(left=0)  # times compare by their lengths
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
