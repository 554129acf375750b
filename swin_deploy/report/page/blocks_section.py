"""Noise along the blocks as a heat map: a row a precision, a column a block."""

from __future__ import annotations

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import GATES, GateName
from swin_deploy.quantization.block_noise import most_noise
from swin_deploy.report.ledger import decibels
from swin_deploy.report.page.document import Note, Part, Section, TableOf
from swin_deploy.report.page.table import Cell, Table
from swin_deploy.report.plan_figures import chains

__all__ = ["blocks_section", "heat"]

_STEP = 6.0  # dB: half of the amplitude a shade
_SHADES = 6


def blocks_section(manifest: Manifest) -> Section | None:
    """`None` where nothing was measured inside a graph."""
    measured = [(chain.precision, chain.measure) for chain in chains(manifest) if chain.measure is not None]
    measured = [(precision, measure) for precision, measure in measured if measure.blocks]
    if not measured:
        return None
    blocks = list(dict.fromkeys(block for _, measure in measured for block in measure.blocks))
    rows, told = [], []
    for precision, measure in measured:
        gate = GATES[GateName(precision)]
        needed = gate.sqnr_db if manifest.task == "classifier" else gate.dense_db
        most = most_noise(measure.blocks)
        found = [Cell(precision.upper(), precision)]
        for block in blocks:
            value = measure.blocks.get(block)
            if value is None:
                found.append(Cell("-", "quiet"))
                continue
            marked = " most" if most is not None and block == most[0] else ""
            found.append(Cell(decibels(value), f"heat-{heat(value, needed)}{marked}"))
        rows.append(tuple(found))
        if most is not None:
            told.append(f"{precision.upper()}: most noise enters at {most[0]} (framed); red is below {needed:g} dB.")
    heads = ("block", *(block.removeprefix("blocks.") for block in blocks))
    table = Table("SQNR at each block's output in dB", heads, tuple(rows), look="heat")
    images = measured[0][1].images
    intro = (
        f"SQNR in dB at each block's output against the FP32 graph on {images} images, the noise of all blocks before "
        f"included. A shade is {_STEP:g} dB; darker is noisier."
    )
    parts: list[Part] = [Note(intro), TableOf(table), *(Note(line, "small") for line in told)]
    return Section("blocks", "Noise along the blocks", tuple(parts))


def heat(value: float, needed: float) -> int:
    """The shade: 6 below what is needed, and one less for every `_STEP` above it."""
    if value < needed:
        return _SHADES
    if value >= EXACT_DB:
        return 0
    return max(0, _SHADES - 1 - int((value - needed) / _STEP))
