"""Symmetric INT8 arithmetic: scales, rounding and clipping as ONNX QuantizeLinear and TensorRT define them.

A real number x becomes q = clip(round_half_even(x / scale), -128, 127) and comes back as q * scale; the zero point is
always 0. Scales are amax / 127, so that amax and -amax become 127 and -127.

Why -128 then? QuantizeLinear saturates to all of int8, TensorRT's definition clips to [-128, 127] as well, and a
simulation that stopped at -127 would differ from the engine wherever an activation lies below -127.5 steps. That
happens only when calibration clipped the range; the extra step is then nearer to the truth. Weights never get there:
each channel's scale is made from its own largest magnitude, so |w| / scale is 127 at most and the codes are symmetric
without a clip of their own. (The old implicit INT8 of TensorRT confined weights to [-127, 127]; same numbers.)

Sources: the ONNX operator specification (QuantizeLinear, opset 19); NVIDIA TensorRT documentation, "Quantization
Schemes".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.errors import BadData

__all__ = ["dequantize", "quantize", "scale_from_amax", "weight_scales"]

# A smaller float32 scale is subnormal: kernels that flush those to zero would divide by it.
_SMALLEST = float(np.finfo(np.float32).tiny)


def scale_from_amax(amax: float) -> np.float32:
    """The step of a tensor whose magnitude `amax` shall become 127.

    Raises:
        BadData: `amax` is not finite, not above 0, or so small that its scale is no normal float32.
    """
    if not math.isfinite(amax) or amax <= 0 or amax / 127 < _SMALLEST:
        least = f"{127 * _SMALLEST:.3g}"
        raise BadData(f"a range of {amax} gives no INT8 scale", needed=f"a finite number, at least {least}")
    scale: np.float32 = np.float32(amax / 127)
    return scale


def weight_scales(
    w: npt.NDArray[np.floating[Any]], axis: int, *, smallest: float = _SMALLEST
) -> npt.NDArray[np.float32]:
    """One scale a channel from its largest |w|.

    A channel of zeros gets the scale 1, which keeps it exactly zero and fits any type that a scale may have.

    Args:
        w: Weights; `axis` counts the channels, e.g. 0 for a linear layer's [out, in].
        axis: The channels' axis; may be negative.
        smallest: Lower bound for the other scales. Pass the smallest normal number of the type that the scales will
            be stored in: in FP16 (6.1e-5) a scale below it loses digits and below 6e-8 becomes 0.

    Returns:
        float32 [channels], all above 0.

    Raises:
        BadData: a weight is NaN or infinite.
    """
    channels_last = np.moveaxis(w, axis, -1)
    largest = np.abs(channels_last.reshape(-1, channels_last.shape[-1])).max(axis=0, initial=0)  # [channels]
    if not np.isfinite(largest).all():
        raise BadData(
            f"weights of channel {int(np.argmin(np.isfinite(largest)))} are not finite", needed="finite weights"
        )
    scales = np.maximum(largest.astype(np.float64) / 127, smallest)
    return np.where(largest > 0, scales, 1.0).astype(np.float32)


def quantize(
    x: npt.NDArray[np.floating[Any]], scale: npt.NDArray[np.float32] | np.float32 | float, axis: int | None = None
) -> npt.NDArray[np.int8]:
    """Codes of `x`: divided by `scale` in float32, rounded half to even, clipped to [-128, 127].

    Args:
        x: Real values of any shape.
        scale: A scalar, or one a channel [x.shape[axis]].
        axis: The channels' axis for a scale a channel; `None` for a scalar.

    Returns:
        int8, the shape of `x`.

    Raises:
        BadData: a NaN in `x`, a scale that is not finite and above 0, or shapes that do not fit.
    """
    values = np.asarray(x, np.float32)
    steps = _broadcast(scale, values.shape, axis)
    # A tiny scale may overflow the quotient to infinity, which the clip then handles as it should.
    with np.errstate(over="ignore"):
        codes: npt.NDArray[np.float32] = np.clip(np.rint(values / steps), np.float32(-128), np.float32(127))
    if np.isnan(codes).any():
        raise BadData("a NaN cannot be quantized", needed="numbers")
    return codes.astype(np.int8)


def dequantize(
    q: npt.NDArray[np.int8], scale: npt.NDArray[np.float32] | np.float32 | float, axis: int | None = None
) -> npt.NDArray[np.float32]:
    """The real values that codes stand for: q * scale in float32.

    Args:
        q: int8 of any shape.
        scale: As for `quantize`.
        axis: As for `quantize`.

    Returns:
        float32, the shape of `q`.

    Raises:
        BadData: `q` is not int8, or the scale is unfit.
    """
    if q.dtype != np.int8:
        raise BadData(f"codes of {q.dtype}", needed="int8")
    return q.astype(np.float32) * _broadcast(scale, q.shape, axis)


def _broadcast(
    scale: npt.NDArray[np.float32] | np.float32 | float, shape: tuple[int, ...], axis: int | None
) -> npt.NDArray[np.float32]:
    """The scale in a shape that broadcasts against `shape`."""
    steps = np.asarray(scale, np.float32)
    if not (np.isfinite(steps) & (steps > 0)).all():
        raise BadData("an INT8 scale that is not above 0 or not finite", needed="finite scales above 0")
    if axis is None:
        if steps.size != 1:
            raise BadData(f"a scale of shape {list(steps.shape)} without an axis", needed="a scalar, or the axis")
        return steps.reshape(())  # []
    if not -len(shape) <= axis < len(shape) or steps.shape != (shape[axis],):
        raise BadData(f"a scale of shape {list(steps.shape)} on axis {axis} of {list(shape)}", needed="one a channel")
    around = [1] * len(shape)
    around[axis] = shape[axis]
    return steps.reshape(around)  # [1, ..., channels, ..., 1]
