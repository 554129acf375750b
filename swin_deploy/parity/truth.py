"""What the evaluation images truly are: their labels, or the pictures they ought to become, kept with a run's outputs.

With them two runs can be compared image by image, long after the data were put away.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from swin_deploy.atomic import disk_faults, replacing
from swin_deploy.parity.evaluation import EvaluationSet

__all__ = ["FILE_NAME", "Truth", "read_truth", "write_truth"]

FILE_NAME = "truth.npz"


@dataclass(frozen=True)
class Truth:
    """Of each image, in the order of the evaluation.

    Attributes:
        labels: Classes, [images]; `None` for a network without any.
        pictures: uint8 [images, channels, H, W]; `None` but for restoration.
    """

    labels: npt.NDArray[np.int64] | None
    pictures: npt.NDArray[np.uint8] | None


def write_truth(evaluation: EvaluationSet, folder: Path) -> None:
    """Write it into the folder of a run's outputs; nothing is left there where nothing is known.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    path = folder / FILE_NAME
    known: dict[str, Any] = {}
    if evaluation.labels is not None:
        known["labels"] = evaluation.labels
    elif evaluation.pictures is not None:
        if read_truth(folder, evaluation.fingerprint) is not None:
            return  # decoding them again takes long
        known["pictures"] = np.stack([evaluation.picture(index) for index in range(len(evaluation))])
    if not known:
        with disk_faults(path):
            path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, fingerprint=np.array(evaluation.fingerprint), **known)


def read_truth(folder: Path, fingerprint: str) -> Truth | None:
    """What was kept of the images with this fingerprint; `None` when the file is missing, of others or damaged."""
    try:
        with (folder / FILE_NAME).open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != fingerprint:
                return None
            labels = stored["labels"] if "labels" in stored.files else None
            pictures = stored["pictures"] if "pictures" in stored.files else None
            return Truth(labels, pictures)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
