"""Two halves of the evaluation images: plans are selected on one and reported on the other.

A search looks at many plans and keeps the one that looks best, so its figures flatter it; only images that had no part
in the selection tell what the plan costs.
"""

from __future__ import annotations

from collections.abc import Sequence

from calib.errors import BadData
from calib.images import balanced_order

__all__ = ["halves"]


def halves(count: int, seed: int, labels: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide the images 0 to `count` - 1.

    Each class is divided evenly, give or take one image, and so is the whole. The division depends on nothing but the
    three arguments: not on the NumPy version.

    Args:
        count: How many images there are.
        seed: Chooses which ones go where.
        labels: The class of each, `None` where there are none.

    Returns:
        The indices to select on and those to report on, each ascending; the first has the odd image.

    Raises:
        BadData: there are fewer than two images, or not one label an image.
    """
    if count < 2:
        raise BadData(f"{count} evaluation images", needed="at least 2, to select a plan on one half of them")
    if labels is not None and len(labels) != count:
        raise BadData(f"{len(labels)} labels for {count} images", needed="one label an image")
    order = balanced_order([str(index) for index in range(count)], labels, seed)
    if labels is not None:
        order.sort(key=lambda index: labels[index])  # stable: shuffled within each class
    # Dealt in turns through one class after the other, so an odd class gives its surplus to the half that is behind.
    return tuple(sorted(order[0::2])), tuple(sorted(order[1::2]))
