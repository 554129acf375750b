"""The data that scales are found on, and how it was chosen."""

from __future__ import annotations

from dataclasses import dataclass

from calib.images import ImageSet
from calib.preprocess import Preprocess

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """Calibration images.

    Attributes:
        images: Those used.
        preprocess: How they become network inputs.
        available: How many their source holds.
        limit: How many were asked for at most; `None` for all.
        seed: Chose them.
    """

    images: ImageSet
    preprocess: Preprocess
    available: int
    limit: int | None
    seed: int = 0
