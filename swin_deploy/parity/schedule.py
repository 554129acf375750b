"""How many images an artifact is shown at each batch size, and how many of them memory bears."""

from __future__ import annotations

from swin_deploy.errors import BadData

__all__ = ["LIMIT_BYTES", "images_that_fit", "refuse_too_many", "schedule", "shown"]

Batch = tuple[int, int, int]

# Outputs of one artifact are kept until they are compared, and so are the oracle's and the parent's.
LIMIT_BYTES = 2 << 30
# At the smallest batch every image is a call of its own: enough of them to see a fault, not to measure accuracy. An
# image of a dense task has thousands of outputs, and takes as much longer.
_SMALLEST_CALLS, _SMALLEST_CALLS_DENSE = 16, 2
# A view that is slow enough to have a limit is shown fewer still of them.
_LIMITED_DENSE = 4


def shown(images: int, limit: int | None, *, dense: bool) -> int:
    """How many of `images` a view with `limit` is shown."""
    if limit is None:
        return images
    return min(images, limit, _LIMITED_DENSE) if dense else min(images, limit)


def schedule(images: int, batch: Batch, *, dense: bool) -> dict[int, int]:
    """Images at each batch size of the profile: all at the usual one, and the first few at the two others."""
    smallest, usual, largest = batch
    calls = _SMALLEST_CALLS_DENSE if dense else _SMALLEST_CALLS
    return {smallest: min(calls * smallest, images), largest: min(largest, images), usual: images}


def images_that_fit(bytes_each: int, batch: Batch, *, dense: bool) -> int:
    """How many images may be shown at most, 0 where not one.

    Counted are the outputs that are kept at each batch size, and those of one call at the largest: a set that does not
    fill it is filled up with its own images.
    """
    room = LIMIT_BYTES // max(bytes_each, 1) - batch[2]
    images = max(room, 0)
    while images and sum(schedule(images, batch, dense=dense).values()) > room:
        images -= 1
    return images


def refuse_too_many(images: int, bytes_each: int, batch: Batch, *, dense: bool, option: str) -> None:
    """Refuse images whose outputs would not fit, before anything is run.

    Args:
        images: How many are to be shown.
        bytes_each: Bytes of one image's outputs.
        batch: Smallest, usual and largest batch of the profile.
        dense: Whether the outputs are feature maps or images.
        option: The option that says how many images are shown.

    Raises:
        BadData: they would not fit; the message says how many do.
    """
    fit = images_that_fit(bytes_each, batch, dense=dense)
    if images <= fit:
        return
    size = f"{bytes_each / 2**20:.1f} MiB"
    if not fit:
        raise BadData(
            f"one image has {size} of outputs, so that a batch of {batch[2]} alone fills {LIMIT_BYTES >> 30} GiB",
            needed=f"a largest batch and one image more within {LIMIT_BYTES >> 30} GiB",
            do="Lower the largest batch with --batch, or choose a smaller --image-size",
        )
    raise BadData(
        f"{images} images of {size} of outputs each, at batches {', '.join(map(str, batch))}, are to be kept",
        needed=f"at most {LIMIT_BYTES >> 30} GiB: {fit} images",
        do=f"Give {option} {fit}, or lower the largest batch",
    )
