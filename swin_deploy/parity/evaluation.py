"""The images that artifacts are judged on, as preprocessed batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.images import ImageSet
from calib.preprocess import Preprocess, grey
from swin_deploy.checkpoint.task import Classifier, Restoration, Task, task_to_json

__all__ = ["SYNTHETIC_DENSE", "SYNTHETIC_IMAGES", "EvaluationSet", "synthetic_evaluation"]

# Without data: enough decisions to count, and of a dense task enough maps of thousands of numbers each.
SYNTHETIC_IMAGES, SYNTHETIC_DENSE = 64, 8
# Preprocessed images are kept in memory up to this size, since every artifact is shown the same ones.
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class EvaluationSet:
    """Images, what is known of each, how they become network inputs, and what the network is for.

    Attributes:
        images: The images, in the order they are shown.
        preprocess: From an image to [channels, H, W].
        synthetic: Whether the images were made up; accuracy on them means nothing.
        task: What the outputs are, and so by which measures they are judged; `None` where nothing but their numbers
            is known.
        pictures: Restoration only: what each image ought to become, `scale` times as large.
        output_bytes: Bytes of one image's outputs in FP32.
    """

    images: ImageSet
    preprocess: Preprocess
    synthetic: bool = False
    task: Task | None = None
    pictures: ImageSet | None = None
    output_bytes: int = 0
    _kept: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.pictures is None or len(self.pictures) == len(self.images), "one picture an image"
        assert self.pictures is None or isinstance(self.task, Restoration), "pictures of no restoration"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def dense(self) -> bool:
        """Whether the outputs are anything but one row of logits an image."""
        return not isinstance(self.task, Classifier)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """[images], or `None` where there are none or the network has no classes."""
        if self.images.labels is None or self.dense:
            return None
        return np.asarray(self.images.labels, dtype=np.int64)

    @property
    def remark(self) -> str:
        """What a reader ought to know of the images, or nothing."""
        if self.dense and self.images.labels is not None:
            return "their labels are ignored, since the network has no classes"
        return ""

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any image, label, picture or the preprocessing."""
        import hashlib
        import json

        text = self.images.fingerprint() + json.dumps(self.preprocess.to_json(), sort_keys=True)
        if self.pictures is not None:
            text += self.pictures.fingerprint()
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What a manifest says of the images."""
        return {
            "kind": "synthetic" if self.synthetic else "images",
            "source": self.images.source,
            "images": len(self),
            "labelled": self.labels is not None,
            "pictures": self.pictures is not None,
            "remark": self.remark,
            "task": None if self.task is None else task_to_json(self.task),
            "output_bytes": self.output_bytes,
            "fingerprint": self.fingerprint,
            "preprocess": self.preprocess.to_json(),
        }

    def part(self, indices: Iterable[int]) -> EvaluationSet:
        """The images at `indices`, in that order."""
        chosen = tuple(indices)
        pictures = None if self.pictures is None else self.pictures.subset(chosen)
        return replace(self, images=self.images.subset(chosen), pictures=pictures, _kept={})

    def first(self, count: int) -> EvaluationSet:
        """The first so many images, or all where there are fewer."""
        return self if count >= len(self) else self.part(range(count))

    def batches(self, batch: int, limit: int | None = None) -> Iterator[npt.NDArray[np.float32]]:
        """The first `limit` images (all by default) as FP32 arrays [<= batch, channels, H, W]."""
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

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """What the network ought to make of an image: uint8 [channels, scale*H, scale*W], cropped as its input was."""
        assert self.pictures is not None and isinstance(self.task, Restoration)
        scale, image = self.task.scale, self.pictures[index]
        rows, columns = image.shape[0] // scale, image.shape[1] // scale
        top, left = (scale * side for side in self.preprocess.corner(rows, columns))
        height, width = scale * self.preprocess.height, scale * self.preprocess.width
        if self.preprocess.channels == 1:
            image = grey(image)[..., :1]
        cropped = image[top : top + height, left : left + width]  # [scale*H, scale*W, channels]
        return np.ascontiguousarray(cropped.transpose(2, 0, 1))


def synthetic_evaluation(
    preprocess: Preprocess, seed: int = 0, *, count: int = 0, task: Task | None = None, output_bytes: int = 0
) -> EvaluationSet:
    """Seeded structured images, for a run without data.

    Args:
        preprocess: They are made at its size, so that nothing is resampled.
        seed: Chooses the images.
        count: How many; 0 for the task's own number.
        task: See `EvaluationSet`.
        output_bytes: See `EvaluationSet`.
    """
    from calib.image_source import ArrayRow
    from calib.synthetic import structured_images

    count = count or (SYNTHETIC_IMAGES if isinstance(task, Classifier) else SYNTHETIC_DENSE)
    pixels = structured_images(count, preprocess.height, preprocess.width, seed)
    source = f"synthetic, seed {seed}"
    names = tuple(f"{source}, row {row}" for row in range(len(pixels)))
    items = tuple(ArrayRow(source, pixels, row) for row in range(len(pixels)))
    return EvaluationSet(
        ImageSet(source, names, None, None, items), preprocess, synthetic=True, task=task, output_bytes=output_bytes
    )
