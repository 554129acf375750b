"""From a recipe and a checkpoint to the images a run works with: to judge on, and to calibrate on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from calib.images import ImageSet, open_images
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.load import Checkpoint
from swin_deploy.errors import BadData, BadInput
from swin_deploy.parity.evaluation import EvaluationSet, synthetic_evaluation
from swin_deploy.plan import Calibration
from swin_deploy.recipe import Recipe

__all__ = ["calibration_set", "evaluation_set", "preprocessing", "refuse_overlap"]

# What Swin's authors and timm evaluate with, for a checkpoint that says nothing and is shown made-up images only.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def preprocessing(checkpoint: Checkpoint, *, real_images: bool) -> Preprocess:
    """How images become inputs: from the side-car, at the size the model is to run at.

    Raises:
        BadInput: real images are to be shown, and nothing says how they must be prepared.
    """
    height, width = checkpoint.reading.spec.image_size
    stated = checkpoint.sidecar.preprocess
    if stated is not None:
        return replace(stated, height=height, width=width)
    if real_images:
        raise BadInput(
            f"nothing beside {checkpoint.path} says how images were prepared for it",
            needed="resize, interpolation, mean and std of its training: a wrong guess would cost accuracy silently",
            do=f"Put {checkpoint.path.stem}.json beside it, as in examples/cifar10, or timm's config.json",
        )
    return Preprocess(
        height=height,
        width=width,
        resize="squash",
        interpolation="bicubic",
        resampler="pillow",
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
    )


def evaluation_set(recipe: Recipe, checkpoint: Checkpoint) -> EvaluationSet:
    """The images to judge on; synthetic ones without `--eval-data`."""
    if recipe.eval_data is None:
        return synthetic_evaluation(preprocessing(checkpoint, real_images=False), recipe.seed)
    images = _images(recipe.eval_data, recipe.eval_images, recipe.seed, checkpoint)
    if images.labels is not None and max(images.labels) >= checkpoint.reading.spec.classes:
        raise BadData(
            f"{recipe.eval_data} has {max(images.labels) + 1} classes, the model {checkpoint.reading.spec.classes}",
            needed="images labelled with the model's own classes",
        )
    return EvaluationSet(images, preprocessing(checkpoint, real_images=True))


def calibration_set(recipe: Recipe, checkpoint: Checkpoint) -> Calibration | None:
    """INT8's images, `None` without `--int8`."""
    if not recipe.int8:
        return None
    assert recipe.calib_data is not None
    images = _images(recipe.calib_data, recipe.calib_images, recipe.seed, checkpoint)
    return Calibration(images, preprocessing(checkpoint, real_images=True))


def refuse_overlap(calibration: Calibration | None, evaluation: EvaluationSet) -> None:
    """Images that were calibrated on say nothing about accuracy.

    Raises:
        BadData: an image is in both sets.
    """
    if calibration is None or evaluation.synthetic:
        return
    judged = set(evaluation.images.content_hashes())
    shared = [
        name
        for name, content in zip(calibration.images.names, calibration.images.content_hashes(), strict=True)
        if content in judged
    ]
    if shared:
        raise BadData(
            f"{len(shared)} calibration images are also evaluation images, {shared[0]} among them",
            needed="two sets without a common image, or the accuracy measured would flatter INT8",
            do="Calibrate on training images",
        )


def _images(path: str, limit: int, seed: int, checkpoint: Checkpoint) -> ImageSet:
    return open_images(Path(path), limit=limit or None, seed=seed, classes=checkpoint.sidecar.classes, verify=True)
