"""Patches to tokens, the convolution as a product, and the norm behind. See `operators.Operators.patch_embed`.

Neighbouring tokens of the stream are neighbouring patches (2 x 2 of 2 x 2 ...), so that a program reads whole sectors
of the image although it reads it through a table.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["patch_embed_kernel"]


@triton.jit
def patch_embed_kernel(
    images,  # [B, COLOURS, HEIGHT, WIDTH]
    weight,  # [CHANNELS, COLOURS * PATCH_ROWS * PATCH_COLUMNS]
    bias,  # [CHANNELS] FP32
    order,  # [TOKENS] int32
    norm_weight,  # [CHANNELS] FP32, or None
    norm_bias,  # [CHANNELS] FP32, or None
    out,  # [B, TOKENS, CHANNELS]
    TOKENS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COLOURS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    PATCH_ROWS: tl.constexpr,
    PATCH_COLUMNS: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
):
    PATCH: tl.constexpr = PATCH_ROWS * PATCH_COLUMNS
    PIXELS: tl.constexpr = COLOURS * PATCH
    MAP_COLUMNS: tl.constexpr = WIDTH // PATCH_COLUMNS
    PROGRAMS: tl.constexpr = (TOKENS + BLOCK_ROWS - 1) // BLOCK_ROWS
    image = (tl.program_id(0) // PROGRAMS).to(tl.int64)
    token = tl.program_id(0) % PROGRAMS * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)  # [BLOCK_ROWS]
    channel = tl.arange(0, BLOCK_CHANNELS)
    real, present = channel < CHANNELS, token < TOKENS
    patch = tl.load(order + token, mask=present, other=0)
    corner = patch // MAP_COLUMNS * (PATCH_ROWS * WIDTH) + patch % MAP_COLUMNS * PATCH_COLUMNS  # within a colour
    start = images + image * (COLOURS * HEIGHT * WIDTH)
    total = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), tl.float32)
    for first in range(0, PIXELS, BLOCK_PIXELS):
        pixel = first + tl.arange(0, BLOCK_PIXELS)
        known = pixel < PIXELS
        inside = pixel // PATCH * (HEIGHT * WIDTH) + pixel % PATCH // PATCH_COLUMNS * WIDTH + pixel % PATCH_COLUMNS
        x = tl.load(start + (corner[:, None] + inside[None, :]), mask=present[:, None] & known[None, :], other=0.0)
        w = tl.load(
            weight + channel[None, :] * PIXELS + pixel[:, None], mask=known[:, None] & real[None, :], other=0.0
        )  # [BLOCK_PIXELS, BLOCK_CHANNELS]
        total = tl.dot(x.to(w.dtype), w, total, input_precision="ieee")
    total += tl.load(bias + channel, mask=real, other=0.0)[None, :]
    if norm_weight is not None:
        # Infinite pixels make NaN of the padded channels too, which the mean must not meet.
        mean = tl.sum(tl.where(real[None, :], total, 0.0), 1) / CHANNELS
        centred = tl.where(real[None, :], total - mean[:, None], 0.0)
        inverse = tl.rsqrt(tl.sum(centred * centred, 1) / CHANNELS + EPS)
        scale = tl.load(norm_weight + channel, mask=real, other=0.0)
        shift = tl.load(norm_bias + channel, mask=real, other=0.0)
        total = centred * inverse[:, None] * scale[None, :] + shift[None, :]
    where = (image * TOKENS + token)[:, None] * CHANNELS + channel[None, :]
    tl.store(out + where, total.to(out.dtype.element_ty), mask=present[:, None] & real[None, :])
