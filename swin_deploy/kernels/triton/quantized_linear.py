"""A product of INT8 or FP8 grid values and all that stands behind it. See `operators.Operators.quantized_linear`."""

from __future__ import annotations

import triton
import triton.language as tl

from swin_deploy.kernels.triton.gelu import gelu

__all__ = ["quantized_linear_kernel"]


@triton.jit
def quantized_linear_kernel(
    x,  # [ROWS, INPUTS]
    steps,  # [ROWS] FP32, or None
    weight,  # [OUTPUTS, INPUTS]
    weight_steps,  # [OUTPUTS] FP32
    bias,  # [OUTPUTS] FP32, or None
    residual,  # [ROWS, OUTPUTS], or None
    out,  # [ROWS, OUTPUTS]; FP8 with OUT_STEP
    rows,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    GELU: tl.constexpr,
    OUT_STEP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUTPUTS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
):
    # Eight tiles of rows go through all columns together, so that x and the weight are read again from the L2 cache.
    GROUP: tl.constexpr = 8
    tiles = tl.cdiv(rows, BLOCK_ROWS)
    COLUMNS: tl.constexpr = (OUTPUTS + BLOCK_OUTPUTS - 1) // BLOCK_OUTPUTS
    group = tl.program_id(0) // (GROUP * COLUMNS)
    within = tl.program_id(0) % (GROUP * COLUMNS)
    height = min(tiles - group * GROUP, GROUP)
    row = (group * GROUP + within % height) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = within // height * BLOCK_OUTPUTS + tl.arange(0, BLOCK_OUTPUTS)
    present, real = row < rows, column < OUTPUTS
    inner = tl.arange(0, BLOCK_INPUTS)
    left = x + (row.to(tl.int64)[:, None] * INPUTS + inner[None, :])  # [BLOCK_ROWS, BLOCK_INPUTS]
    right = weight + (column[None, :] * INPUTS + inner[:, None])  # [BLOCK_INPUTS, BLOCK_OUTPUTS]
    whole: tl.constexpr = x.dtype.element_ty == tl.int8
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUTPUTS), tl.int32 if whole else tl.float32)
    for first in range(0, INPUTS, BLOCK_INPUTS):
        wanted, stored = present[:, None], real[None, :]
        if INPUTS % BLOCK_INPUTS != 0:
            known = first + inner < INPUTS
            wanted, stored = wanted & known[None, :], stored & known[:, None]
        a = tl.load(left + first, mask=wanted, other=0.0)
        b = tl.load(right + first, mask=stored, other=0.0)
        total = tl.dot(a, b, total, out_dtype=total.dtype)
    y = total.to(tl.float32)
    if steps is not None:
        y *= tl.load(steps + row, mask=present, other=0.0)[:, None]
    y *= tl.load(weight_steps + column, mask=real, other=0.0)[None, :]
    if bias is not None:
        y += tl.load(bias + column, mask=real, other=0.0)[None, :]
    if GELU:
        y = gelu(y, out.dtype.element_ty == tl.float32)
    where = row.to(tl.int64)[:, None] * OUTPUTS + column[None, :]
    inside = present[:, None] & real[None, :]
    if residual is not None:
        y += tl.load(residual + where, mask=inside, other=0.0).to(tl.float32)
    if OUT_STEP != 0.0:
        y *= 1.0 / OUT_STEP
        y = tl.where(y > 448.0, 448.0, tl.where(y < -448.0, -448.0, y))  # which leaves NaN as it is
    tl.store(out + where, y.to(out.dtype.element_ty), mask=inside)
