"""What the images truly are is kept with the outputs, for the images that it belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from calib.synthetic import structured_images
from swin_deploy.checkpoint.task import Classifier, Restoration
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.truth import FILE_NAME, read_truth, write_truth

PREPROCESS = Preprocess(28, 28, "squash", "bilinear", "torch", (0.5,) * 3, (0.25,) * 3)


def images(count: int, side: int, seed: int = 0, labelled: bool = False) -> ImageSet:
    pixels = structured_images(count, side, side, seed)
    rows = tuple(ArrayRow("made", pixels, row) for row in range(count))
    labels = tuple(row % 3 for row in range(count)) if labelled else None
    return ImageSet("made", tuple(map(str, range(count))), labels, None, rows)


def labelled() -> EvaluationSet:
    return EvaluationSet(images(5, 28, labelled=True), PREPROCESS, task=Classifier(3))


def pairs() -> EvaluationSet:
    return EvaluationSet(images(3, 28), PREPROCESS, task=Restoration(2, "pixelshuffle"), pictures=images(3, 56, seed=0))


def test_labels_come_back(tmp_path: Path) -> None:
    write_truth(labelled(), tmp_path)
    found = read_truth(tmp_path, labelled().fingerprint)
    assert found is not None and found.pictures is None
    assert found.labels.tolist() == [0, 1, 2, 0, 1]


def test_pictures_come_back_as_they_were_met(tmp_path: Path) -> None:
    evaluation = pairs()
    write_truth(evaluation, tmp_path)
    write_truth(evaluation, tmp_path)  # again: nothing is decoded twice
    found = read_truth(tmp_path, evaluation.fingerprint)
    assert found is not None and found.labels is None
    assert np.array_equal(found.pictures[2], evaluation.picture(2))


def test_those_of_other_images_are_not_taken(tmp_path: Path) -> None:
    write_truth(labelled(), tmp_path)
    assert read_truth(tmp_path, "of others") is None


def test_without_truth_an_old_one_is_removed(tmp_path: Path) -> None:
    write_truth(labelled(), tmp_path)
    write_truth(EvaluationSet(images(2, 28), PREPROCESS, task=Classifier(3)), tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no archive"])
def test_a_damaged_file_is_no_truth(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert read_truth(tmp_path, labelled().fingerprint) is None


def test_a_pickled_array_is_not_unpickled(tmp_path: Path) -> None:
    fingerprint = labelled().fingerprint
    np.savez(tmp_path / FILE_NAME, fingerprint=np.array(fingerprint), labels=np.array([object()], dtype=object))
    assert read_truth(tmp_path, fingerprint) is None
