"""Replay a bundle's images on an engine at each batch size, a different image in every slot, and judge the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device.batch_slots import judge_slots
from swin_deploy.device.bundle_file import Bundle
from swin_deploy.device.closeness import Closeness, Judgement, judge_closeness, outputs_distance
from swin_deploy.device.distances import Distance
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Infer = Callable[[Array], Mapping[str, Array]]

__all__ = ["Fixtures", "Replay", "read_fixtures", "replay"]

_COPY = "Copy the bundle again, or pack it again from its run"


@dataclass(frozen=True)
class Fixtures:
    """Images and what the oracle answers.

    Attributes:
        images: float32 [images, channels, H, W], preprocessed; as many as the largest batch has slots.
        oracle: float32 outputs by name, each [images, ...].
        classes: Whether the output is one row of logits.
        pictures: Whether the output is a restored image.
    """

    images: Array
    oracle: Mapping[str, Array]
    classes: bool
    pictures: bool

    def __post_init__(self) -> None:
        """Refuse what nothing can be compared with."""
        for name, values in (("images", self.images), *self.oracle.items()):
            if values.dtype != np.float32 or values.ndim < 2 or len(values) != len(self.images) or not values.size:
                raise BadInput(
                    f"the fixtures' {name} are {values.dtype} {list(values.shape)}",
                    needed=f"float32 with a row for each of {len(self.images)} images",
                    do=_COPY,
                )
            # Row by row: feature maps are large, and a mapped file need not be in memory as a whole.
            broken = [row for row, value in enumerate(values) if not np.isfinite(value).all()]
            if broken:
                raise BadInput(
                    f"the fixtures' {name} hold NaN or Inf, first in row {broken[0]}", needed="finite numbers", do=_COPY
                )
        if not self.oracle:
            raise BadInput("the fixtures hold no outputs", needed="the oracle's outputs", do=_COPY)


@dataclass(frozen=True)
class Replay:
    """What was measured and judged.

    Attributes:
        distances: To the oracle, at each batch size.
        judgements: One a check.
    """

    distances: Mapping[int, Distance]
    judgements: tuple[Judgement, ...]

    def facts(self) -> dict[str, Any]:
        """`batches` of `finish.json`."""
        return {str(batch): found.to_json() for batch, found in self.distances.items()}


def read_fixtures(folder: Path, bundle: Bundle) -> Fixtures:
    """Open the fixtures of an unpacked bundle.

    Raises:
        BadInput: they are no arrays, do not fit each other or the batches, or are not finite.
    """
    images = _array(folder / bundle.images)
    oracle = {name: _array(folder / file) for name, file in bundle.oracle.items()}
    if len(images) < bundle.batches[2]:
        seen = f"the fixtures hold {len(images)} images"
        raise BadInput(seen, needed=f"one for each slot of the largest batch, {bundle.batches[2]}", do=_COPY)
    return Fixtures(images, oracle, bundle.task == "classifier", bundle.task == "restoration")


def _array(path: Path) -> Array:
    try:
        values = np.load(str(path), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path} cannot be read as an array: {error}", needed="a .npy file", do=_COPY) from error
    if not isinstance(values, np.ndarray) or not values.ndim:
        raise BadInput(f"{path} is no single array", needed="a .npy file", do=_COPY)
    return values


def replay(infer: Infer, fixtures: Fixtures, batches: tuple[int, int, int], gate: Closeness) -> Replay:
    """Run every image at each batch size and judge.

    The last call of a batch size that does not divide the images is filled up with the first ones, since a plan whose
    smallest batch is its usual one takes no smaller.

    Args:
        infer: Images [B, channels, H, W] to outputs by name, each [B, ...].
        fixtures: Images and answers.
        batches: Smallest, usual and largest batch.
        gate: What must be reached.

    Raises:
        BadInput: the engine's outputs have other names or shapes than the oracle's.
    """
    outputs = {size: _outputs(infer, fixtures, size) for size in sorted(set(batches))}
    distances = {
        size: outputs_distance(found, fixtures.oracle, classes=fixtures.classes, pictures=fixtures.pictures)
        for size, found in outputs.items()
    }
    noise_db = gate.sqnr_db if fixtures.classes else gate.dense_db
    judgements = judge_closeness(gate, distances)
    if len(fixtures.images) > 1:
        judgements = (*judgements, judge_slots(outputs, fixtures.oracle, noise_db))
    return Replay(distances, judgements)


def _outputs(infer: Infer, fixtures: Fixtures, size: int) -> Mapping[str, Array]:
    count = len(fixtures.images)
    kept = {name: np.empty(values.shape, np.float32) for name, values in fixtures.oracle.items()}
    for start in range(0, count, size):
        places = np.arange(start, start + size) % count
        found = infer(np.ascontiguousarray(fixtures.images[places]))
        used = min(size, count - start)
        for name, rows in kept.items():
            got = found.get(name)
            if got is None or got.shape != (size, *rows.shape[1:]) or len(found) != len(kept):
                seen = {key: list(values.shape) for key, values in found.items()}
                wanted = {key: [size, *values.shape[1:]] for key, values in kept.items()}
                raise BadInput(f"the engine's outputs are {seen}", needed=f"the oracle's, {wanted}")
            rows[start : start + used] = got[:used]
    return kept
