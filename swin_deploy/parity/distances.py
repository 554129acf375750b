"""How far two sets of outputs are apart."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["EXACT_DB", "Array", "Distance", "decisions", "distance"]

Array = npt.NDArray[np.float32]

# Two equal outputs have no noise at all; JSON has no infinity, and FP32 cannot show more than about 150 dB.
EXACT_DB = 999.0
_LIMIT_DB = 998.0
# The decision on an image whose outputs hold NaN or Inf: no class, so it agrees with nothing, not even with itself.
_UNDECIDED = -1


@dataclass(frozen=True)
class Distance:
    """A candidate's outputs against a reference's, on the same images.

    Attributes:
        images: How many images were compared.
        finite: Whether the candidate's outputs hold neither NaN nor Inf.
        sqnr_db: Signal-to-quantization-noise ratio, 10*log10(sum ref^2 / sum (ref - y)^2), in dB; `EXACT_DB` for
            equal outputs, -`EXACT_DB` where either side is not finite. Never NaN, which would pass through a minimum.
        max_abs: Largest |y - ref|, in the output's unit; `None` where either side is not finite.
        agreement: Share of images with the same top-1 class; an image with a NaN or Inf agrees with nothing.
    """

    images: int
    finite: bool
    sqnr_db: float
    max_abs: float | None
    agreement: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def decisions(logits: Array) -> npt.NDArray[np.int64]:
    """The top-1 class of each row of [images, classes], the first of equal ones; -1 for a row with NaN or Inf.

    `argmax` takes the first NaN for the largest value, so a broken artifact would be right now and then.
    """
    return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), _UNDECIDED).astype(np.int64)  # [images]


def distance(candidate: Array, reference: Array) -> Distance:
    """Compare outputs [images, classes].

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if candidate.shape != reference.shape or not candidate.size:
        raise ValueError(f"outputs of shapes {candidate.shape} and {reference.shape} cannot be compared")
    decided, wanted_class = decisions(candidate), decisions(reference)
    agreement = float(np.mean((decided == wanted_class) & (decided != _UNDECIDED)))
    finite = bool(np.isfinite(candidate).all())
    if not finite or not np.isfinite(reference).all():
        return Distance(len(candidate), finite, -EXACT_DB, None, agreement)
    wanted = reference.astype(np.float64)
    error = candidate.astype(np.float64) - wanted
    noise, signal = float(np.sum(error**2)), float(np.sum(wanted**2))
    if noise == 0.0:
        ratio = EXACT_DB
    elif signal == 0.0:
        ratio = -_LIMIT_DB
    else:
        # The quotient itself may overflow: a logit of 1e30 beside an error of 1e-45 is 1500 dB.
        ratio = min(max(10.0 * (math.log10(signal) - math.log10(noise)), -_LIMIT_DB), _LIMIT_DB)
    return Distance(len(candidate), True, ratio, float(np.abs(error).max()), agreement)
