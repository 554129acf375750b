"""Tiles of the kernels that keep whole rows in registers: norms and quantization, bound by memory alone."""

from __future__ import annotations

from swin_deploy.kernels.launch import Tiles
from swin_deploy.kernels.tiling import covering

__all__ = ["row_tiles"]


def row_tiles(channels: int) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first, for rows of `channels` values.

    32 values a thread: enough loads in flight, and enough registers left for several programs on a multiprocessor.
    Small batches have few rows, and want programs of fewer.
    """
    columns = covering(channels)
    return tuple(
        dict.fromkeys(_tiles(columns, warps, values) for warps, values in ((4, 32), (4, 16), (8, 32), (4, 64)))
    )


def _tiles(columns: int, warps: int, values: int) -> Tiles:
    rows = max(1, 32 * warps * values // columns)
    return Tiles(rows, columns, 16, max(warps, min(16, columns // (32 * values))), 1)
