"""How far two sets of outputs are apart."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Distance", "distance"]

Array = npt.NDArray[np.float32]

# Two bit-equal outputs have no noise at all; JSON has no infinity, and FP32 cannot show more than about 150 dB.
EXACT_DB = 999.0


@dataclass(frozen=True)
class Distance:
    """A candidate's outputs against a reference's, on the same images.

    Attributes:
        images: How many images were compared.
        finite: Whether the candidate's outputs hold neither NaN nor Inf.
        sqnr_db: Signal-to-quantization-noise ratio, 10*log10(sum ref^2 / sum (ref - y)^2), in dB; `EXACT_DB` for
            bit-equal outputs, -`EXACT_DB` for non-finite ones.
        max_abs: Largest |y - ref|, in the output's unit; `None` when non-finite.
        agreement: Share of images with the same top-1 class.
    """

    images: int
    finite: bool
    sqnr_db: float
    max_abs: float | None
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def distance(candidate: Array, reference: Array) -> Distance:
    """Compare outputs [images, classes].

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if candidate.shape != reference.shape or not candidate.size:
        raise ValueError(f"outputs of shapes {candidate.shape} and {reference.shape} cannot be compared")
    agreement = float(np.mean(candidate.argmax(axis=1) == reference.argmax(axis=1)))
    if not np.isfinite(candidate).all():
        return Distance(len(candidate), False, -EXACT_DB, None, agreement)
    wanted = reference.astype(np.float64)
    error = candidate.astype(np.float64) - wanted
    noise, signal = float(np.sum(error**2)), float(np.sum(wanted**2))
    if noise == 0.0:
        ratio = EXACT_DB
    elif signal == 0.0:
        ratio = -EXACT_DB
    else:
        ratio = 10.0 * math.log10(signal / noise)
    return Distance(len(candidate), True, ratio, float(np.abs(error).max()), agreement)
