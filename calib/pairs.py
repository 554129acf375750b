"""Pairs for restoration: each low-resolution image with the picture it ought to become."""

from __future__ import annotations

from dataclasses import replace

from calib.errors import BadData
from calib.images import ImageSet, balanced_order

__all__ = ["is_paired", "split_pairs"]

_FOLDERS = ("hr", "lr")
_NEEDED = "two folders, lr and hr, with images of equal names, those of hr exactly"
_SHOWN = 3


def split_pairs(images: ImageSet, scale: int, *, limit: int | None = None, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Take a set that was read from the folders `lr` and `hr` (or a tar of them) apart.

    Every image is decoded once, so that a broken one and one of a wrong size are found before hours of work.

    Args:
        images: As `open_images` reads such folders: with the two names as classes.
        scale: Rows and columns of a picture by those of its input.
        limit: Keep at most so many pairs; see `open_images` for which.
        seed: Chooses which ones.

    Returns:
        The inputs and the pictures, in one order and under equal names, without labels.

    Raises:
        BadData: an image has no partner or is broken, or the sizes of a pair do not fit; the message says which.
    """
    assert is_paired(images), f"{images.source} has the classes {images.classes}"
    sides: dict[str, dict[str, int]] = {folder: {} for folder in _FOLDERS}
    for index, name in enumerate(images.names):
        folder, _, own = name.partition("/")
        sides[folder][own] = index
    alone = sorted({f"lr/{name}" for name in sides["lr"].keys() - sides["hr"].keys()})
    alone += sorted({f"hr/{name}" for name in sides["hr"].keys() - sides["lr"].keys()})
    if alone:
        raise BadData(
            f"{images.source}: {len(alone)} images have no partner, {_some(alone)} among them",
            needed=f"{_NEEDED} {scale} times as large",
            do="Give both images of a pair one name, or remove the lone ones",
        )
    names = tuple(sorted(sides["lr"]))
    chosen = [names[place] for place in balanced_order(names, None, seed)[:limit]]
    low, high = (
        replace(images.subset(sides[folder][name] for name in chosen), names=tuple(chosen), labels=None, classes=None)
        for folder in ("lr", "hr")
    )
    misfits = []
    for place, name in enumerate(chosen):
        small, large = low[place].shape[:2], high[place].shape[:2]
        if large != (scale * small[0], scale * small[1]):
            misfits.append(f"{name} ({small[0]}x{small[1]} and {large[0]}x{large[1]})")
    if misfits:
        raise BadData(
            f"{images.source}: {len(misfits)} of {len(chosen)} pairs do not fit, {_some(misfits)} among them",
            needed=f"{_NEEDED} {scale} times as large: that is the network's scale",
            do="Choose the data of this scale, or crop the pictures to a multiple of it before they are made smaller",
        )
    return low, high


def is_paired(images: ImageSet) -> bool:
    """Whether the set was read from folders named `lr` and `hr` and nothing else."""
    return images.classes == _FOLDERS and images.labels is not None


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN])
