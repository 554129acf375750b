"""PSNR-Y of a restored image against the picture it ought to be; against the oracle see `swin_deploy.device.psnr_y`.

Everything follows SwinIR's own evaluation (JingyunLiang/SwinIR, main_test_swinir.py and
utils/util_calculate_psnr_ssim.py), so that figures can be held beside published ones: the output is clamped, rounded to
8 bits and cropped by `scale` pixels on each side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from swin_deploy.device.psnr_y import psnr_y

__all__ = ["BEST_DB", "border_of", "psnr_y_against_picture"]

# An output that meets its picture in every pixel has no finite PSNR, and a mean over images would not survive it.
BEST_DB = 100.0


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
