"""A linear layer with what stands around it: `gelu(norm(x) @ weight.T + bias) + residual`.

See `operators.Operators.linear`. The norm is not a pass of its own: the product is of x as it is, and the sums that
mean and deviation need are taken beside it, from the same tiles.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_deploy.kernels.triton.gelu import gelu
from swin_deploy.kernels.triton.read_tile import read_tile

__all__ = ["linear_kernel"]


@triton.jit
def linear_kernel(
    x,  # [ROWS, K]
    weight,  # [N, K]
    bias,  # [N] FP32, or None
    column,  # [N] FP32, or None
    residual,  # [ROWS, N], or None
    out,  # [ROWS, N]
    rows,
    INNER: tl.constexpr,
    COLUMNS: tl.constexpr,
    EPS: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_INNER: tl.constexpr,
    GROUP: tl.constexpr,
):
    # GROUP row tiles share each weight tile, and all their column tiles follow one another: both are then read from L2.
    row_tiles = tl.cdiv(rows, BLOCK_ROWS)
    column_tiles: tl.constexpr = (COLUMNS + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    program = tl.program_id(0)
    group = program // (GROUP * column_tiles)
    within = program % (GROUP * column_tiles)
    height = tl.minimum(row_tiles - group * GROUP, GROUP)
    start = (group * GROUP + within % height) * BLOCK_ROWS
    row = tl.arange(0, BLOCK_ROWS)
    channel = (within // height) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)  # [BLOCK_COLUMNS]
    inner = tl.arange(0, BLOCK_INNER)

    # What stands past the last row or column is a copy of it, and is not stored: the loop then needs no mask.
    # A program's own start takes 64 bits, which a large batch needs; offsets from there take 32.
    source = x + start.to(tl.int64) * INNER + tl.minimum(row, rows - 1 - start) * INNER  # [BLOCK_ROWS]
    source_tile = source[:, None] + inner[None, :]
    weight_tile = weight + tl.minimum(channel, COLUMNS - 1)[None, :] * INNER + inner[:, None]
    ragged: tl.constexpr = INNER % BLOCK_INNER != 0
    lanes: tl.constexpr = BLOCK_INNER // 8
    if column is not None:
        # Sums about a member of the row cancel little: |first - mean|^2 <= K * variance.
        first = tl.load(source).to(tl.float32)
        total = tl.zeros([BLOCK_ROWS, lanes], tl.float32)
        squares = tl.zeros([BLOCK_ROWS, lanes], tl.float32)
    y = tl.zeros([BLOCK_ROWS, BLOCK_COLUMNS], tl.float32)
    for begin in range(0, INNER, BLOCK_INNER):
        real = inner < INNER - begin
        a = read_tile(source_tile, real[None, :], ragged)
        b = read_tile(weight_tile, real[:, None], ragged)
        y = tl.dot(a, b, y, input_precision="ieee")
        if column is not None:
            # A load of its own, from L2. Were `a` used here too, Triton 3.8 would lay it out in shared memory without a
            # swizzle (sm_80: conflicts in every bank), and with a buffer too few for asynchronous products (sm_90).
            if ragged:
                again = tl.load(source_tile, mask=real[None, :], other=0.0, cache_modifier=".ca")
                apart = tl.where(real[None, :], again.to(tl.float32) - first[:, None], 0.0)
            else:
                apart = tl.load(source_tile, cache_modifier=".ca").to(tl.float32) - first[:, None]
            # A thread holds eight neighbours and adds them up itself; threads are added up once, behind the loop.
            apart = tl.reshape(apart, [BLOCK_ROWS, lanes, 8])
            total += tl.sum(apart, 2)
            squares += tl.sum(apart * apart, 2)
        source_tile += BLOCK_INNER
        weight_tile += BLOCK_INNER

    real_channel = channel < COLUMNS
    if column is not None:
        shift = tl.sum(total, 1) / INNER
        # Not below 0: the variance is at least a K-th of what is subtracted from.
        scale = tl.rsqrt(tl.sum(squares, 1) / INNER - shift * shift + EPS)
        sums = tl.load(column + channel, mask=real_channel, other=0.0)
        y = (y - (first + shift)[:, None] * sums[None, :]) * scale[:, None]
    if bias is not None:
        y += tl.load(bias + channel, mask=real_channel, other=0.0)[None, :]
    if GELU:
        y = gelu(y, x.dtype.element_ty == tl.float32)
    inside = (row < rows - start)[:, None] & real_channel[None, :]
    base = start.to(tl.int64) * COLUMNS
    where = row[:, None] * COLUMNS + channel[None, :]
    if residual is not None:
        y += tl.load(residual + base + where, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + base + where, y.to(out.dtype.element_ty), mask=inside)
