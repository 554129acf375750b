"""Images that show nothing (noise, or one and the same thing) are no calibration data: the ranges would be made up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calib.errors import BadData
from calib.images import ImageSet

__all__ = ["neighbour_correlation", "refuse_noise"]

# Per image: of 3,000 from CIFAR-10 the least has 0.54 and the median is 0.89; of structured synthetic ones of 16x16 the
# least has 0.35. White noise of 16x16 reaches 0.15, raw or through a JPEG; only at 8x8 do the two meet, and there the
# majority still tells.
_NOISE_BELOW = 0.2
_SAMPLED = 64  # images looked at, evenly spaced in the set
_SIDE = 256  # pixels of a larger image that are looked at, from its middle
_DO = "Calibrate on images like those of the task, such as some hundred of the training images"


def refuse_noise(images: ImageSet) -> None:
    """Refuse a set of which most images are random noise, or that shows one thing only.

    Networks answer noise with activations far from those on pictures, so its ranges fit nothing. An image counts as
    noise if its neighbouring pixels are hardly correlated. Up to 64 images are decoded for that, and more only where
    all of those have one colour.

    Noise that was blurred or enlarged has correlated neighbours and is not noticed.

    Args:
        images: The calibration data.

    Raises:
        BadData: more than half of the images looked at are noise, every image has a single colour, or all images (of
            two or more) are the same; or one to be decoded is broken.
    """
    count = min(_SAMPLED, len(images))
    found = [neighbour_correlation(images[index * len(images) // count]) for index in range(count)]
    noise = sum(value is not None and value < _NOISE_BELOW for value in found)
    if 2 * noise > count:
        known = [value for value in found if value is not None]
        raise BadData(
            f"{images.source}: {noise} of {count} calibration images looked at are random noise "
            f"(neighbouring pixels correlate with {np.median(known):.2f}; in photographs with 0.7 to 1)",
            needed="pictures",
            do=_DO,
        )
    if all(value is None for value in found) and all(_single_colour(image) for image in images):
        raise BadData(
            f"{images.source}: each of the {len(images)} calibration images has a single colour",
            needed="pictures",
            do=_DO,
        )
    if len(images) > 1 and len(set(images.content_hashes())) == 1:
        raise BadData(
            f"{images.source}: all {len(images)} calibration images are the same", needed="different pictures", do=_DO
        )


def neighbour_correlation(image: npt.NDArray[np.uint8]) -> float | None:
    """How neighbouring pixels of the grey image correlate, the mean of horizontal and vertical pairs.

    Args:
        image: uint8 [H, W, 3]; of a large one the middle counts.

    Returns:
        -1 to 1: about 0 for white noise, above 0.7 for most photographs. `None` for a single grey level, or an image of
        one pixel.
    """
    top, left = max(0, image.shape[0] - _SIDE) // 2, max(0, image.shape[1] - _SIDE) // 2
    grey = image[top : top + _SIDE, left : left + _SIDE].mean(axis=2, dtype=np.float64)  # [H, W]
    found = [_correlation(grey[:, 1:], grey[:, :-1]), _correlation(grey[1:], grey[:-1])]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float | None:
    """Pearson's coefficient; `None` where one of the two does not vary."""
    if not one.size:
        return None
    one, other = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((one * one).sum() * (other * other).sum()))
    # Means of equal numbers may be off by rounding: less than a thousandth of a grey level is no variation.
    return float((one * other).sum()) / spread if spread > 1e-6 * one.size else None


def _single_colour(image: npt.NDArray[np.uint8]) -> bool:
    return bool((image == image[:1, :1]).all())
