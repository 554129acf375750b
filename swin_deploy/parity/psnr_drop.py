"""What a candidate costs in PSNR-Y against the pictures, with an interval, from paired images.

The drop is the mean over images of (reference's PSNR-Y - candidate's PSNR-Y). Pairing takes the pictures' own
difficulty out, which spreads over many dB where two precisions differ by thousandths. Its bounds are those of Student's
paired t (Biometrika 6, 1908, 1-25): mean -+ t * s / sqrt(N), each one-sided at 95 %.

Why not the bootstrap: benchmarks have 5 to 100 pictures (Set5, Set14, BSD100, Urban100), and percentile bootstrap
intervals of a mean are too narrow for so few (Hesterberg, The American Statistician 69, 2015, 371-386).

Where all differences are equal, s is 0 and the bounds are the mean itself. That is no certainty: it says that these
images show no spread, and nothing of others. `PsnrDrop.spread` keeps it, and whoever shows the bound says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from swin_deploy.parity.student_t import one_sided_95

__all__ = ["PsnrDrop", "psnr_drop"]


@dataclass(frozen=True)
class PsnrDrop:
    """PSNR-Y of a candidate and a reference against the same pictures, in dB.

    Attributes:
        images: Pairs of an input and its picture.
        reference_db: Mean PSNR-Y of the reference.
        db: Mean PSNR-Y of the candidate.
        drop: Mean of the paired differences, `reference_db - db`.
        spread: Standard deviation of the paired differences; 0 where they are all equal, or where there is one only.
        lower: One-sided 95 % lower bound of the drop; `None` for a single image, which bounds nothing.
        upper: One-sided 95 % upper bound of the drop, likewise.
    """

    images: int
    reference_db: float
    db: float
    drop: float
    spread: float
    lower: float | None
    upper: float | None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def psnr_drop(candidate: Sequence[float], reference: Sequence[float]) -> PsnrDrop:
    """Compare finite values of PSNR-Y in dB, one an image and in one order.

    Raises:
        ValueError: the lengths differ, or there are no images.
    """
    if not len(candidate) == len(reference) > 0:
        raise ValueError(f"{len(candidate)} and {len(reference)} values")
    first, second = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    differences = first - second
    count, drop = len(differences), float(differences.mean())
    spread = 0.0
    # Equal differences have a rounding error for a standard deviation, which must not pass for a spread.
    if count > 1 and differences.min() < differences.max():
        spread = float(differences.std(ddof=1))
    reach = one_sided_95(count - 1) * spread / math.sqrt(count) if count > 1 else None
    return PsnrDrop(
        images=count,
        reference_db=float(first.mean()),
        db=float(second.mean()),
        drop=drop,
        spread=spread,
        lower=None if reach is None else drop - reach,
        upper=None if reach is None else drop + reach,
    )
