"""Run a session over the evaluation images and compare its outputs with the oracle's and the parent's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from swin_deploy.backends.base import Session
from swin_deploy.errors import BadInput
from swin_deploy.parity.distances import Distance, distance
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.paired_drop import PairedDrop, paired_drop

__all__ = ["Measurement", "Outputs", "compare", "run_session"]

Array = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]

# At the smallest batch every image is a call of its own: enough of them to see a fault, not to measure accuracy.
_SMALLEST_IMAGES = 16


@dataclass(frozen=True)
class Outputs:
    """Logits of one artifact on the first images of the set, at each batch size of the profile.

    Attributes:
        by_batch: Batch size to logits [images, classes]; the usual batch has seen all images.
        usual: The usual batch size.
        seconds: Time spent in inference.
    """

    by_batch: Mapping[int, Array]
    usual: int
    seconds: float

    @property
    def logits(self) -> Array:
        """The outputs at the usual batch, [images, classes]."""
        return self.by_batch[self.usual]


@dataclass(frozen=True)
class Measurement:
    """What is known of one artifact on one backend.

    Attributes:
        oracle: Distance to the oracle at each batch size.
        parent: Distance to the parent's outputs at the usual batch, `None` where the parent has none.
        drop: Paired top-1 drop against the oracle, `None` without labels.
    """

    oracle: Mapping[int, Distance]
    parent: Distance | None
    drop: PairedDrop | None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "oracle": {str(batch): entry.to_json() for batch, entry in self.oracle.items()},
            "parent": None if self.parent is None else self.parent.to_json(),
            "task": None if self.drop is None else self.drop.to_json(),
        }


def run_session(
    session: Session,
    images: EvaluationSet,
    batch: tuple[int, int, int],
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Outputs:
    """Run all images (or the first `limit`) at the usual batch, and the first few at the smallest and the largest.

    Args:
        session: The opened artifact.
        images: What it is shown.
        batch: Smallest, usual and largest batch of the profile.
        limit: Stop after so many images.
        progress: Called with images done and images in all.
    """
    smallest, usual, largest = batch
    total = len(images) if limit is None else min(limit, len(images))
    wanted = {smallest: min(_SMALLEST_IMAGES * smallest, total), largest: min(largest, total), usual: total}
    everything = sum(wanted.values())
    done, by_batch = 0, {}
    started = time.perf_counter()
    for size, count in sorted(wanted.items()):
        pieces = []
        for inputs in images.batches(size, count):
            # A batch that the set does not fill is filled up with its own images: the batch itself is on trial, and
            # a profile with smallest = usual takes no other.
            filled = inputs if len(inputs) == size else np.resize(inputs, (size, *inputs.shape[1:]))  # [size, 3, H, W]
            logits = np.asarray(session.infer(filled)["logits"], dtype=np.float32)
            assert len(logits) == size, f"{size} images gave {len(logits)} outputs, so that nobody knows whose they are"
            pieces.append(logits[: len(inputs)])
            done += len(inputs)
            progress(done, everything)
        by_batch[size] = np.concatenate(pieces)
    return Outputs(by_batch, usual, time.perf_counter() - started)


def compare(outputs: Outputs, oracle: Array, parent: Array | None, labels: npt.NDArray[np.int64] | None) -> Measurement:
    """Compare with the oracle's and the parent's logits on the same images, which may be more than were run.

    Raises:
        BadInput: the oracle's own outputs are not finite, so nothing can be compared with them.
    """
    broken = ~np.isfinite(oracle).all(axis=1)
    if broken.any():
        raise BadInput(
            f"the FP32 reference gives NaN or Inf for {int(broken.sum())} of {len(oracle)} images",
            needed="a trained checkpoint whose outputs are finite on the images it is judged on",
            do="Look for NaN or huge weights in the checkpoint, and at the mean and std of the preprocessing",
        )
    distances = {size: distance(logits, oracle[: len(logits)]) for size, logits in outputs.by_batch.items()}
    count = len(outputs.logits)
    shared = None if parent is None else min(count, len(parent))
    return Measurement(
        distances,
        None if parent is None else distance(outputs.logits[:shared], parent[:shared]),
        None if labels is None else paired_drop(outputs.logits, oracle[:count], labels[:count]),
    )
