"""What calibration keeps of one linear's input: a sample of its rows, and each channel's extremes over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calib.errors import BadData

__all__ = ["InputSample", "InputSampler"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class InputSample:
    """The input of one linear, or of several that read the same tensor.

    Attributes:
        name: The tensor.
        rows: Tokens drawn evenly from all calibration images and shuffled, so that any first part is a sample too,
            [rows, channels].
        lowest: The least value of each channel over all tokens, [channels].
        highest: The largest one, [channels].
    """

    name: str
    rows: Array
    lowest: Array
    highest: Array

    def first(self, rows: int) -> InputSample:
        """The same with fewer rows."""
        return InputSample(self.name, self.rows[:rows], self.lowest, self.highest)

    def moved(self, shift: Array, scale: Array) -> InputSample:
        """The sample of (x - shift) / scale, channel by channel; `scale` is above 0."""
        return InputSample(
            self.name, (self.rows - shift) / scale, (self.lowest - shift) / scale, (self.highest - shift) / scale
        )

    @property
    def amax(self) -> float:
        """The largest magnitude over all tokens."""
        return float(max(np.abs(self.lowest).max(), np.abs(self.highest).max()))


class InputSampler:
    """Draws the samples of several tensors from a stream of batches, in memory that does not grow with it.

    Args:
        images: How many images the stream holds; each gives the same number of rows, give or take one. Which rows does
            not depend on how the stream is cut into batches, nor on the other tensors.
        rows: Rows to keep of each tensor, by name; fewer where the images have fewer tokens.
        seed: Chooses the rows.
    """

    def __init__(self, images: int, rows: Mapping[str, int], seed: int = 0) -> None:
        self._images, self._rows, self._seed = images, dict(rows), seed
        self._kept: dict[str, Array] = {}
        self._filled = dict.fromkeys(rows, 0)
        self._seen = dict.fromkeys(rows, 0)
        self._extremes: dict[str, tuple[Array, Array]] = {}

    def update(self, batch: Mapping[str, Array], images: int) -> None:
        """Take in the tensors of a batch.

        Args:
            batch: Each tensor is [images, ..., channels], or has images and what follows them merged in one axis.
            images: How many images the batch holds.

        Raises:
            BadData: a tensor is missing, or holds a NaN or an infinity.
        """
        for name in self._rows:
            if name not in batch:
                raise BadData(f"a calibration batch has no tensor {name}", needed="the same tensors in every batch")
            values = batch[name]
            flat = values.reshape(-1, values.shape[-1])  # [tokens, channels]
            lowest, highest = flat.min(axis=0), flat.max(axis=0)  # [channels]; NaN passes through both
            if not (np.isfinite(lowest).all() and np.isfinite(highest).all()):
                raise BadData(
                    f"tensor {name} holds NaN or infinite values",
                    needed="finite activations",
                    do="Look for an overflow before this tensor, or a broken checkpoint or image",
                )
            if name in self._extremes:
                before = self._extremes[name]
                lowest, highest = np.minimum(before[0], lowest), np.maximum(before[1], highest)
            self._extremes[name] = (lowest, highest)
            self._draw(name, flat, images)

    def _draw(self, name: str, flat: Array, images: int) -> None:
        rows, channels = self._rows[name], flat.shape[1]
        if name not in self._kept:
            self._kept[name] = np.empty((rows, channels), np.float32)
        for tokens in flat.reshape(images, -1, channels):
            self._seen[name] += 1
            # Each prefix of the stream has its share of the rows, so no image weighs more than another.
            start = self._filled[name]
            due = rows * min(self._seen[name], self._images) // self._images - start
            count = min(due, len(tokens))
            if not count:
                continue
            # By the image's place in the stream, not by a generator's state, which other tensors and the cut into
            # batches would change.
            generator = np.random.default_rng([self._seed, self._seen[name]])
            chosen = np.sort(generator.choice(len(tokens), count, replace=False))
            self._kept[name][start : start + count] = tokens[chosen]
            self._filled[name] = start + count

    def samples(self) -> dict[str, InputSample]:
        """What was kept, by tensor.

        Raises:
            BadData: there was no batch, or a tensor was zero throughout.
        """
        found = {}
        for name in self._rows:
            if not self._filled[name]:
                raise BadData(f"tensor {name} has no values", needed="at least one calibration image")
            lowest, highest = self._extremes[name]
            if not (lowest.any() or highest.any()):
                raise BadData(
                    f"tensor {name} is zero in all {self._images} calibration images",
                    needed="a range above 0 for every quantized tensor",
                    do="Calibrate on images like those of the task, or leave the tensor unquantized",
                )
            order = np.random.default_rng(self._seed).permutation(self._filled[name])
            found[name] = InputSample(name, self._kept[name][order], lowest, highest)
        return found
