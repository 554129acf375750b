"""The images that a device replays: distinct ones for every slot of the largest batch, with the oracle's answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calib.preprocess import Preprocess
from swin_deploy.checkpoint.task import Classifier, Restoration, Task, task_from_json
from swin_deploy.device.fixture_replay import Fixtures
from swin_deploy.errors import BadInput
from swin_deploy.manifest import Manifest
from swin_deploy.parity.evaluation import EvaluationSet, synthetic_evaluation
from swin_deploy.plan import ORACLE, default_view
from swin_deploy.request import judged_images
from swin_deploy.validation import artifact_of

__all__ = ["Packed", "pack_fixtures"]

Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Packed:
    """Fixtures, and where their images are from.

    Attributes:
        fixtures: Images and answers.
        source: For a reader, such as `32 images of eval.tar.xz`.
    """

    fixtures: Fixtures
    source: str


def pack_fixtures(folder: Path, manifest: Manifest, data: str | None) -> Packed:
    """Images of the run's own evaluation set, made-up ones where those do not suffice, and the oracle's outputs.

    Args:
        folder: The run.
        manifest: Its manifest.
        data: Images in place of the run's own.

    Raises:
        BadData: the images are not where they were, or unusable.
        BadInput: the oracle is not the run's own, or its outputs are not finite.
    """
    batch = tuple(int(size) for size in manifest.recipe["batch"])
    assert len(batch) == 3
    stated = manifest.evaluation["task"]
    task = None if stated is None else task_from_json(stated)
    images, source = _distinct(manifest, data, task, batch)
    oracle, _, _ = artifact_of(folder / _oracle_file(manifest))
    answers: dict[str, list[Images]] = {}
    with default_view(oracle).backend.open(oracle) as session:
        for start in range(0, len(images), batch[1]):
            for name, values in session.infer(images[start : start + batch[1]]).items():
                answers.setdefault(name, []).append(np.asarray(values, np.float32))
    outputs = {name: np.concatenate(parts) for name, parts in answers.items()}
    return Packed(Fixtures(images, outputs, isinstance(task, Classifier), isinstance(task, Restoration)), source)


def _oracle_file(manifest: Manifest) -> str:
    known = manifest.step(ORACLE)
    if known is None or not known.file:
        raise BadInput("the run has no reference", needed="a finished run of swin-deploy build", do="Build again")
    return known.file


def _distinct(
    manifest: Manifest, data: str | None, task: Task | None, batch: tuple[int, int, int]
) -> tuple[Images, str]:
    """As many different images as the largest batch has slots, preprocessed: [images, channels, H, W]."""
    wanted, seed = batch[2], int(manifest.recipe.get("seed", 0))
    preprocess = Preprocess.from_json(manifest.evaluation["preprocess"])
    found: dict[str, Images] = {}
    sources = []
    place = data or manifest.recipe.get("eval_data")
    if place is not None:
        if data is None and not Path(place).exists():
            raise BadInput(
                f"the run was judged on {place}, which is not there",
                needed="the images that the fixtures are made of",
                do="Give them with --data, or go where the run was made",
            )
        classes = manifest.checkpoint.get("classes")
        real = judged_images(
            place,
            wanted,
            seed,
            preprocess,
            task=task,
            classes=tuple(classes) if classes else None,
            bytes_each=int(manifest.evaluation["output_bytes"]),
            batch=batch,
            option="--data",
        )
        _collect(real, wanted, found)
        sources.append(f"{len(found)} images of {Path(place).name}")
    if len(found) < wanted:
        missing = wanted - len(found)
        _collect(synthetic_evaluation(preprocess, seed, count=missing, task=task), wanted, found)
        sources.append(f"{missing} SYNTHETIC images")
    assert len(found) == wanted, "made-up images are all different"
    return np.stack(list(found.values())), " and ".join(sources)


def _collect(images: EvaluationSet, wanted: int, found: dict[str, Images]) -> None:
    """Add images that are not there yet: two of one content would not show a mix-up of their slots."""
    for (image,) in images.batches(1):
        if len(found) == wanted:
            return
        found.setdefault(hashlib.sha256(image.tobytes()).hexdigest(), image)
