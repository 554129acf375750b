"""Where every token stands: window partition, cyclic shift, shift mask and relative position index.

All functions are pure integer geometry in NumPy; reference and deployment form both take them from here.
Source: Liu et al., "Swin Transformer" (2021), section 3.2, and "Swin Transformer V2" (2022), section 3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = [
    "MASK_VALUE",
    "PADDING",
    "merge_order",
    "padded_size",
    "padding_mask",
    "region_labels",
    "relative_position_index",
    "shift_mask",
    "window_order",
    "window_regions",
]

IntArray = npt.NDArray[np.int64]
Size = tuple[int, int]

# What the official, timm's, torchvision's and Hugging Face's models were trained with; -inf would be another model.
MASK_VALUE = -100.0
# Stands in an order for a token that is in no image.
PADDING = -1


def padded_size(feature_map: Size, window: Size) -> Size:
    """The smallest map, no smaller than `feature_map`, that whole windows cover; padding goes below and to the right.

    Raises:
        ValueError: a size is not positive.
    """
    if min(*feature_map, *window) < 1:
        raise ValueError(f"a map of {feature_map} and windows of {window}: sizes must be positive")
    return -(-feature_map[0] // window[0]) * window[0], -(-feature_map[1] // window[1]) * window[1]


def window_order(feature_map: Size, window: Size, shift: Size, *, roll_first: bool = False) -> IntArray:
    """The raster index of each token of the window-ordered stream.

    Padding the feature map until whole windows cover it, rolling it by `-shift`, cutting it into windows and reading
    them row by row is one permutation: `stream = raster[:, window_order(...)]`, with zeros where it says `PADDING`.

    Args:
        feature_map: Height and width in tokens.
        window: Window in tokens.
        shift: Cyclic shift in tokens.
        roll_first: Roll the map before it is padded (timm's order) rather than after (everybody else's).

    Returns:
        [Hp*Wp], windows in raster order, tokens of a window in raster order, `PADDING` for padded tokens.

    Raises:
        ValueError: a size is not positive, or a shift is not within the window.
    """
    if not all(0 <= step < side for step, side in zip(shift, window, strict=True)):
        raise ValueError(f"windows of {window}, shift {shift}: each shift must be from 0 to the window - 1")
    padded_size(feature_map, window)  # refuses sizes that are not positive
    height, width = feature_map
    raster = np.arange(height * width, dtype=np.int64).reshape(height, width)
    raster = _padded(_rolled(raster, shift), window) if roll_first else _rolled(_padded(raster, window), shift)
    return _partition(raster, window).reshape(-1)  # [nW, N] -> [Hp*Wp]


def merge_order(feature_map: Size, next_order: IntArray) -> IntArray:
    """The raster index of each token so that patch merging is a plain reshape.

    Four neighbours that merge stand together as (0,0), (1,0), (0,1), (1,1), rows first, the order in which the
    official patch merging concatenates them; the groups stand in `next_order`, the order the next stage wants. An odd
    map has `PADDING` below or to the right of its last tokens.

    Args:
        feature_map: Height and width in tokens before merging.
        next_order: [L], raster indices of the merged map (or `PADDING`) in the next block's order.

    Returns:
        [4*L]; `raster[:, merge_order].reshape(B, L, 4*C)` is the input of the merging linear, with zeros where it
        says `PADDING`. A padded token of the next stage is four padded ones.
    """
    raster = np.arange(feature_map[0] * feature_map[1], dtype=np.int64).reshape(feature_map)
    raster = _padded(raster, (2, 2))
    height, width = raster.shape
    split = raster.reshape(height // 2, 2, width // 2, 2)  # [H/2, row parity, W/2, column parity]
    groups = split.transpose(0, 2, 3, 1).reshape(-1, 4)  # column parity outer, row parity inner: [H/2*W/2, 4]
    groups = np.concatenate([groups, np.full((1, 4), PADDING, dtype=np.int64)])  # what index PADDING picks
    return groups[next_order].reshape(-1)  # [4*L]


def region_labels(size: int, window: int, shift: int) -> IntArray:
    """Which contiguous piece of the unrolled axis each position of the rolled axis came from.

    Only the last window mixes two pieces; the first `window - shift` positions of it belong to the end of the axis,
    the rest wrapped around from its beginning.

    Args:
        size: Length of the axis, a multiple of `window`.
        window: Window on this axis.
        shift: Cyclic shift on this axis, from 0 to `window` - 1.

    Returns:
        [size], 0 for the windows that hold one piece, 1 and 2 for the two pieces of the last window.

    Raises:
        ValueError: the window does not divide the axis, or the shift is not within the window.
    """
    if size < 1 or window < 1 or size % window or not 0 <= shift < window:
        raise ValueError(f"an axis of {size}, windows of {window}, shift {shift}: windows must cover it, shift within")
    labels = np.zeros(size, dtype=np.int64)
    if shift:
        labels[size - window : size - shift] = 1
        labels[size - shift :] = 2
    return labels


def window_regions(feature_map: Size, window: Size, shift: Size) -> IntArray:
    """The region that each token of each window belongs to; tokens attend within their region only.

    A region is `3 * row label + column label` of `region_labels`, so there are nine at most.

    Returns:
        [nW, N], equal numbers within a window where two tokens are neighbours in the unrolled, padded map too.

    Raises:
        ValueError: a size is not positive, or a shift is not within the window.
    """
    height, width = padded_size(feature_map, window)
    rows = region_labels(height, window[0], shift[0])
    columns = region_labels(width, window[1], shift[1])
    return _partition(rows[:, None] * 3 + columns[None, :], window)  # [nW, N]


def shift_mask(feature_map: Size, window: Size, shift: Size, value: float = MASK_VALUE) -> npt.NDArray[np.float64]:
    """The additive attention mask of a shifted block.

    Two tokens of a window may attend to each other if and only if neither axis wrapped around between them: their
    offset in the padded, unrolled map is the one they have in the rolled map. Padded tokens are not masked, as in every
    code base; see `padding_mask` for models of your own that want it. docs/attention.md explains both with pictures.

    timm rolls before it pads and uses this very mask. Where it pads, its mask is therefore not the one that its roll
    asks for; what such a model was trained with is reproduced, not put right.

    Args:
        feature_map: Height and width in tokens; padded below and to the right where windows do not cover it.
        window: Window in tokens.
        shift: Cyclic shift in tokens, each from 0 to the window - 1.
        value: What is added where attention is forbidden: -100 (the convention of the published models) or -inf.

    Returns:
        [nW, N, N]: 0 where attention is allowed, `value` elsewhere; windows in raster order.

    Raises:
        ValueError: a size is not positive, a shift is not within the window, or `value` is not negative.
    """
    _check_value(value)
    regions = window_regions(feature_map, window, shift)
    return np.where(regions[:, :, None] == regions[:, None, :], 0.0, value)


def padding_mask(
    feature_map: Size, window: Size, shift: Size, value: float = MASK_VALUE, *, roll_first: bool = False
) -> npt.NDArray[np.float64]:
    """The additive mask that hides padded tokens from all others: for models of your own, no published Swin has it.

    A padded query sees itself alone, so that no row is without an allowed key and a softmax over -inf is never NaN; its
    output is cut away.

    Args:
        feature_map: Height and width in tokens, before padding.
        window: Window in tokens.
        shift: Cyclic shift in tokens, each from 0 to the window - 1.
        value: What is added where attention is forbidden, -100 or -inf.
        roll_first: As in `window_order`: it says where the padded tokens stand.

    Returns:
        [nW, N, N]: 0 where attention is allowed, `value` elsewhere; add it to `shift_mask` of the same geometry.

    Raises:
        ValueError: a size is not positive, a shift is not within the window, or `value` is not negative.
    """
    _check_value(value)
    order = window_order(feature_map, window, shift, roll_first=roll_first)
    padding = (order == PADDING).reshape(-1, window[0] * window[1])  # [nW, N]
    hidden = padding[:, None, :] | padding[:, :, None]  # [nW, N, N]
    hidden &= ~np.eye(window[0] * window[1], dtype=bool)
    return np.where(hidden, value, 0.0)


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


def _check_value(value: float) -> None:
    if not value < 0:  # refuses NaN too
        raise ValueError(f"a mask value of {value}: what is added where attention is forbidden must be negative")


def _rolled(grid: IntArray, shift: Size) -> IntArray:
    return np.roll(grid, (-shift[0], -shift[1]), axis=(0, 1))


def _padded(grid: IntArray, step: Size) -> IntArray:
    """[H, W] to the next multiples of `step`, with `PADDING` below and to the right."""
    height, width = padded_size((grid.shape[0], grid.shape[1]), step)
    return np.pad(grid, ((0, height - grid.shape[0]), (0, width - grid.shape[1])), constant_values=PADDING)


def _partition(grid: IntArray, window: Size) -> IntArray:
    """Cut [H, W] into [nW, N] windows."""
    height, width = grid.shape
    cut = grid.reshape(height // window[0], window[0], width // window[1], window[1])
    return cut.transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])  # [nW, N]
