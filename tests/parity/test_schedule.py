"""How many images are shown, what their outputs take, and that too many are refused with the number that fits."""

from __future__ import annotations

import pytest

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration, Task
from swin_deploy.errors import BadData
from swin_deploy.parity.schedule import (
    LIMIT_BYTES,
    images_that_fit,
    refuse_too_many,
    schedule,
    shown,
)


def spec(task: Task, image: tuple[int, int] = (64, 48), channels: int = 3) -> SwinSpec:
    stages = tuple(StageSpec(2, 32 * 2**index, 2, (7, 7), 64) for index in range(3))
    return SwinSpec("v1", image, 4, channels, stages, task, rule="microsoft-dense")


def test_classification_is_shown_sixteen_calls_of_the_smallest_batch_and_dense_tasks_two() -> None:
    assert schedule(2000, (1, 8, 32), dense=False) == {1: 16, 8: 2000, 32: 32}
    assert schedule(8, (1, 8, 32), dense=True) == {1: 2, 8: 8, 32: 8}
    assert schedule(8, (4, 4, 4), dense=True) == {4: 8}


def test_a_limited_view_is_shown_fewer_images_of_a_dense_task() -> None:
    assert [shown(images, 256, dense=False) for images in (64, 2000)] == [64, 256]
    assert [shown(images, 256, dense=True) for images in (2, 8)] == [2, 4]
    assert shown(8, None, dense=True) == 8


def test_the_bytes_of_an_images_outputs_by_hand() -> None:
    assert spec(Classifier(1000)).output_bytes == 4000
    # Maps of 16x12, 8x6 and 4x3 tokens with 32, 64 and 128 channels, in four bytes.
    assert spec(Backbone((0, 1, 2), norms=True)).output_bytes == 4 * (32 * 192 + 64 * 48 + 128 * 12)
    assert spec(Backbone((2,), norms=True)).output_bytes == 4 * 128 * 12


def test_the_bytes_of_a_restored_image_grow_with_the_square_of_the_scale() -> None:
    stages = (StageSpec(2, 32, 2, (8, 8), 64),)
    for scale, channels in ((1, 3), (2, 3), (4, 1)):
        task = Restoration(scale, "pixelshuffle" if scale > 1 else "none", mean=(0.0,) * channels)
        found = SwinSpec("v1", (40, 24), 1, channels, stages, task, rule="restoration")
        assert found.output_bytes == 4 * channels * scale**2 * 40 * 24


def test_a_swin_t_at_detection_size_has_48_mib_an_image() -> None:
    stages = tuple(StageSpec(2, 96 * 2**index, 3, (7, 7), 64) for index in range(4))
    found = SwinSpec("v1", (800, 1333), 4, 3, stages, Backbone((0, 1, 2, 3), True), rule="microsoft-dense")
    assert found.output_bytes / 2**20 == pytest.approx(46, abs=2)


def test_what_fits_is_kept_with_one_call_of_the_largest_batch() -> None:
    each = LIMIT_BYTES // 100  # room for 100 images
    # 32 of the largest call; N usual ones, 2 at the smallest, min(32, N) at the largest: 32 + N + 2 + 32 <= 100.
    assert images_that_fit(each, (1, 8, 32), dense=True) == 34
    assert images_that_fit(each, (1, 1, 1), dense=True) == 99
    assert images_that_fit(each, (1, 8, 100), dense=True) == 0


def test_the_number_that_fits_is_accepted_and_one_more_is_refused() -> None:
    for each in (10_000_000, 48 << 20, 4000):
        for batch in ((1, 8, 32), (1, 1, 1), (2, 4, 8)):
            fit = images_that_fit(each, batch, dense=True)
            refuse_too_many(fit, each, batch, dense=True, option="--eval-images")
            with pytest.raises(BadData, match=f"{fit} images.*--eval-images {fit}") as caught:
                refuse_too_many(fit + 1, each, batch, dense=True, option="--eval-images")
            assert caught.value.exit_code == 5


def test_where_not_one_image_fits_the_batch_is_named() -> None:
    with pytest.raises(BadData, match=r"a batch of 64 alone fills 2 GiB.*Lower the largest batch"):
        refuse_too_many(1, 48 << 20, (1, 8, 64), dense=True, option="--images")


def test_imagenets_validation_set_is_not_refused() -> None:
    refuse_too_many(50_000, 4000, (1, 8, 32), dense=False, option="--eval-images")
