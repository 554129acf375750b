"""The evaluation set: order, batches, labels, and when its fingerprint changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration, Task, task_from_json
from swin_deploy.parity.evaluation import SYNTHETIC_DENSE, SYNTHETIC_IMAGES, EvaluationSet, synthetic_evaluation

CLASSIFIER = Classifier(5)
PREPROCESS = Preprocess(6, 4, "squash", "bilinear", "torch", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Counted:
    """An image that counts how often it is decoded."""

    where = "memory"

    def __init__(self, value: int) -> None:
        self.value, self.decoded = value, 0

    def content(self) -> bytes:
        return bytes([self.value])

    def pixels(self) -> np.ndarray:
        self.decoded += 1
        return np.full((6, 4, 3), self.value, np.uint8)


def evaluation(count: int, labels: tuple[int, ...] | None = None) -> EvaluationSet:
    items = tuple(Counted(value) for value in range(count))
    found = ImageSet("memory", tuple(map(str, range(count))), labels, None, items)
    return EvaluationSet(found, PREPROCESS, task=CLASSIFIER)


def shown(batches: object) -> list[list[int]]:
    """The grey levels of each batch, back from the normalised input."""
    return [[round((float(image[0, 0, 0]) * 0.25 + 0.5) * 255) for image in batch] for batch in batches]  # type: ignore[attr-defined]


def test_images_come_in_order_and_the_last_batch_is_what_is_left() -> None:
    assert shown(evaluation(5).batches(2)) == [[0, 1], [2, 3], [4]]


def test_a_batch_is_fp32_with_channels_first() -> None:
    (batch,) = evaluation(2).batches(8)
    assert (batch.shape, batch.dtype) == ((2, 3, 6, 4), np.dtype(np.float32))


@pytest.mark.parametrize(("limit", "wanted"), [(3, [[0, 1], [2]]), (2, [[0, 1]]), (1, [[0]]), (99, [[0, 1], [2, 3]])])
def test_a_limit_keeps_the_first_images(limit: int, wanted: list[list[int]]) -> None:
    assert shown(evaluation(4).batches(2, limit)) == wanted


def test_an_image_is_decoded_once_however_often_it_is_shown() -> None:
    images = evaluation(3)
    for batch in (1, 2, 3):
        list(images.batches(batch))
    assert [item.decoded for item in images.images.items] == [1, 1, 1]  # type: ignore[attr-defined]


def test_a_set_too_large_for_memory_is_decoded_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_deploy.parity.evaluation._KEPT_BYTES", 3 * 6 * 4 * 3 * 4 - 1)
    images = evaluation(3)
    assert shown(images.batches(2)) == shown(images.batches(2))
    assert [item.decoded for item in images.images.items] == [2, 2, 2]  # type: ignore[attr-defined]


def test_labels_are_an_array_or_absent() -> None:
    assert evaluation(2).labels is None
    labels = evaluation(2, (4, 0)).labels
    assert labels is not None
    assert (labels.tolist(), labels.dtype) == ([4, 0], np.dtype(np.int64))


def test_the_fingerprint_changes_with_images_labels_and_preprocessing_and_with_nothing_else() -> None:
    base = evaluation(3, (0, 1, 2))
    others = [
        evaluation(2, (0, 1)),
        evaluation(3, (0, 2, 1)),
        evaluation(3),
        EvaluationSet(base.images, replace(PREPROCESS, interpolation="bicubic")),
        EvaluationSet(base.images, replace(PREPROCESS, mean=(0.5, 0.5, 0.4))),
        EvaluationSet(base.images.subset([1, 0, 2]), PREPROCESS),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    assert evaluation(3, (0, 1, 2)).fingerprint == base.fingerprint


def test_synthetic_images_are_64_unlabelled_seeded_and_said_to_be_synthetic() -> None:
    first, again, other = (
        synthetic_evaluation(PREPROCESS, task=CLASSIFIER),
        synthetic_evaluation(PREPROCESS, task=CLASSIFIER),
        synthetic_evaluation(PREPROCESS, seed=1, task=CLASSIFIER),
    )
    assert (len(first), first.synthetic, first.labels) == (SYNTHETIC_IMAGES, True, None)
    assert SYNTHETIC_IMAGES == 64
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert "seed 0" in first.images.source


def test_synthetic_images_have_the_networks_size_so_that_nothing_is_resampled() -> None:
    images = synthetic_evaluation(PREPROCESS)
    assert images.images[0].shape == (6, 4, 3)
    assert isinstance(images.images.items[0], ArrayRow)


@pytest.mark.parametrize("task", [Backbone((0, 1), norms=True), Restoration(2, "pixelshuffle"), None])
def test_of_a_dense_task_there_are_eight_synthetic_images_unless_another_number_is_asked_for(task: Task | None) -> None:
    assert len(synthetic_evaluation(PREPROCESS, task=task)) == SYNTHETIC_DENSE == 8
    assert len(synthetic_evaluation(PREPROCESS, task=task, count=3)) == 3
    assert len(synthetic_evaluation(PREPROCESS, task=CLASSIFIER, count=100)) == 100


def test_fewer_synthetic_images_are_a_prefix_of_more() -> None:
    few, many = (synthetic_evaluation(PREPROCESS, count=count).images for count in (2, 5))
    assert all((few[row] == many[row]).all() for row in range(2))


@pytest.mark.parametrize("task", [Backbone((0, 1), norms=True), Restoration(2, "pixelshuffle")])
def test_labels_are_ignored_with_a_remark_where_the_network_has_no_classes(task: Task) -> None:
    found = EvaluationSet(evaluation(2, (4, 0)).images, PREPROCESS, task=task)
    assert found.labels is None
    assert "labels are ignored" in found.to_json()["remark"]
    assert evaluation(2, (4, 0)).remark == ""
    assert EvaluationSet(evaluation(2).images, PREPROCESS, task=task).remark == ""


def test_the_manifest_learns_the_task_and_the_size_of_the_outputs() -> None:
    task = Backbone((1, 3), norms=False)
    found = EvaluationSet(evaluation(2).images, PREPROCESS, task=task, output_bytes=77).to_json()
    assert (task_from_json(found["task"]), found["output_bytes"], found["pictures"]) == (task, 77, False)
    assert EvaluationSet(evaluation(2).images, PREPROCESS).to_json()["task"] is None


def pairs(scale: int, channels: int = 3) -> EvaluationSet:
    """One input of 7x9, numbered pixel by pixel, with its picture, each pixel `scale` squared times."""
    low = np.arange(7 * 9 * 3, dtype=np.uint8).reshape(1, 7, 9, 3)
    high = low.repeat(scale, axis=1).repeat(scale, axis=2)
    sets = [ImageSet("memory", ("a",), None, None, (ArrayRow("memory", array, 0),)) for array in (low, high)]
    plain = Preprocess(4, 6, "none", "bicubic", "pillow", (0.0,) * 3, (1.0,) * 3, channels=channels)
    return EvaluationSet(sets[0], plain, task=Restoration(scale, "pixelshuffle"), pictures=sets[1])


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_picture_is_cropped_where_its_input_is(scale: int, channels: int) -> None:
    shown = pairs(scale, channels)
    (inputs,) = next(shown.batches(1))
    picture = shown.picture(0)
    assert (inputs.shape, picture.shape) == ((channels, 4, 6), (channels, 4 * scale, 6 * scale))
    wanted = np.rint(inputs * 255).repeat(scale, axis=1).repeat(scale, axis=2)
    assert (picture == wanted).all()
    assert not (np.roll(picture, 1, axis=2) == wanted).all()


def test_the_fingerprint_changes_with_the_pictures_too() -> None:
    found = pairs(2)
    assert replace(found, pictures=None).fingerprint != found.fingerprint == pairs(2).fingerprint
    assert replace(found, pictures=pairs(3).pictures).fingerprint != found.fingerprint
