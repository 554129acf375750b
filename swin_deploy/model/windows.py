"""Where every token stands: window partition, cyclic shift, shift mask and relative position index.

All functions are pure integer geometry in NumPy; reference and deployment form both take them from here.
Source: Liu et al., "Swin Transformer" (2021), section 3.2, and "Swin Transformer V2" (2022), section 3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = [
    "MASK_VALUE",
    "effective_window",
    "merge_order",
    "region_labels",
    "relative_position_index",
    "shift_mask",
    "window_order",
]

IntArray = npt.NDArray[np.int64]
Size = tuple[int, int]

# What the official, timm's, torchvision's and Hugging Face's models were trained with; -inf would be another model.
MASK_VALUE = -100.0


def effective_window(feature_map: Size, window: Size) -> tuple[Size, Size]:
    """Clip the window to the feature map and give the shift of odd blocks.

    An axis on which one window covers the feature map has nothing to shift (the rule of the official code,
    timm and Hugging Face).

    Args:
        feature_map: Height and width in tokens.
        window: Window size that the model was configured with, in tokens.

    Returns:
        The window and the shift in force, each (vertical, horizontal).
    """
    clipped = tuple(min(size, w) for size, w in zip(feature_map, window, strict=True))
    shift = tuple(0 if size <= w else w // 2 for size, w in zip(feature_map, window, strict=True))
    return (clipped[0], clipped[1]), (shift[0], shift[1])


def window_order(feature_map: Size, window: Size, shift: Size) -> IntArray:
    """The raster index of each token of the window-ordered stream.

    Rolling the feature map by `-shift`, cutting it into windows and reading them row by row is one permutation:
    `stream = raster[:, window_order(...)]`.

    Returns:
        [H*W], windows in raster order, tokens of a window in raster order.
    """
    height, width = feature_map
    raster = np.arange(height * width, dtype=np.int64).reshape(height, width)
    rolled = np.roll(raster, (-shift[0], -shift[1]), axis=(0, 1))
    return _partition(rolled, window).reshape(-1)  # [nW, N] -> [H*W]


def merge_order(feature_map: Size, next_order: IntArray) -> IntArray:
    """The raster index of each token so that patch merging is a plain reshape.

    Four neighbours that merge stand together as (0,0), (1,0), (0,1), (1,1), rows first, the order in which the
    official patch merging concatenates them; the groups stand in `next_order`, the order the next stage wants.

    Args:
        feature_map: Height and width in tokens before merging, both even.
        next_order: [H/2*W/2], raster indices of the merged map in the next block's order.

    Returns:
        [H*W]; `raster[:, merge_order].reshape(B, H*W/4, 4*C)` is the input of the merging linear.
    """
    height, width = feature_map
    raster = np.arange(height * width, dtype=np.int64).reshape(height, width)
    split = raster.reshape(height // 2, 2, width // 2, 2)  # [H/2, row parity, W/2, column parity]
    groups = split.transpose(0, 2, 3, 1).reshape(-1, 4)  # column parity outer, row parity inner: [H/2*W/2, 4]
    return groups[next_order].reshape(-1)  # [H*W]


def region_labels(size: int, window: int, shift: int) -> IntArray:
    """Which contiguous piece of the unrolled axis each position of the rolled axis came from.

    Only the last window mixes two pieces; the first `window - shift` positions of it belong to the end of the axis,
    the rest wrapped around from its beginning.

    Returns:
        [size], 0 for the windows that hold one piece, 1 and 2 for the two pieces of the last window.
    """
    labels = np.zeros(size, dtype=np.int64)
    if shift:
        labels[size - window : size - shift] = 1
        labels[size - shift :] = 2
    return labels


def shift_mask(feature_map: Size, window: Size, shift: Size, value: float = MASK_VALUE) -> npt.NDArray[np.float64]:
    """The additive attention mask of a shifted block.

    Two tokens of a window may attend to each other if and only if neither axis wrapped around between them.

    Returns:
        [nW, N, N]: 0 where attention is allowed, `value` elsewhere.
    """
    rows = region_labels(feature_map[0], window[0], shift[0])
    columns = region_labels(feature_map[1], window[1], shift[1])
    regions = _partition(rows[:, None] * 3 + columns[None, :], window)  # [nW, N]
    return np.where(regions[:, :, None] == regions[:, None, :], 0.0, value)


def relative_position_index(window: Size) -> IntArray:
    """The row of the bias table for each (query, key) pair of a window.

    Returns:
        [N, N], values in [0, (2*window[0]-1) * (2*window[1]-1)).
    """
    rows, columns = np.divmod(np.arange(window[0] * window[1], dtype=np.int64), window[1])
    row_offset = rows[:, None] - rows[None, :] + window[0] - 1
    column_offset = columns[:, None] - columns[None, :] + window[1] - 1
    index: IntArray = row_offset * (2 * window[1] - 1) + column_offset
    return index


def _partition(grid: IntArray, window: Size) -> IntArray:
    """Cut [H, W] into [nW, N] windows."""
    height, width = grid.shape
    cut = grid.reshape(height // window[0], window[0], width // window[1], window[1])
    return cut.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])  # [nW, N]
