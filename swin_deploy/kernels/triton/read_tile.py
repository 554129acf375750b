"""A load that has a mask only where the sizes ask for one."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["read_tile"]


@triton.jit
def read_tile(pointers, real, RAGGED: tl.constexpr):
    """What stands at `pointers`; in a RAGGED tile 0 where it is not `real`, so that NaN in memory is never met."""
    if RAGGED:
        return tl.load(pointers, mask=real, other=0.0)
    return tl.load(pointers)
