"""The numbers that a quantized tensor may hold: INT8 or FP8 (E4M3), each as a rounding of scaled values.

A real number x becomes step * round(x / step), where the grid says how to round and how far it reaches. Everything that
works on quantized linears takes a grid, so INT8 and FP8 go one way.

INT8 is symmetric: q = clip(round_half_even(x / step), -128, 127), with a zero point of 0; a step of amax / 127 takes
amax and -amax to 127 and -127. Why -128 then? ONNX's QuantizeLinear saturates to all of int8, TensorRT's definition
clips to [-128, 127] as well, and a simulation that stopped at -127 would differ from the engine wherever a value lies
below -127.5 steps. That happens to activations whose range calibration clipped; the extra step is then nearer to the
truth. Weights that are rounded to the nearest never get there, since each output channel's step is made from its own
largest magnitude; weights that are rounded together may. (The old implicit INT8 of TensorRT confined weights to
[-127, 127].)

Sources: the ONNX operator specification (QuantizeLinear, opset 19); NVIDIA TensorRT documentation, "Quantization
Schemes".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from calib.errors import BadData

__all__ = ["E4M3", "GRIDS", "INT8", "Grid", "fake_quantize", "fp16_step", "weight_steps"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """A set of numbers around zero.

    Attributes:
        name: `int8` or `fp8`.
        largest: The magnitude that a tensor's own largest one shall become: 127, or 448.
        mantissa: Bits behind the leading one of a floating grid; `None` for evenly spaced numbers.
    """

    name: str
    largest: float
    mantissa: int | None = None

    @property
    def reach(self) -> float:
        """The magnitude beyond which a scaled value is clipped: up to half a spacing behind `largest` is rounding.

        INT8's -128 is left out of account.
        """
        if self.mantissa is None:
            return self.largest + 0.5
        return self.largest + math.ldexp(0.5, math.frexp(self.largest)[1] - 1 - self.mantissa)

    def round(self, scaled: Array) -> Array:
        """The nearest number of the grid to each of `scaled`, ties to even, saturating at both ends."""
        if self.mantissa is None:
            return np.clip(np.rint(scaled), np.float32(-128), np.float32(127))
        limited = np.clip(scaled, np.float32(-self.largest), np.float32(self.largest))
        # E4M3's least normal exponent is -6; below it the spacing stays what it is there.
        _, exponent = np.frexp(limited)  # |x| = m * 2**exponent with 0.5 <= m < 1
        spacing = np.ldexp(np.float32(1), np.maximum(exponent - 1, -6) - self.mantissa)
        rounded: Array = (np.rint(limited / spacing) * spacing).astype(np.float32)
        return rounded


INT8 = Grid("int8", 127.0)
"""Whole numbers from -128 to 127; the module says why not from -127."""
E4M3 = Grid("fp8", 448.0, mantissa=3)
"""Four exponent and three mantissa bits, no infinities, up to 448. Source: Micikevicius et al., arXiv 2209.05433."""
GRIDS: Mapping[str, Grid] = MappingProxyType({grid.name: grid for grid in (INT8, E4M3)})
"""The grids by name."""


def fake_quantize(x: Array, step: Array | np.float32 | float, grid: Grid = INT8) -> Array:
    """The real values that `x` becomes: step * round(x / step), in float32.

    Args:
        x: Real values.
        step: Above 0; broadcasts against `x`.
        grid: What to round to.
    """
    steps = np.asarray(step, np.float32)
    with np.errstate(over="ignore"):  # a tiny step may overflow the quotient to infinity, which saturates as it should
        return grid.round(np.asarray(x, np.float32) / steps) * steps


def weight_steps(weight: Array, grid: Grid = INT8) -> Array:
    """One step an output channel from its largest magnitude, as numbers that FP16 holds at full precision.

    Args:
        weight: [inputs, outputs].
        grid: What the weights will be rounded to.

    Returns:
        float32 [outputs], all above 0; 1 for a channel of zeros, which keeps it exactly zero.

    Raises:
        BadData: a weight is not finite, or a step is too large for FP16.
    """
    largest = np.abs(weight).max(axis=0, initial=0)  # [outputs]
    if not np.isfinite(largest).all():
        raise BadData(
            f"weights of channel {int(np.argmin(np.isfinite(largest)))} are not finite", needed="finite weights"
        )
    return fp16_step(np.where(largest > 0, largest / np.float32(grid.largest), np.float32(1)))


def fp16_step(step: Array | np.float32 | float) -> Array:
    """Steps rounded to FP16 before anything is quantized with them, never below its smallest normal number.

    So the typed graph, whose scales are FP16, and the FP32 one stand for the same numbers.

    Raises:
        BadData: FP16 cannot hold one of them, or it is NaN.
    """
    values = np.asarray(step, np.float32)
    if not float(values.max()) <= float(np.finfo(np.float16).max):  # NaN is not either
        raise BadData(
            f"a quantization step of {float(values.max()):.4g}",
            needed="steps that FP16 holds, up to 65504",
            do="Look for an activation or a weight that explodes",
        )
    smallest = np.float16(np.finfo(np.float16).smallest_normal)
    return np.maximum(values.astype(np.float16), smallest).astype(np.float32)
