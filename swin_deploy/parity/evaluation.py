"""The images that artifacts are judged on, as preprocessed batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.images import ImageSet
from calib.preprocess import Preprocess

__all__ = ["SYNTHETIC_IMAGES", "EvaluationSet", "synthetic_evaluation"]

SYNTHETIC_IMAGES = 64
# Preprocessed images are kept in memory up to this size, since every artifact is shown the same ones.
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class EvaluationSet:
    """Images, labels if there are any, and how images become network inputs.

    Attributes:
        images: The images, in the order they are shown.
        preprocess: From an image to [3, H, W].
        synthetic: Whether the images were made up; accuracy on them means nothing.
    """

    images: ImageSet
    preprocess: Preprocess
    synthetic: bool = False
    _kept: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """[images], or `None`."""
        return None if self.images.labels is None else np.asarray(self.images.labels, dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any image, label or the preprocessing."""
        import hashlib
        import json

        text = self.images.fingerprint() + json.dumps(self.preprocess.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What a manifest says of the images."""
        return {
            "kind": "synthetic" if self.synthetic else "images",
            "source": self.images.source,
            "images": len(self),
            "labelled": self.labels is not None,
            "fingerprint": self.fingerprint,
            "preprocess": self.preprocess.to_json(),
        }

    def batches(self, batch: int, limit: int | None = None) -> Iterator[npt.NDArray[np.float32]]:
        """The first `limit` images (all by default) as FP32 arrays [<= batch, 3, H, W]."""
        count = len(self) if limit is None else min(limit, len(self))
        for start in range(0, count, batch):
            yield np.stack([self._image(index) for index in range(start, min(start + batch, count))])

    def _image(self, index: int) -> npt.NDArray[np.float32]:
        if index in self._kept:
            return self._kept[index]
        image = self.preprocess(self.images[index])
        if image.nbytes * len(self) <= _KEPT_BYTES:
            self._kept[index] = image
        return image


def synthetic_evaluation(preprocess: Preprocess, seed: int = 0) -> EvaluationSet:
    """Seeded structured images, for a run without data."""
    from calib.image_source import ArrayRow
    from calib.synthetic import structured_images

    pixels = structured_images(SYNTHETIC_IMAGES, preprocess.height, preprocess.width, seed)
    source = f"synthetic, seed {seed}"
    names = tuple(f"{source}, row {row}" for row in range(len(pixels)))
    items = tuple(ArrayRow(source, pixels, row) for row in range(len(pixels)))
    return EvaluationSet(ImageSet(source, names, None, None, items), preprocess, synthetic=True)
