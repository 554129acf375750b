"""`x + norm(y)` by rows: what ends each half of a V2 block. See `operators.Operators.add_norm`."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["add_norm_kernel"]


@triton.jit
def add_norm_kernel(
    x,  # [ROWS, C], or None
    y,  # [ROWS, C]
    weight,  # [C] FP32
    bias,  # [C] FP32
    out,  # [ROWS, C]
    rows,
    CHANNELS: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)  # [BLOCK_ROWS]
    channel = tl.arange(0, BLOCK_CHANNELS)
    real = channel < CHANNELS
    inside = (row < rows)[:, None] & real[None, :]
    where = row.to(tl.int64)[:, None] * CHANNELS + channel[None, :]  # 32 bits do not hold a large batch's
    z = tl.load(y + where, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(z, 1) / CHANNELS
    centred = tl.where(real[None, :], z - mean[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred, 1) / CHANNELS + EPS)
    scale = tl.load(weight + channel, mask=real, other=0.0)
    shift = tl.load(bias + channel, mask=real, other=0.0)
    result = centred * inverse[:, None] * scale[None, :] + shift[None, :]
    if x is not None:
        result += tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + where, result.to(out.dtype.element_ty), mask=inside)
