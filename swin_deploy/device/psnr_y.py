"""PSNR of the luma, the measure of restoration, of two outputs of one network.

The luma is that of the super-resolution literature, ITU-R BT.601 in studio range as MATLAB's rgb2ycbcr has it: for R, G
and B from 0 to 1, Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255. Then PSNR-Y = -10 log10(mean((Y - Y')^2)) dB, the
peak being 1. A network of one channel has its grey image for Y, and one of any other number counts all channels alike.

Outputs are clamped and nothing more: rounding to 8 bits would hide every error below half a grey level, and the border
is where a wrong padding shows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from swin_deploy.device.distances import EXACT_DB

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["luma", "psnr_y"]

_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0
_OFFSET = 16.0 / 255.0


def luma(image: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The luma of an image [C, H, W] on the 0..1 scale, clamped: [H, W], or [C, H, W] where C is neither 1 nor 3."""
    clamped = np.clip(image.astype(np.float64), 0.0, 1.0)
    if len(clamped) == 3:
        weighed: npt.NDArray[np.float64] = np.tensordot(_WEIGHTS, clamped, axes=1) + _OFFSET  # [H, W]
        return weighed
    return clamped[0] if len(clamped) == 1 else clamped


def psnr_y(candidate: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float:
    """PSNR-Y of images [C, H, W] on the 0..1 scale, in dB: `EXACT_DB` for equal lumas, -`EXACT_DB` for a NaN or Inf.

    Raises:
        ValueError: the shapes differ.
    """
    if candidate.shape != reference.shape or candidate.ndim != 3:
        raise ValueError(f"images of shapes {candidate.shape} and {reference.shape} cannot be compared")
    if not (np.isfinite(candidate).all() and np.isfinite(reference).all()):
        return -EXACT_DB
    error = float(np.mean((luma(candidate) - luma(reference)) ** 2))
    return -10.0 * math.log10(error) if error > 0 else EXACT_DB
