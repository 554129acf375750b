"""From a recipe and a checkpoint to the images a run works with: to judge on, and to calibrate on."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from calib.image_source import ArrayRow
from calib.images import ImageSet, open_images
from calib.pairs import is_paired, split_pairs
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.sidecar import Sidecar
from swin_deploy.checkpoint.task import Classifier, Restoration, Task
from swin_deploy.errors import BadData, BadInput, UsageFault
from swin_deploy.parity.evaluation import SYNTHETIC_DENSE, EvaluationSet, synthetic_evaluation
from swin_deploy.parity.schedule import images_that_fit, refuse_too_many
from swin_deploy.plan import Calibration
from swin_deploy.recipe import Recipe

__all__ = [
    "balanced_images",
    "calibration_set",
    "evaluation_set",
    "judged_images",
    "preprocessing",
    "refuse_foreign_labels",
    "refuse_overlap",
    "refuse_unfit",
]

_PREPROCESS_OPTIONS = ("resize", "interpolation", "resampler", "crop_pct", "mean", "std")
# What Swin's authors and timm evaluate with, for a checkpoint that says nothing and is shown made-up images only.
_FOR_SYNTHETIC_IMAGES: Mapping[str, Any] = MappingProxyType(
    {
        "resize": "squash",
        "interpolation": "bicubic",
        "resampler": "pillow",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
)


# Restoration has one way only: pixel by pixel, on the 0..1 scale. What the network subtracts is within it.
_FOR_RESTORATION: Mapping[str, Any] = MappingProxyType(
    {
        "resize": "none",
        "interpolation": "bicubic",
        "resampler": "pillow",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
)


class Understood(Protocol):
    """What a run has to know of a checkpoint before it begins: `Checkpoint` and `OwnModel` do."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def sidecar(self) -> Sidecar:
        """What stood beside it."""
        ...

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        ...

    @property
    def channels(self) -> int:
        """Of the images."""
        ...

    @property
    def task(self) -> Task:
        """What the network is for."""
        ...

    @property
    def output_bytes(self) -> int:
        """Bytes of one image's outputs in FP32."""
        ...


def preprocessing(recipe: Recipe, checkpoint: Understood, *, real_images: bool) -> Preprocess:
    """How images become inputs: from the side-car with the recipe's options on top, at the size the model runs at.

    Restoration needs neither: its inputs are the images themselves, from 0 to 1.

    Raises:
        BadInput: real images are to be shown, and neither says how they must be prepared, or the network takes other
            channels than an image has.
        BadData: an option has a value that no image can be prepared with.
        UsageFault: an option is given for restoration.
    """
    height, width = checkpoint.image_size
    if real_images and checkpoint.channels not in (1, 3):
        raise BadInput(
            f"{checkpoint.path} takes {checkpoint.channels} channels",
            needed="3 or 1, which is what an image file can be read as",
            do="Leave the data out: made-up images tell the distance to the original",
        )
    given = {key: getattr(recipe, key) for key in _PREPROCESS_OPTIONS if getattr(recipe, key) is not None}
    if isinstance(checkpoint.task, Restoration):
        if given:
            option = next(iter(given)).replace("_", "-")
            raise UsageFault(
                f"--{option} with a restoration network",
                needed="no preprocessing option: images are its inputs as they are, on the 0..1 scale",
                do=f"Leave --{option} out",
            )
        return Preprocess(height, width, **_FOR_RESTORATION, channels=checkpoint.channels)
    given["channels"] = checkpoint.channels
    stated = checkpoint.sidecar.preprocess
    if stated is not None:
        return replace(stated, height=height, width=width, **given)
    missing = [f"--{key.replace('_', '-')}" for key in _PREPROCESS_OPTIONS if key not in given and key != "crop_pct"]
    if real_images and missing:
        raise BadInput(
            checkpoint.sidecar.unprepared
            or f"neither an option nor a file beside {checkpoint.path} says how images were prepared for it",
            needed="the resize, interpolation, mean and std of its training: a wrong guess costs accuracy silently",
            do=f"Give {', '.join(missing)}, or put {checkpoint.path.stem}.json beside it, as in examples/cifar10",
        )
    return Preprocess(**{"height": height, "width": width, **_FOR_SYNTHETIC_IMAGES, **given})


def evaluation_set(recipe: Recipe, checkpoint: Understood) -> EvaluationSet:
    """The images to judge on; synthetic ones without `--eval-data`."""
    return judged_images(
        recipe.eval_data,
        recipe.eval_images,
        recipe.seed,
        preprocessing(recipe, checkpoint, real_images=recipe.eval_data is not None),
        task=checkpoint.task,
        classes=checkpoint.sidecar.classes,
        bytes_each=checkpoint.output_bytes,
        batch=recipe.batch,
        option="--eval-images",
    )


