"""PSNR of the luma, the measure of restoration: of an artifact against the oracle, and of either against a picture.

The luma is that of the super-resolution literature, ITU-R BT.601 in studio range as MATLAB's rgb2ycbcr has it: for R, G
and B from 0 to 1, Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255. Then PSNR-Y = -10 log10(mean((Y - Y')^2)) dB, the
peak being 1. A network of one channel has its grey image for Y, and one of any other number counts all channels alike.

Against a picture everything follows SwinIR's own evaluation (JingyunLiang/SwinIR, main_test_swinir.py and
utils/util_calculate_psnr_ssim.py), so that figures can be held beside published ones: the output is clamped, rounded to
8 bits and cropped by `scale` pixels on each side. Against the oracle it is clamped and nothing more: rounding to 8 bits
would hide every error below half a grey level, and the border is where a wrong padding shows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from swin_deploy.parity.distances import EXACT_DB

__all__ = ["BEST_DB", "border_of", "luma", "psnr_y", "psnr_y_against_picture"]

# An output that meets its picture in every pixel has no finite PSNR, and a mean over images would not survive it.
BEST_DB = 100.0
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


def border_of(scale: int) -> int:
    """Pixels on each side that are not compared with a picture: `scale` for super-resolution, none at scale 1."""
    return scale if scale > 1 else 0


def psnr_y_against_picture(output: npt.NDArray[np.float32], picture: npt.NDArray[np.uint8], border: int) -> float:
    """PSNR-Y of an output with the picture it ought to be, in dB, at most `BEST_DB`; 0 for a NaN or Inf.

    Args:
        output: [C, H, W] on the 0..1 scale.
        picture: uint8 [C, H, W].
        border: Pixels on each side that are not compared.

    Raises:
        ValueError: the shapes differ, or the border leaves nothing.
    """
    if output.shape != picture.shape or min(output.shape[1:]) <= 2 * border:
        raise ValueError(f"images of shapes {output.shape} and {picture.shape} without {border} pixels on each side")
    if not np.isfinite(output).all():
        return 0.0
    # In float32, and half to even, as SwinIR rounds.
    rounded = np.rint(np.clip(output, 0.0, 1.0).astype(np.float32) * np.float32(255)).astype(np.float64)
    inside = (slice(None), *(slice(border, side - border) for side in output.shape[1:]))
    return min(psnr_y(rounded[inside] / 255.0, picture[inside] / 255.0), BEST_DB)
