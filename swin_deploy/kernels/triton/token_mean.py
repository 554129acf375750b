"""The mean of all normed tokens: what stands before a classifier's head. See `operators.Operators.token_mean`."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["token_mean_kernel"]


@triton.jit
def _tokens(x, first, TOKENS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Some tokens of an image, [ROWS, COLUMNS], zero where there is none."""
    row, channel = first + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    inside = (row < TOKENS)[:, None] & (channel < CHANNELS)[None, :]
    return tl.load(x + (row[:, None] * CHANNELS + channel[None, :]), mask=inside, other=0.0)


@triton.jit
def token_mean_kernel(
    x,  # [B, TOKENS, CHANNELS]
    weight,  # [CHANNELS] FP32
    bias,  # [CHANNELS] FP32
    out,  # [B, CHANNELS]
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK_CHANNELS)
    real = channel < CHANNELS
    x += image * (TOKENS * CHANNELS)
    total = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), tl.float32)
    ahead = _tokens(x, 0, TOKENS, CHANNELS, BLOCK_ROWS, BLOCK_CHANNELS)
    for first in range(0, TOKENS, BLOCK_ROWS):
        tokens = ahead.to(tl.float32)
        # Loaded while these are being summed: with one program an image nothing else hides the way to memory.
        ahead = _tokens(x, first + BLOCK_ROWS, TOKENS, CHANNELS, BLOCK_ROWS, BLOCK_CHANNELS)
        mean = tl.sum(tokens, 1) / CHANNELS
        present = (first + tl.arange(0, BLOCK_ROWS) < TOKENS)[:, None] & real[None, :]
        centred = tl.where(present, tokens - mean[:, None], 0.0)
        inverse = tl.rsqrt(tl.sum(centred * centred, 1) / CHANNELS + EPS)
        total += centred * inverse[:, None]
    average = tl.sum(total, 0) / TOKENS
    scale = tl.load(weight + channel, mask=real, other=0.0)
    shift = tl.load(bias + channel, mask=real, other=0.0)
    tl.store(out + image * CHANNELS + channel, (average * scale + shift).to(out.dtype.element_ty), mask=real)
