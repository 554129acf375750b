"""Calibration and evaluation data must share no image: a result on images that set the scales proves little."""

from __future__ import annotations

import hashlib
import struct
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from calib.errors import BadData
from calib.images import ImageSet

__all__ = ["refuse_overlap"]

_SHOWN = 3  # names in the message
_SAME_KIND = {".jpeg": ".jpg", ".tif": ".tiff"}


def refuse_overlap(calibration: ImageSet, evaluation: ImageSet) -> None:
    """Refuse two sets that share an image.

    Images are compared by the hash of their content, which costs next to nothing. The same picture in files of two
    kinds (a JPEG and an .npz made from it, a PNG and a BMP) has two contents, so where kinds differ the decoded pixels
    are compared too; that decodes each of those images once. A picture that was resized, cropped or stored anew with
    losses is another one here.

    Args:
        calibration: The images that scales come from, as they are used: after a limit.
        evaluation: The images that accuracy is measured on, likewise.

    Raises:
        BadData: there is such an image, or one to be decoded is broken.
    """
    places = dict(zip(evaluation.content_hashes(), evaluation.names, strict=True))
    shared = {
        name: places[content]
        for name, content in zip(calibration.names, calibration.content_hashes(), strict=True)
        if content in places
    }
    shared.update(_shared_pixels(calibration, evaluation))
    if not shared:
        return
    first = [name for name in calibration.names if name in shared][:_SHOWN]
    listed = ", ".join(name if shared[name] == name else f"{name} (there {shared[name]})" for name in first)
    raise BadData(
        f"{len(shared)} of {len(calibration)} calibration images are evaluation images too: "
        f"{listed}{f' and {len(shared) - len(first)} more' if len(shared) > len(first) else ''}",
        needed="evaluation images that the scales were not chosen on",
        do="Calibrate on training images, or take those images out of one of the two sets",
    )


def _shared_pixels(calibration: ImageSet, evaluation: ImageSet) -> dict[str, str]:
    """Calibration image to evaluation image, for equal pixels in files of different kinds."""
    kinds, other_kinds = set(map(_kind, calibration.names)), set(map(_kind, evaluation.names))
    places: dict[str, str] = {}
    for index, name in enumerate(evaluation.names):
        if kinds - {_kind(name)}:
            places[_pixel_hash(evaluation[index])] = name
    if not places:
        return {}
    shared = {}
    for index, name in enumerate(calibration.names):
        if other_kinds - {_kind(name)}:
            content = _pixel_hash(calibration[index])
            if content in places:
                shared[name] = places[content]
    return shared


def _kind(name: str) -> str:
    """How the image is stored, by its suffix; a row of an array has none."""
    suffix = PurePosixPath(name).suffix.lower()
    return _SAME_KIND.get(suffix, suffix)


def _pixel_hash(pixels: npt.NDArray[np.uint8]) -> str:
    """SHA-256 of the size and the pixels, uint8 [H, W, 3]."""
    height, width = pixels.shape[:2]
    return hashlib.sha256(struct.pack("<QQ", height, width) + np.ascontiguousarray(pixels).tobytes()).hexdigest()
