"""From a recipe and a checkpoint to the images a run works with: to judge on, and to calibrate on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from calib.calibration_record import CalibrationRecord
from calib.halves import halves
from calib.images import ImageSet, open_images
from calib.noise import refuse_noise
from calib.overlap import refuse_overlap
from calib.pairs import is_paired, split_pairs
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.sidecar import Sidecar
from swin_deploy.checkpoint.task import Classifier, Restoration, Task
from swin_deploy.errors import BadData, BadInput, UsageFault
from swin_deploy.parity.evaluation import SYNTHETIC_DENSE, EvaluationSet, synthetic_evaluation
from swin_deploy.parity.schedule import images_that_fit, refuse_too_many
from swin_deploy.plan import QuantizationData
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.calibration_file import read_record
from swin_deploy.recipe import Recipe

__all__ = [
    "balanced_images",
    "evaluation_set",
    "judged_images",
    "preprocessing",
    "quantization_data",
    "refuse_foreign_labels",
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


def quantization_data(
    recipe: Recipe, checkpoint: Understood, evaluation: EvaluationSet | None
) -> tuple[QuantizationData | None, EvaluationSet | None]:
    """INT8's and FP8's images, `None` without either; and the evaluation images that a search leaves to judge on.

    Args:
        recipe: What was asked for.
        checkpoint: What it was asked of.
        evaluation: The images to judge on; `None` where only the plan is to be shown.

    Raises:
        BadData: images are unusable, are noise, are in both sets, or have no labels to search a plan by.
        BadInput: a file that the quantization starts from is missing, or no calibration.
    """
    if not recipe.quantized:
        return None, evaluation
    _require_files(recipe)
    calibration = _calibration(recipe, checkpoint) if recipe.calib_data else None
    if calibration is not None and evaluation is not None and not evaluation.synthetic:
        refuse_overlap(calibration.images, evaluation.images)
    if recipe.calibration and evaluation is not None and not evaluation.synthetic:
        _refuse_judging_by(read_record(Path(recipe.calibration)), evaluation.images)
    selection = None
    if recipe.search and evaluation is not None:
        if evaluation.labels is None:
            raise BadData(
                f"--search on {evaluation.images.source}, which has no labels of classes",
                needed="a classifier and labelled images: a plan is chosen by what it costs in top-1",
            )
        one, other = halves(len(evaluation), recipe.seed, evaluation.images.labels)
        selection, evaluation = evaluation.part(one), evaluation.part(other)
    prepare = preprocessing(recipe, checkpoint, real_images=True)
    return QuantizationData(prepare, calibration, evaluation, selection), evaluation


def _refuse_judging_by(record: CalibrationRecord, images: ImageSet) -> None:
    """An earlier calibration's images say nothing about accuracy either; known by their hashes alone."""
    judged = set(images.content_hashes())
    shared = [name for name, content in record.images if content in judged]
    if shared:
        raise BadData(
            f"{len(shared)} evaluation images are among those that were calibrated on, first {shared[0]}",
            needed="two sets without a common image, or the accuracy measured would flatter INT8",
            do="Judge on other images",
        )


def _require_files(recipe: Recipe) -> None:
    """What can be said of the files before hours of work."""
    for option, path in (("--precision-plan", recipe.precision_plan), ("--timings", recipe.timings)):
        if path and not Path(path).is_file():
            raise BadInput(f"{option} {path} is no file", needed="an existing file")
    if recipe.calibration:
        read_record(Path(recipe.calibration))


def _calibration(recipe: Recipe, checkpoint: Understood) -> Calibration:
    """Of pairs for restoration, the inputs."""
    assert recipe.calib_data is not None
    prepare = preprocessing(recipe, checkpoint, real_images=True)
    limit, task = recipe.calib_images or None, checkpoint.task
    every = open_images(
        Path(recipe.calib_data), limit=sys.maxsize, seed=recipe.seed, classes=checkpoint.sidecar.classes
    )
    if isinstance(task, Restoration) and is_paired(every):
        # The pictures are no inputs: calibrated on them, ranges would be those of sharper images than will come.
        whole = open_images(Path(recipe.calib_data))
        images, _ = split_pairs(whole, task.scale, limit=limit, seed=recipe.seed)
        available = len(whole) // 2
    else:
        # In this order any first part is what a limit keeps.
        images, available = every if limit is None else every.subset(range(min(limit, len(every)))), len(every)
    for _ in images:
        pass  # decoded once each, so that a broken one is named before hours of work
    if prepare.resize == "none":
        refuse_unfit(images, prepare)
    refuse_noise(images)
    return Calibration(images, prepare, available, limit, recipe.seed)


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


def balanced_images(path: str, limit: int, seed: int, classes: tuple[str, ...] | None) -> ImageSet:
    """At most `limit` images (0: all), each decoded once, in an order whose every prefix is balanced over the classes.

    Half precision and the smallest batch are judged on the first images only; sorted by class, these would be of one.
    """
    return open_images(Path(path), limit=limit or sys.maxsize, seed=seed, classes=classes, verify=True)
