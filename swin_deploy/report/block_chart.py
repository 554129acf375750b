"""SQNR of each block as a picture: an SVG where matplotlib is installed (the extra `report`), else bars of text."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.report.ledger import decibels

__all__ = ["draw_blocks", "text_bars"]

_WIDTH = 50  # characters of the longest bar


def draw_blocks(blocks: Mapping[str, float], title: str, needed_db: float, path: Path) -> bool:
    """Draw the ratios in dB, with the gate's line, into an SVG.

    Returns:
        Whether it was drawn: not without matplotlib, nor without blocks.
    """
    if not blocks or importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    values = [_shown(value) for value in blocks.values()]
    figure = Figure(figsize=(max(5.0, 0.35 * len(blocks) + 2), 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(values)), values, color="#3b6ea5")
    axes.axhline(needed_db, color="#a53b3b", linewidth=1, label=f"gate of the outputs, {needed_db:g} dB")
    axes.set_xticks(range(len(values)), [name.removeprefix("blocks.") for name in blocks], fontsize=8)
    axes.set_xlabel("block")
    axes.set_ylabel("SQNR at its output, dB")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    # The same figures give the same file: ids from a fixed salt, no date.
    with rc_context({"svg.hashsalt": "swin-deploy"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    return True


def text_bars(blocks: Mapping[str, float]) -> tuple[str, ...]:
    """One line a block: name, bar, dB."""
    if not blocks:
        return ()
    longest = max(max(_shown(value) for value in blocks.values()), 1.0)
    wide = max(map(len, blocks))
    return tuple(
        f"{name:<{wide}} {'#' * round(_WIDTH * _shown(value) / longest):<{_WIDTH}} {decibels(value)}"
        for name, value in blocks.items()
    )


def _shown(value: float) -> float:
    """A bar's length: none below 0 dB; an exact block gets FP32's 150 dB."""
    return min(max(value, 0.0), 150.0 if value >= EXACT_DB else EXACT_DB)
