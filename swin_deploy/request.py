"""From a recipe and a checkpoint to the images a run works with: to judge on, and to calibrate on."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from calib.image_source import ArrayRow
from calib.images import ImageSet, open_images
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.load import Checkpoint
from swin_deploy.errors import BadData, BadInput
from swin_deploy.parity.evaluation import EvaluationSet, synthetic_evaluation
from swin_deploy.plan import Calibration
from swin_deploy.recipe import Recipe

__all__ = [
    "balanced_images",
    "calibration_set",
    "evaluation_set",
    "preprocessing",
    "refuse_foreign_labels",
    "refuse_overlap",
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


def preprocessing(recipe: Recipe, checkpoint: Checkpoint, *, real_images: bool) -> Preprocess:
    """How images become inputs: from the side-car with the recipe's options on top, at the size the model runs at.

    Raises:
        BadInput: real images are to be shown, and neither says how they must be prepared.
        BadData: an option has a value that no image can be prepared with.
    """
    height, width = checkpoint.reading.spec.image_size
    given = {key: getattr(recipe, key) for key in _PREPROCESS_OPTIONS if getattr(recipe, key) is not None}
    stated = checkpoint.sidecar.preprocess
    if stated is not None:
        return replace(stated, height=height, width=width, **given)
    missing = [f"--{key.replace('_', '-')}" for key in _PREPROCESS_OPTIONS if key not in given and key != "crop_pct"]
    if real_images and missing:
        raise BadInput(
            f"neither an option nor a file beside {checkpoint.path} says how images were prepared for it",
            needed="the resize, interpolation, mean and std of its training: a wrong guess costs accuracy silently",
            do=f"Give {', '.join(missing)}, or put {checkpoint.path.stem}.json beside it, as in examples/cifar10",
        )
    return Preprocess(**{"height": height, "width": width, **_FOR_SYNTHETIC_IMAGES, **given})


def evaluation_set(recipe: Recipe, checkpoint: Checkpoint) -> EvaluationSet:
    """The images to judge on; synthetic ones without `--eval-data`."""
    if recipe.eval_data is None:
        return synthetic_evaluation(preprocessing(recipe, checkpoint, real_images=False), recipe.seed)
    images = balanced_images(recipe.eval_data, recipe.eval_images, recipe.seed, checkpoint.sidecar.classes)
    refuse_foreign_labels(images, checkpoint.reading.spec.classes, checkpoint.sidecar.classes)
    return EvaluationSet(images, preprocessing(recipe, checkpoint, real_images=True))


def calibration_set(recipe: Recipe, checkpoint: Checkpoint) -> Calibration | None:
    """INT8's images, `None` without `--int8`."""
    if not recipe.int8:
        return None
    assert recipe.calib_data is not None
    images = balanced_images(recipe.calib_data, recipe.calib_images, recipe.seed, checkpoint.sidecar.classes)
    return Calibration(images, preprocessing(recipe, checkpoint, real_images=True))


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
