"""A block's whole second half: its hidden features, four times as many as it reads, never leave the chip.

See `operators.Operators.mlp`. A program keeps its rows of x in registers, takes the hidden features some at a time, and
adds what each lot contributes to its rows of the result, in registers too. Channels are held as HEAD + TAIL, two powers
of 2: 96 as 64 + 32 and 192 as 128 + 64, where a single power of 2 would leave a quarter idle.
"""

from __future__ import annotations

import triton
import triton.language as tl

from swin_deploy.kernels.triton.gelu import gelu
from swin_deploy.kernels.triton.read_tile import read_tile

__all__ = ["mlp_kernel"]


@triton.jit
def mlp_kernel(
    x,  # [ROWS, C]
    first,  # [F, C]
    first_bias,  # [F] FP32
    second,  # [C, F]
    second_bias,  # [C] FP32
    norm_weight,  # [C] FP32, or None
    norm_bias,  # [C] FP32, or None
    out,  # [ROWS, C]
    rows,
    CHANNELS: tl.constexpr,
    HIDDEN: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_HIDDEN: tl.constexpr,
    HEAD: tl.constexpr,  # channels in the first part
    TAIL: tl.constexpr,  # in the second; 0 for none
):
    dtype: tl.constexpr = x.dtype.element_ty
    ragged_head: tl.constexpr = HEAD > CHANNELS
    ragged_tail: tl.constexpr = HEAD + TAIL > CHANNELS
    ragged_hidden: tl.constexpr = HIDDEN % BLOCK_HIDDEN != 0
    # A program's own start takes 64 bits, which a large batch needs; offsets from there take 32.
    start = tl.program_id(0) * BLOCK_ROWS
    x += start.to(tl.int64) * CHANNELS
    out += start.to(tl.int64) * CHANNELS
    row = tl.arange(0, BLOCK_ROWS)
    # What stands past the last row is a copy of it, and is not stored.
    source = tl.minimum(row, rows - 1 - start)[:, None] * CHANNELS  # [BLOCK_ROWS, 1]
    head = tl.arange(0, HEAD)
    real_head = head < CHANNELS
    a = read_tile(x + source + head[None, :], real_head[None, :], ragged_head)  # [BLOCK_ROWS, HEAD]
    if TAIL > 0:
        tail = HEAD + tl.arange(0, TAIL)
        real_tail = tail < CHANNELS
        b = read_tile(x + source + tail[None, :], real_tail[None, :], ragged_tail)  # [BLOCK_ROWS, TAIL]

    if norm_weight is None:
        a_wide = a.to(tl.float32)
        total = tl.sum(a_wide, 1)
        if TAIL > 0:
            b_wide = b.to(tl.float32)
            total += tl.sum(b_wide, 1)
        mean = total / CHANNELS
        a_wide = tl.where(real_head[None, :], a_wide - mean[:, None], 0.0)
        squares = tl.sum(a_wide * a_wide, 1)
        if TAIL > 0:
            b_wide = tl.where(real_tail[None, :], b_wide - mean[:, None], 0.0)
            squares += tl.sum(b_wide * b_wide, 1)
        scale = tl.rsqrt(squares / CHANNELS + EPS)
        a = (a_wide * scale[:, None]).to(dtype)
        if TAIL > 0:
            b = (b_wide * scale[:, None]).to(dtype)

    y = tl.zeros([BLOCK_ROWS, HEAD], tl.float32)
    if TAIL > 0:
        z = tl.zeros([BLOCK_ROWS, TAIL], tl.float32)
    feature = tl.arange(0, BLOCK_HIDDEN)
    into = feature[None, :] * CHANNELS  # [1, BLOCK_HIDDEN]
    out_of = feature[:, None]  # [BLOCK_HIDDEN, 1]
    for begin in range(0, HIDDEN, BLOCK_HIDDEN):
        there = feature < HIDDEN - begin
        tile = read_tile(
            first + into + head[:, None], there[None, :] & real_head[:, None], ragged_hidden or ragged_head
        )
        hidden = tl.dot(a, tile, input_precision="ieee")  # [BLOCK_ROWS, BLOCK_HIDDEN]
        if TAIL > 0:
            tile = read_tile(
                first + into + tail[:, None], there[None, :] & real_tail[:, None], ragged_hidden or ragged_tail
            )
            hidden = tl.dot(b, tile, hidden, input_precision="ieee")
        hidden += read_tile(first_bias + feature, there, ragged_hidden)[None, :]
        hidden = gelu(hidden, dtype == tl.float32)
        if ragged_hidden:
            hidden = tl.where(there[None, :], hidden, 0.0)  # 0 * NaN of a row would be NaN
        hidden = hidden.to(dtype)
        tile = read_tile(
            second + out_of + head[None, :] * HIDDEN, there[:, None] & real_head[None, :], ragged_hidden or ragged_head
        )
        y = tl.dot(hidden, tile, y, input_precision="ieee")
        if TAIL > 0:
            tile = read_tile(
                second + out_of + tail[None, :] * HIDDEN,
                there[:, None] & real_tail[None, :],
                ragged_hidden or ragged_tail,
            )
            z = tl.dot(hidden, tile, z, input_precision="ieee")
        first += BLOCK_HIDDEN * CHANNELS
        first_bias += BLOCK_HIDDEN
        second += BLOCK_HIDDEN

    y += read_tile(second_bias + head, real_head, ragged_head)[None, :]
    if TAIL > 0:
        z += read_tile(second_bias + tail, real_tail, ragged_tail)[None, :]
    if norm_weight is not None:
        total = tl.sum(y, 1)  # lanes past the last channel hold 0
        if TAIL > 0:
            total += tl.sum(z, 1)
        mean = total / CHANNELS
        y = tl.where(real_head[None, :], y - mean[:, None], 0.0)
        squares = tl.sum(y * y, 1)
        if TAIL > 0:
            z = tl.where(real_tail[None, :], z - mean[:, None], 0.0)
            squares += tl.sum(z * z, 1)
        scale = (tl.rsqrt(squares / CHANNELS + EPS))[:, None]
        y *= scale * read_tile(norm_weight + head, real_head, ragged_head)[None, :]
        y += read_tile(norm_bias + head, real_head, ragged_head)[None, :]
        if TAIL > 0:
            z *= scale * read_tile(norm_weight + tail, real_tail, ragged_tail)[None, :]
            z += read_tile(norm_bias + tail, real_tail, ragged_tail)[None, :]

    # x is read again, from L2, at addresses computed again: both would else take registers that the loop needs.
    where = row[:, None] * CHANNELS
    inside = (row < rows - start)[:, None] & real_head[None, :]
    y += tl.load(x + where + head[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(out + where + head[None, :], y.to(dtype), mask=inside)
    if TAIL > 0:
        inside = (row < rows - start)[:, None] & real_tail[None, :]
        z += tl.load(x + where + tail[None, :], mask=inside, other=0.0).to(tl.float32)
        tl.store(out + where + tail[None, :], z.to(dtype), mask=inside)
