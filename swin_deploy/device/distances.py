"""How far two sets of outputs are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # JetPack 5 has NumPy 1.17, which has no numpy.typing
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["EXACT_DB", "Distance", "decisions", "distance", "worst_of"]

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
            Of several outputs the lowest.
        max_abs: Largest |y - ref|, in the output's unit; `None` where either side is not finite. Of several outputs
            the largest.
        agreement: Share of images with the same top-1 class; an image with a NaN or Inf agrees with nothing. `None`
            where the outputs are no classes.
        by_output: `sqnr_db` of each output, by its name, where there are several.
        psnr_y_db: Restoration only: PSNR-Y of the worst image, see `swin_deploy.device.psnr_y`.
        picture_share: Restoration only: share of the reference's values within 0..1. PSNR means something for pictures.
    """

    images: int
    finite: bool
    sqnr_db: float
    max_abs: float | None
    agreement: float | None
    by_output: Mapping[str, float] = field(default_factory=dict)
    psnr_y_db: float | None = None
    picture_share: float | None = None

    @property
    def worst_output(self) -> str | None:
        """Name of the output with the lowest ratio, where there are several."""
        return min(self.by_output, key=lambda name: self.by_output[name]) if self.by_output else None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest; what does not apply is left out."""
        found: dict[str, Any] = {
            "images": self.images,
            "finite": self.finite,
            "sqnr_db": self.sqnr_db,
            "max_abs": self.max_abs,
            "agreement": self.agreement,
        }
        if self.by_output:
            found["by_output"] = dict(self.by_output)
        if self.psnr_y_db is not None:
            found.update(psnr_y_db=self.psnr_y_db, picture_share=self.picture_share)
        return found


def decisions(logits: Array) -> npt.NDArray[np.int64]:
    """The top-1 class of each row of [images, classes], the first of equal ones; -1 for a row with NaN or Inf.

    `argmax` takes the first NaN for the largest value, so a broken artifact would be right now and then.
    """
    return np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), _UNDECIDED).astype(np.int64)  # [images]


def distance(candidate: Array, reference: Array, *, classes: bool = True) -> Distance:
    """Compare one output.

    Args:
        candidate: [images, classes] or [images, ...].
        reference: Of the same shape.
        classes: Whether the outputs are logits, whose decisions are compared too.

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if candidate.shape != reference.shape or not candidate.size:
        raise ValueError(f"outputs of shapes {candidate.shape} and {reference.shape} cannot be compared")
    agreement = None
    if classes:
        decided, wanted_class = decisions(candidate), decisions(reference)
        agreement = float(np.mean((decided == wanted_class) & (decided != _UNDECIDED)))
    finite = bool(np.isfinite(candidate).all())
    if not finite or not np.isfinite(reference).all():
        return Distance(len(candidate), finite, -EXACT_DB, None, agreement)
    noise, signal, largest = _powers(candidate, reference)
    if noise == 0.0:
        ratio = EXACT_DB
    elif signal == 0.0:
        ratio = -_LIMIT_DB
    else:
        # The quotient itself may overflow: a logit of 1e30 beside an error of 1e-45 is 1500 dB.
        ratio = min(max(10.0 * (math.log10(signal) - math.log10(noise)), -_LIMIT_DB), _LIMIT_DB)
    return Distance(len(candidate), True, ratio, largest, agreement)


def _powers(candidate: Array, reference: Array) -> tuple[float, float, float]:
    """The power of the error and of the reference, and the largest error."""
    if candidate.ndim > 2 and len(candidate) > 1:  # maps and images one by one, since in float64 all would be many GiB
        parts = [_powers(candidate[row : row + 1], reference[row : row + 1]) for row in range(len(candidate))]
        return sum(part[0] for part in parts), sum(part[1] for part in parts), max(part[2] for part in parts)
    wanted = reference.astype(np.float64)
    error = candidate.astype(np.float64) - wanted
    return float(np.sum(error**2)), float(np.sum(wanted**2)), float(np.abs(error).max())


def worst_of(outputs: Mapping[str, Distance]) -> Distance:
    """What is judged of several outputs on the same images: the worst of them, and the ratio of each."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    found = list(outputs.values())
    errors = [entry.max_abs for entry in found]
    known = [error for error in errors if error is not None]
    return Distance(
        images=min(entry.images for entry in found),
        finite=all(entry.finite for entry in found),
        sqnr_db=min(entry.sqnr_db for entry in found),
        max_abs=max(known) if len(known) == len(errors) else None,
        agreement=None,
        by_output={name: entry.sqnr_db for name, entry in outputs.items()},
    )
