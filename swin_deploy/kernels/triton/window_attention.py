"""Attention within windows of a stream in any order. See `operators.Operators.window_attention`.

A program makes one tile of query rows of one head at one window position, for one image after another. Up to one tile
of keys (every window of up to 8 x 8) it loads what no image changes once, and holds it in registers: V1's constant is
what the first product's sums begin with. Triton's pipeline then fetches the next images' tokens while one is computed.
Longer windows go tile by tile with a running maximum; the next tile is fetched into registers meanwhile.
The gather costs no more bytes than a plain read: a token's 32 channels of a head are two whole sectors of 32 bytes, and
heads go fastest among programs, so that a row's neighbours are read at about the same time.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["window_attention_kernel"]


@triton.jit
def window_attention_kernel(
    qkv,  # [batch, LENGTH, 3, HEADS, HEAD_DIM]
    padding,  # [3, HEADS, HEAD_DIM] FP32
    constant,  # [nW or 1, HEADS, TOKENS, TOKENS]
    mask,  # [nW, 1, TOKENS, TOKENS], or None
    positions,  # [nW, TOKENS] int32
    logit_scale,  # [HEADS] FP32, or None
    out,  # [batch, LENGTH, HEADS, HEAD_DIM]
    batch,
    LENGTH: tl.constexpr,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TOKENS: tl.constexpr,
    WINDOWED: tl.constexpr,  # 1 where each window position has a constant of its own, else 0
    PADDED: tl.constexpr,  # whether a position may be -1
    BLOCK_ROWS: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    ROW_TILES: tl.constexpr = (TOKENS + BLOCK_ROWS - 1) // BLOCK_ROWS
    KEY_TILES: tl.constexpr = (TOKENS + BLOCK_KEYS - 1) // BLOCK_KEYS
    CHANNELS: tl.constexpr = HEADS * HEAD_DIM
    UNIT: tl.constexpr = logit_scale is not None  # V2: queries and keys of length 1
    head = tl.program_id(0) % HEADS
    row = tl.program_id(0) // HEADS % ROW_TILES * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)  # [BLOCK_ROWS]
    window = tl.program_id(0) // (HEADS * ROW_TILES)
    column = tl.arange(0, BLOCK_KEYS)
    channel = tl.arange(0, BLOCK_DIM)

    table = positions + window * TOKENS
    # Not by a function: PyTorch would take all that one is given for written, since outputs are stored at its result.
    place = tl.load(table + row, mask=row < TOKENS, other=-1).to(tl.int64)
    first = places(table, column, TOKENS)
    bias = constant + (window * WINDOWED * HEADS + head).to(tl.int64) * (TOKENS * TOKENS)
    hidden = mask
    if mask is not None:
        hidden = mask + window.to(tl.int64) * (TOKENS * TOKENS)
    factor = 1.0
    if UNIT:
        factor = tl.load(logit_scale + head)
    blank = padding + head * HEAD_DIM + channel
    blank_q = tl.load(blank, mask=channel < HEAD_DIM, other=0.0).to(qkv.dtype.element_ty)
    blank_k = tl.load(blank + CHANNELS, mask=channel < HEAD_DIM, other=0.0).to(qkv.dtype.element_ty)
    blank_v = tl.load(blank + 2 * CHANNELS, mask=channel < HEAD_DIM, other=0.0).to(qkv.dtype.element_ty)
    held = added(bias, hidden, row, column, TOKENS)

    for image in tl.range(tl.program_id(1), batch, tl.num_programs(1)):
        queries = qkv + tl.cast(image, tl.int64) * (LENGTH * 3 * CHANNELS) + head * HEAD_DIM
        keys = queries + CHANNELS
        values = keys + CHANNELS
        q = fetched(queries, place, channel, CHANNELS, HEAD_DIM)
        k = fetched(keys, first, channel, CHANNELS, HEAD_DIM)
        v = fetched(values, first, channel, CHANNELS, HEAD_DIM)
        q = completed(q, place, row, blank_q, TOKENS, PADDED, UNIT)
        if KEY_TILES == 1:
            k = completed(k, first, column, blank_k, TOKENS, PADDED, UNIT)
            v = completed(v, first, column, blank_v, TOKENS, PADDED, False)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * factor + held.to(tl.float32)
            weights = powered(scores, tl.max(scores, 1)[:, None])
            total = tl.sum(weights, 1)
            y = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        else:
            c = added(bias, hidden, row, column, TOKENS)
            here = first
            after = places(table, column + BLOCK_KEYS, TOKENS)
            top = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
            total = tl.zeros([BLOCK_ROWS], tl.float32)
            y = tl.zeros([BLOCK_ROWS, BLOCK_DIM], tl.float32)
            for start in tl.range(0, TOKENS, BLOCK_KEYS, num_stages=1):
                key = start + column
                next_k = fetched(keys, after, channel, CHANNELS, HEAD_DIM)
                next_v = fetched(values, after, channel, CHANNELS, HEAD_DIM)
                next_c = added(bias, hidden, row, key + BLOCK_KEYS, TOKENS)
                later = places(table, key + 2 * BLOCK_KEYS, TOKENS)
                k = completed(k, here, key, blank_k, TOKENS, PADDED, UNIT)
                v = completed(v, here, key, blank_v, TOKENS, PADDED, False)
                scores = tl.dot(q, tl.trans(k), input_precision="ieee") * factor + c.to(tl.float32)
                higher = tl.maximum(top, tl.max(scores, 1))
                ground = tl.where(higher == float("-inf"), 0.0, higher)  # where all so far is hidden
                weights = powered(scores, ground[:, None])
                shrink = powered(top, ground)
                total = total * shrink + tl.sum(weights, 1)
                y = tl.dot(weights.to(v.dtype), v, y * shrink[:, None], input_precision="ieee")
                top = higher
                k = next_k
                v = next_v
                c = next_c
                here = after
                after = later
        y *= (1.0 / total)[:, None]
        to = out + tl.cast(image, tl.int64) * (LENGTH * CHANNELS) + head * HEAD_DIM
        inside = (place >= 0)[:, None] & (channel < HEAD_DIM)[None, :]
        tl.store(to + place[:, None] * CHANNELS + channel[None, :], y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def places(table, token, TOKENS: tl.constexpr):
    return tl.load(table + token, mask=token < TOKENS, other=-1).to(tl.int64)


@triton.jit
def added(bias, hidden, row, key, TOKENS: tl.constexpr):
    # A row past the last one reads the last one's: its scores stay finite, and nobody stores it.
    where = tl.minimum(row, TOKENS - 1)[:, None] * TOKENS + key[None, :]
    real = (key < TOKENS)[None, :]
    tile = tl.load(bias + where, mask=real, other=float("-inf"))
    if hidden is not None:
        tile = tile.to(tl.float32) + tl.load(hidden + where, mask=real, other=0.0).to(tl.float32)
    return tile


@triton.jit
def fetched(tokens, place, channel, CHANNELS: tl.constexpr, HEAD_DIM: tl.constexpr):
    real = (place >= 0)[:, None] & (channel < HEAD_DIM)[None, :]
    return tl.load(tokens + place[:, None] * (3 * CHANNELS) + channel[None, :], mask=real, other=0.0)


@triton.jit
def completed(x, place, token, blank, TOKENS: tl.constexpr, PADDED: tl.constexpr, UNIT: tl.constexpr):
    if PADDED:
        x = tl.where(((place < 0) & (token < TOKENS))[:, None], blank[None, :], x)
    if UNIT:
        wide = x.to(tl.float32)
        x = (wide * tl.rsqrt(tl.maximum(tl.sum(wide * wide, 1), 1e-24))[:, None]).to(x.dtype)
    return x


@triton.jit
def powered(score, top):
    # exp(score - top) by the power of two that the hardware has, in one multiply-add.
    return tl.exp2(score * 1.4426950408889634 - top * 1.4426950408889634)
