"""What a candidate costs in top-1 accuracy, with an interval, from paired decisions on the same images.

Agresti and Min's adjusted interval for a difference of paired proportions (Statistics in Medicine 24, 2005): half a
count is added to each cell of the 2x2 table before the large-sample formula. It covers well for small counts and is never
of zero width, also when not one image was decided differently.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ONE_SIDED_95", "PairedDrop", "interval", "paired_drop"]

# The 95 % quantile of the standard normal distribution.
ONE_SIDED_95 = 1.6448536269514722


@dataclass(frozen=True)
class PairedDrop:
    """Top-1 of a candidate against a reference, in percentage points.

    Attributes:
        images: Labelled images.
        reference_top1: Accuracy of the reference, percent.
        top1: Accuracy of the candidate, percent.
        lost: Images that only the reference has right (b).
        won: Images that only the candidate has right (c).
        drop: `reference_top1 - top1`, the plain estimate.
        lower: One-sided 95 % lower bound of the drop.
        upper: One-sided 95 % upper bound of the drop.
    """

    images: int
    reference_top1: float
    top1: float
    lost: int
    won: int
    drop: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def interval(lost: int, won: int, images: int, z: float = ONE_SIDED_95) -> tuple[float, float]:
    """Bounds of the drop as proportions, each one-sided at the level of `z`.

    With b = lost + 1/2, c = won + 1/2 and N = images + 2: (b - c)/N -+ z * sqrt(b + c - (b - c)^2/N)/N.
    """
    b, c, total = lost + 0.5, won + 0.5, images + 2.0
    centre = (b - c) / total
    error = math.sqrt(b + c - (b - c) ** 2 / total) / total
    return centre - z * error, centre + z * error


def paired_drop(
    candidate: npt.NDArray[np.float32], reference: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> PairedDrop:
    """Compare the top-1 decisions of outputs [images, classes] with `labels` [images]."""
    right = candidate.argmax(axis=1) == labels
    reference_right = reference.argmax(axis=1) == labels
    lost, won = int(np.sum(reference_right & ~right)), int(np.sum(right & ~reference_right))
    lower, upper = interval(lost, won, len(labels))
    return PairedDrop(
        images=len(labels),
        reference_top1=100.0 * float(reference_right.mean()),
        top1=100.0 * float(right.mean()),
        lost=lost,
        won=won,
        drop=100.0 * (lost - won) / len(labels),
        lower=100.0 * lower,
        upper=100.0 * upper,
    )
