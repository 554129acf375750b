"""The one order of the fused form's tokens in each stage, and where the windows find them there.

Tokens stand so that patch merging into the next stage is a plain reshape, the last stage's in raster order. Attention
reads and writes through a table of positions, so that shift and partition move nothing. No padding is in the stream.
"""

from __future__ import annotations

import numpy as np

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.windows import PADDING, IntArray, merge_order, window_order

__all__ = ["merged_positions", "raster_positions", "stream_orders", "window_positions"]


def stream_orders(spec: SwinSpec) -> tuple[IntArray, ...]:
    """For each stage the raster index of every token of its stream, [L]."""
    sizes = [spec.feature_map(stage) for stage in range(len(spec.stages))]
    orders = [np.arange(height * width, dtype=np.int64) for height, width in sizes]
    if spec.merging:
        for stage in range(len(orders) - 2, -1, -1):
            order = merge_order(sizes[stage], orders[stage + 1])
            orders[stage] = order[order != PADDING]
    return tuple(orders)


def raster_positions(order: IntArray) -> IntArray:
    """Where each token of the raster stands in a stream of `order`, [L]."""
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    return positions


def window_positions(order: IntArray, geometry: BlockGeometry) -> IntArray:
    """Where each token of each window stands in a stream of `order`, [nW, N]; `PADDING` for a padded token."""
    raster = window_order(geometry.feature_map, geometry.window, geometry.shift, roll_first=geometry.roll_first)
    positions: IntArray = np.where(raster == PADDING, PADDING, raster_positions(order)[raster])
    return positions.reshape(geometry.windows, geometry.tokens)


def merged_positions(spec: SwinSpec, stage: int, orders: tuple[IntArray, ...]) -> IntArray | None:
    """Where the tokens that merge into `stage` stand in the stream before it, [4*L].

    `PADDING` below and to the right of an odd map; `None` where there is none, and the stream is read as it is.
    """
    wanted = merge_order(spec.feature_map(stage - 1), orders[stage])
    if (wanted != PADDING).all():
        return None
    positions: IntArray = np.where(wanted == PADDING, PADDING, raster_positions(orders[stage - 1])[wanted])
    return positions