def judged_images(
    data: str | None,
    limit: int,
    seed: int,
    preprocess: Preprocess,
    *,
    task: Task | None,
    classes: tuple[str, ...] | None,
    bytes_each: int,
    batch: tuple[int, int, int],
    option: str,
) -> EvaluationSet:
    """Open `data`, or make images up, and refuse what cannot be judged on or would not fit into memory.

    Args:
        data: Images, or pairs of them for restoration; `None` for synthetic ones.
        limit: At most so many; 0 for all, or for the task's usual number of synthetic ones.
        seed: For subsets and synthetic images.
        preprocess: From an image to the network's input.
        task: What the network is for; `None` where only its outputs are known.
        classes: Their names, where they are known.
        bytes_each: Bytes of one image's outputs in FP32.
        batch: Smallest, usual and largest batch that will be run.
        option: The option that `limit` is from.

    Raises:
        BadData: the images are unusable or too many, or their labels are not the model's.
        BadInput: the class names are not the model's.
    """
    dense = not isinstance(task, Classifier)
    if data is None:
        count = limit
        if dense and not limit:  # a default that does not fit is lowered, a number that was asked for is refused
            count = max(1, min(SYNTHETIC_DENSE, images_that_fit(bytes_each, batch, dense=True)))
        if count:
            refuse_too_many(count, bytes_each, batch, dense=dense, option=option)
        return synthetic_evaluation(preprocess, seed, count=count, task=task, output_bytes=bytes_each)
    pictures = None
    if isinstance(task, Classifier):
        images = balanced_images(data, limit, seed, classes)
        refuse_foreign_labels(images, task.classes, classes)
        refuse_too_many(len(images), bytes_each, batch, dense=False, option=option)
    else:
        images = open_images(Path(data), limit=limit or sys.maxsize, seed=seed)
        if isinstance(task, Restoration) and is_paired(images):
            every = open_images(Path(data))
            pairs = len(every) // 2 if not limit else min(limit, len(every) // 2)
            refuse_too_many(pairs, bytes_each, batch, dense=True, option=option)
            images, pictures = split_pairs(every, task.scale, limit=limit or None, seed=seed)
        refuse_too_many(len(images), bytes_each, batch, dense=True, option=option)
        refuse_unfit(images, preprocess)
    return EvaluationSet(images, preprocess, task=task, pictures=pictures, output_bytes=bytes_each)


def refuse_unfit(images: ImageSet, preprocess: Preprocess) -> None:
    """Decode and prepare each image once, so that an unfit one is found and named before hours of work.

    Raises:
        BadData: an image is broken, or smaller than a network that may not be shown an enlarged one.
    """
    for name, image in zip(images.names, images, strict=True):
        try:
            preprocess(image)
        except BadData as error:
            raise BadData(f"{images.source}: {name} is {error.seen}", needed=error.needed, do=error.do) from error


def calibration_set(recipe: Recipe, checkpoint: Understood) -> Calibration | None:
    """INT8's images, `None` without `--int8`; of pairs for restoration, the inputs."""
    if not recipe.int8:
        return None
    assert recipe.calib_data is not None
    prepare = preprocessing(recipe, checkpoint, real_images=True)
    every = open_images(Path(recipe.calib_data)) if isinstance(checkpoint.task, Restoration) else None
    if isinstance(checkpoint.task, Restoration) and every is not None and is_paired(every):
        # The pictures are no inputs: calibrated on them, ranges would be those of sharper images than will come.
        images, _ = split_pairs(every, checkpoint.task.scale, limit=recipe.calib_images or None, seed=recipe.seed)
    else:
        images = balanced_images(recipe.calib_data, recipe.calib_images, recipe.seed, checkpoint.sidecar.classes)
    if prepare.resize == "none":
        refuse_unfit(images, prepare)
    return Calibration(images, prepare)


def refuse_foreign_labels(images: ImageSet, outputs: int, classes: tuple[str, ...] | None) -> None:
    """Labels that do not number the model's outputs would measure nothing.

    Args:
        images: The images to judge on.
        outputs: How many classes the model has.
        classes: Their names, where they are known.

    Raises:
        BadData: a label is beyond the outputs, or folders were numbered in sorted order and are not one an output.
        BadInput: the names are not one an output.
    """
    if classes is not None and len(classes) != outputs:
        raise BadInput(
            f"{len(classes)} class names stand beside a checkpoint of {outputs} classes",
            needed="one name an output, in the order of the outputs",
            do="Mend the names, or remove them all",
        )
    if images.labels is None:
        return
    if max(images.labels) >= outputs:
        raise BadData(
            f"{images.source} has labels up to {max(images.labels)}, the model {outputs} classes",
            needed="images labelled with the model's own classes",
        )
    if classes is None and images.classes is not None and len(images.classes) != outputs:
        raise BadData(
            f"{images.source} has {len(images.classes)} classes, the model {outputs}, whose names are not known",
            needed="all classes, since they are numbered in sorted order, or the names beside the checkpoint",
            do="Add the missing folders (they may be empty), or a list `classes` to the checkpoint's JSON",
        )


def refuse_overlap(calibration: Calibration | None, evaluation: EvaluationSet) -> None:
    """Images that were calibrated on say nothing about accuracy.

    Raises:
        BadData: an image is in both sets.
    """
    if calibration is None or evaluation.synthetic:
        return
    kinds = {isinstance(item, ArrayRow) for images in (calibration.images, evaluation.images) for item in images.items}
    # Files are compared as they are, which takes no decoding; a file and a row of an array can only be as pixels.
    hashes = ImageSet.content_hashes if len(kinds) == 1 else _pixel_hashes
    judged = set(hashes(evaluation.images))
    shared = [
        name
        for name, content in zip(calibration.images.names, hashes(calibration.images), strict=True)
        if content in judged
    ]
    if shared:
        raise BadData(
            f"{len(shared)} calibration images are also evaluation images, {shared[0]} among them",
            needed="two sets without a common image, or the accuracy measured would flatter INT8",
            do="Calibrate on training images",
        )


def _pixel_hashes(images: ImageSet) -> tuple[str, ...]:
    return tuple(hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest() for image in images)


def balanced_images(path: str, limit: int, seed: int, classes: tuple[str, ...] | None) -> ImageSet:
    """At most `limit` images (0: all), each decoded once, in an order whose every prefix is balanced over the classes.

    Half precision and the smallest batch are judged on the first images only; sorted by class, these would be of one.
    """
    return open_images(Path(path), limit=limit or sys.maxsize, seed=seed, classes=classes, verify=True)
