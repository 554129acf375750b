"""What Triton's interpreter gets wrong, mended while one launch runs.

Seen in Triton 3.8: `tl.dot` multiplies the bits of BF16 operands as integers; FP32 is cut off, not rounded, to BF16;
and the rounding to FP8 drops the carry into the exponent (124.7 becomes 64). A GPU does none of that, nor does it warn
of values that are not finite, as NumPy does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["mended"]

_MENDED = ("create_dot", "cast_impl", "create_fp_to_fp")


@contextmanager
def mended() -> Iterator[None]:
    """Multiplication and casts as a GPU has them, for the interpreter of this process."""
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle, interpreter_builder

    dot, cast, cast_small = (getattr(interpreter_builder, name) for name in _MENDED)

    def exact_dot(a: Any, b: Any, *others: Any) -> Any:
        if a.dtype.scalar == tl.bfloat16:  # exact in FP32
            a, b = (TensorHandle(_from_bfloat16(operand.data), tl.float32) for operand in (a, b))
        return dot(a, b, *others)

    def rounding_cast(source: Any, target: Any) -> Any:
        if source.dtype.scalar == tl.float32 and target.scalar == tl.bfloat16:
            return TensorHandle(_rounded(source.data, "bfloat16", "uint16"), tl.bfloat16)
        return cast(source, target)

    def rounding_cast_small(source: Any, target: Any, rounding: Any) -> Any:
        if source.dtype.scalar == tl.float32 and target.scalar == tl.float8e4nv:
            return TensorHandle(_rounded(source.data, "float8_e4m3fn", "uint8"), tl.float8e4nv)
        return cast_small(source, target, rounding)

    for name, replacement in zip(_MENDED, (exact_dot, rounding_cast, rounding_cast_small), strict=True):
        setattr(interpreter_builder, name, replacement)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            yield
    finally:
        for name, original in zip(_MENDED, (dot, cast, cast_small), strict=True):
            setattr(interpreter_builder, name, original)


def _from_bfloat16(bits: Any) -> Any:
    """The FP32 values of BF16 `bits`."""
    import numpy as np

    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _rounded(values: Any, dtype: str, bits: str) -> Any:
    """FP32 `values` rounded half to even as PyTorch does, as an array of bits."""
    import numpy as np
    import torch

    rounded = torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, dtype))
    return rounded.view(getattr(torch, bits)).numpy().reshape(values.shape)
