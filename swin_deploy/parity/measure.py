"""Run a session over the evaluation images and compare its outputs with the oracle's and the parent's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from swin_deploy.backends.base import Session
from swin_deploy.checkpoint.task import Classifier, Restoration, Task
from swin_deploy.device.closeness import outputs_distance
from swin_deploy.device.distances import Distance
from swin_deploy.errors import BadInput
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.paired_drop import PairedDrop, paired_drop
from swin_deploy.parity.psnr import border_of, psnr_y_against_picture
from swin_deploy.parity.psnr_drop import PsnrDrop, psnr_drop
from swin_deploy.parity.schedule import schedule, shown

__all__ = ["Arrays", "Measurement", "Outputs", "compare", "run_session"]

Arrays = Mapping[str, npt.NDArray[np.float32]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outputs:
    """Outputs of one artifact on the first images of the set, at each batch size of the profile.

    Attributes:
        by_batch: Batch size to outputs by name, each [images, ...]; the usual batch has seen all images.
        usual: The usual batch size.
        seconds: Time spent in inference.
    """

    by_batch: Mapping[int, Arrays]
    usual: int
    seconds: float

    @property
    def whole(self) -> Arrays:
        """The outputs at the usual batch, each [images, ...]."""
        return self.by_batch[self.usual]


@dataclass(frozen=True)
class Measurement:
    """What is known of one artifact on one backend.

    Attributes:
        oracle: Distance to the oracle at each batch size.
        parent: Distance to the parent's outputs at the usual batch, `None` where the parent has none.
        drop: What the task itself loses against the oracle: paired top-1 with labels, paired PSNR-Y with pictures;
            `None` without either.
    """

    oracle: Mapping[int, Distance]
    parent: Distance | None
    drop: PairedDrop | PsnrDrop | None

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
        limit: Stop after so many images, or fewer of a dense task.
        progress: Called with images done and images in all.
    """
    wanted = schedule(shown(len(images), limit, dense=images.dense), batch, dense=images.dense)
    everything = sum(wanted.values())
    done, by_batch = 0, {}
    started = time.perf_counter()
    for size, count in sorted(wanted.items()):
        kept: dict[str, npt.NDArray[np.float32]] = {}
        place = 0
        for inputs in images.batches(size, count):
            # A batch that the set does not fill is filled up with its own images: the batch itself is on trial, and
            # a profile with smallest = usual takes no other.
            filled = inputs if len(inputs) == size else np.resize(inputs, (size, *inputs.shape[1:]))  # [size, C, H, W]
            for name, found in session.infer(filled).items():
                assert len(found) == size, f"{size} images gave {len(found)} outputs: nobody knows whose they are"
                if name not in kept:  # in one piece, since pieces that are joined are held twice
                    kept[name] = np.empty((count, *found.shape[1:]), np.float32)
                kept[name][place : place + len(inputs)] = found[: len(inputs)]
            place += len(inputs)
            done += len(inputs)
            progress(done, everything)
        by_batch[size] = kept
    return Outputs(by_batch, batch[1], time.perf_counter() - started)


def compare(outputs: Outputs, oracle: Arrays, parent: Arrays | None, images: EvaluationSet) -> Measurement:
    """Compare with the oracle's and the parent's outputs on the same images, which may be more than were run.

    Raises:
        BadInput: the oracle's own outputs are not finite, so nothing can be compared with them.
        ValueError: the outputs have other names or shapes than the oracle's.
    """
    total = _count(oracle)
    broken = np.zeros(total, bool)
    for values in oracle.values():
        broken |= np.array([not np.isfinite(image).all() for image in values])
    if broken.any():
        raise BadInput(
            f"the FP32 reference gives NaN or Inf for {int(broken.sum())} of {total} images",
            needed="a trained checkpoint whose outputs are finite on the images it is judged on",
            do="Look for NaN or huge weights in the checkpoint, and at the mean and std of the preprocessing",
        )
    distances = {
        size: _distance(found, _first(oracle, _count(found)), images.task) for size, found in outputs.by_batch.items()
    }
    above = None
    if parent is not None:
        both = min(_count(outputs.whole), _count(parent))
        above = _distance(_first(outputs.whole, both), _first(parent, both), images.task, pictures=False)
    return Measurement(distances, above, _drop(outputs.whole, oracle, images))


def _distance(candidate: Arrays, reference: Arrays, task: Task | None, *, pictures: bool = True) -> Distance:
    restored = isinstance(task, Restoration) and pictures
    return outputs_distance(candidate, reference, classes=isinstance(task, Classifier), pictures=restored)


def _drop(whole: Arrays, oracle: Arrays, images: EvaluationSet) -> PairedDrop | PsnrDrop | None:
    count = _count(whole)
    if images.labels is not None:
        (name,) = oracle
        return paired_drop(whole[name], oracle[name][:count], images.labels[:count])
    if images.pictures is None:
        return None
    assert isinstance(images.task, Restoration)
    border, (name,) = border_of(images.task.scale), oracle
    values: list[tuple[float, float]] = []
    for index in range(count):
        picture = images.picture(index)
        one, other = (psnr_y_against_picture(found[name][index], picture, border) for found in (whole, oracle))
        values.append((one, other))
    return psnr_drop([one for one, _ in values], [other for _, other in values])


def _count(outputs: Arrays) -> int:
    return len(next(iter(outputs.values())))


def _first(outputs: Arrays, count: int) -> Arrays:
    return {name: values[:count] for name, values in outputs.items()}
