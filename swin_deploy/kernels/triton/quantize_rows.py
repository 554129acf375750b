"""Rows to grid values with a step a row, behind a norm. See `operators.Operators.quantize_rows`."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["quantize_rows_kernel"]


@triton.jit
def quantize_rows_kernel(
    x,  # [ROWS, INPUTS]
    norm_weight,  # [INPUTS] FP32, or None
    norm_bias,  # [INPUTS] FP32, or None
    values,  # [ROWS, INPUTS] int8 or FP8
    steps,  # [ROWS] FP32
    rows,
    INPUTS: tl.constexpr,
    EPS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
):
    TOP: tl.constexpr = 127.0 if values.dtype.element_ty == tl.int8 else 448.0
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)  # [BLOCK_ROWS]
    column = tl.arange(0, BLOCK_INPUTS)
    real, present = column < INPUTS, row < rows
    inside = present[:, None] & real[None, :]
    where = row.to(tl.int64)[:, None] * INPUTS + column[None, :]  # 32 bits do not hold a large batch's
    z = tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
    if norm_weight is not None:
        mean = tl.sum(z, 1) / INPUTS
        centred = tl.where(real[None, :], z - mean[:, None], 0.0)
        inverse = tl.rsqrt(tl.sum(centred * centred, 1) / INPUTS + EPS)
        scale = tl.load(norm_weight + column, mask=real, other=0.0)
        shift = tl.load(norm_bias + column, mask=real, other=0.0)
        z = centred * inverse[:, None] * scale[None, :] + shift[None, :]
    # A maximum passes over NaN, so that it becomes infinite first.
    size = tl.abs(z)
    largest = tl.max(tl.where(size < float("inf"), size, float("inf")), 1)
    finite, quiet = largest < float("inf"), largest < 1e-35
    # One division a row, not one a value.
    factor = tl.div_rn(tl.full((BLOCK_ROWS,), TOP, tl.float32), tl.where(quiet, 1.0, largest))
    y = tl.where((finite & (largest >= 1e-35))[:, None], z * factor[:, None], 0.0)
    if values.dtype.element_ty == tl.int8:
        # FP32 holds no fraction beside 1.5 * 2^23: the sum rounds half to even, in two instructions.
        y = (y + 12582912.0) - 12582912.0
    tl.store(values + where, y.to(values.dtype.element_ty), mask=inside)
    step = tl.where(quiet, 1.0, tl.where(finite, largest / TOP, float("nan")))
    tl.store(steps + row, step, mask=present)
