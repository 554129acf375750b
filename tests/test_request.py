"""From a recipe to images: what is refused before an accuracy that means nothing could be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from calib.preprocess import Preprocess
from calib.synthetic import structured_images
from swin_deploy.checkpoint.load import Checkpoint
from swin_deploy.checkpoint.sidecar import Sidecar
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration, Task
from swin_deploy.errors import BadData, BadInput, UsageFault
from swin_deploy.parity.schedule import LIMIT_BYTES
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.recipe import Recipe
from swin_deploy.request import evaluation_set, preprocessing, quantization_data, refuse_foreign_labels

STATED = Preprocess(32, 32, "squash", "bilinear", "torch", (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))


def checkpoint(
    preprocess: Preprocess | None = STATED,
    names: tuple[str, ...] | None = None,
    classes: int = 3,
    task: Task | None = None,
    channels: int = 3,
) -> Checkpoint:
    restores = isinstance(task, Restoration)
    stages = tuple(StageSpec(2, 32 * 2 ** (0 if restores else index), 2, (4, 4), 64) for index in range(2))
    rule = "restoration" if restores else "microsoft-dense"
    spec = SwinSpec("v1", (16, 8), 1 if restores else 2, channels, stages, task or Classifier(classes), rule=rule)
    reading = SimpleNamespace(spec=spec)
    return Checkpoint(Path("/models/tiny.pth"), "timm", reading, Sidecar(None, preprocess=preprocess, classes=names))


def calibration_set(recipe: Recipe, understood: Checkpoint) -> Calibration | None:
    data, _ = quantization_data(recipe, understood, None)
    return None if data is None else data.calibration


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return structured_images(count, 8, 8, seed)


def npz(path: Path, images: np.ndarray, labels: list[int] | None = None) -> str:
    np.savez(path, images=images, **({} if labels is None else {"labels": np.array(labels)}))
    return str(path)


def folders(root: Path, images: np.ndarray, *names: str) -> str:
    """One PNG a folder, lossless, in the order of `names`; names without an image stay empty."""
    for index, name in enumerate(names):
        (root / name).mkdir(parents=True)
        if index < len(images):
            Image.fromarray(images[index]).save(root / name / "image.png")
    return str(root)


def test_stated_preprocessing_is_used_at_the_size_the_model_runs_at() -> None:
    for real in (True, False):
        assert preprocessing(Recipe("a"), checkpoint(), real_images=real) == replace(STATED, height=16, width=8)


def test_real_images_without_stated_preprocessing_are_refused_and_the_missing_file_named() -> None:
    message = r"neither an option nor a file beside /models/tiny\.pth.*--resize, .*or put tiny\.json beside it"
    with pytest.raises(BadInput, match=message) as caught:
        preprocessing(Recipe("a"), checkpoint(None), real_images=True)
    assert caught.value.exit_code == 5


OPTIONS = {
    "resize": "shorter-side",
    "interpolation": "bicubic",
    "resampler": "pillow",
    "crop_pct": 0.875,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
}


def test_options_say_it_where_no_file_does_and_override_one_that_does() -> None:
    wanted = Preprocess(height=16, width=8, **OPTIONS)
    for stated in (None, STATED):
        assert preprocessing(Recipe("a", **OPTIONS), checkpoint(stated), real_images=True) == wanted
    one = preprocessing(Recipe("a", mean=(0.1, 0.2, 0.3)), checkpoint(), real_images=True)
    assert one == replace(STATED, height=16, width=8, mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("missing", ["resize", "interpolation", "resampler", "mean", "std"])
def test_one_missing_option_is_named(missing: str) -> None:
    recipe = Recipe("a", **{key: value for key, value in OPTIONS.items() if key != missing})
    with pytest.raises(BadInput, match=f"Give --{missing}, or put"):
        preprocessing(recipe, checkpoint(None), real_images=True)


def test_an_option_that_no_image_can_be_prepared_with_is_refused() -> None:
    with pytest.raises(BadData, match="std"):
        preprocessing(Recipe("a", std=(0.0, 1.0, 1.0)), checkpoint(), real_images=True)


def test_synthetic_images_need_no_stated_preprocessing() -> None:
    found = preprocessing(Recipe("a"), checkpoint(None), real_images=False)
    assert (found.height, found.width, found.mean) == (16, 8, (0.485, 0.456, 0.406))


def test_without_evaluation_data_the_images_are_synthetic_of_the_recipes_seed() -> None:
    first = evaluation_set(Recipe("a.pth"), checkpoint(None))
    other = evaluation_set(Recipe("a.pth", seed=1), checkpoint(None))
    assert (first.synthetic, first.labels, len(first)) == (True, None, 64)
    assert first.fingerprint != other.fingerprint


def test_evaluation_data_without_preprocessing_is_refused(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(2), [0, 1])
    with pytest.raises(BadInput, match="says how images were prepared"):
        evaluation_set(Recipe("a.pth", eval_data=data), checkpoint(None))


def test_calibration_data_without_preprocessing_is_refused(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(2))
    with pytest.raises(BadInput, match="says how images were prepared"):
        calibration_set(Recipe("a.pth", int8=True, calib_data=data), checkpoint(None))


def test_labelled_images_are_read_and_limited(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(6), [0, 1, 2, 0, 1, 2])
    found = evaluation_set(Recipe("a.pth", eval_data=data, eval_images=3), checkpoint())
    assert found.labels is not None
    assert (len(found), sorted(found.labels), found.synthetic) == (3, [0, 1, 2], False)


def test_a_label_beyond_the_models_classes_is_refused(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(2), [0, 3])
    with pytest.raises(BadData, match="labels up to 3, the model 3 classes") as caught:
        evaluation_set(Recipe("a.pth", eval_data=data), checkpoint())
    assert caught.value.exit_code == 5
    evaluation_set(Recipe("a.pth", eval_data=npz(tmp_path / "b.npz", pixels(2), [0, 2])), checkpoint())


def test_some_of_the_folders_are_refused_where_the_names_are_not_known(tmp_path: Path) -> None:
    # They would be numbered 0 and 1 in sorted order, whatever outputs they belong to.
    data = folders(tmp_path / "two", pixels(2), "cat", "frog")
    with pytest.raises(BadData, match="2 classes, the model 3, whose names are not known"):
        evaluation_set(Recipe("a.pth", eval_data=data), checkpoint())


def test_some_of_the_folders_do_where_the_names_are_known(tmp_path: Path) -> None:
    data = folders(tmp_path / "two", pixels(2), "cat", "frog")
    found = evaluation_set(Recipe("a.pth", eval_data=data), checkpoint(names=("frog", "dog", "cat")))
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0]


def test_all_folders_do_without_names_even_if_one_is_empty(tmp_path: Path) -> None:
    data = folders(tmp_path / "three", pixels(2), "cat", "dog", "frog")
    found = evaluation_set(Recipe("a.pth", eval_data=data), checkpoint())
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_names_that_are_not_one_an_output_are_refused(tmp_path: Path) -> None:
    data = folders(tmp_path / "two", pixels(2), "cat", "dog")
    with pytest.raises(BadInput, match="2 class names stand beside a checkpoint of 3"):
        evaluation_set(Recipe("a.pth", eval_data=data), checkpoint(names=("cat", "dog")))


def test_images_without_labels_have_none_to_refuse(tmp_path: Path) -> None:
    found = evaluation_set(Recipe("a.pth", eval_data=npz(tmp_path / "a.npz", pixels(2))), checkpoint())
    assert found.labels is None
    refuse_foreign_labels(found.images, 1, None)


def test_a_broken_image_is_found_before_the_work_begins(tmp_path: Path) -> None:
    root = Path(folders(tmp_path / "data", pixels(3), "a", "b", "c"))
    (root / "b" / "image.png").write_bytes((root / "b" / "image.png").read_bytes()[:60])
    with pytest.raises(BadData, match=r"b/image\.png"):
        evaluation_set(Recipe("a.pth", eval_data=str(root)), checkpoint())


@pytest.mark.parametrize("data", ["missing", "empty"])
def test_data_that_is_not_there_is_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "empty").mkdir()
    recipe = Recipe("a.pth", int8=True, calib_data=str(tmp_path / data), eval_data=str(tmp_path / data))
    with pytest.raises(BadData):
        evaluation_set(recipe, checkpoint())
    with pytest.raises(BadData):
        calibration_set(recipe, checkpoint())


def test_without_int8_there_is_nothing_to_calibrate_on() -> None:
    assert calibration_set(Recipe("a.pth"), checkpoint()) is None


def sets(calibration: str, evaluation: str) -> tuple:
    recipe = Recipe("a.pth", int8=True, calib_data=calibration, eval_data=evaluation)
    return recipe, checkpoint(), evaluation_set(recipe, checkpoint())


def test_two_sets_without_a_common_image_are_accepted(tmp_path: Path) -> None:
    quantization_data(*sets(npz(tmp_path / "a.npz", pixels(3, 1)), npz(tmp_path / "b.npz", pixels(3, 2))))


def test_one_common_image_is_refused_and_named(tmp_path: Path) -> None:
    shared = np.concatenate([pixels(3, 1)[1:2], pixels(2, 2)])
    with pytest.raises(BadData, match=r"1 of 3 calibration images are evaluation images too: images\[1\]") as caught:
        quantization_data(*sets(npz(tmp_path / "a.npz", pixels(3, 1)), npz(tmp_path / "b.npz", shared)))
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("turned", [False, True])
def test_a_common_image_is_found_across_a_folder_of_files_and_an_array(tmp_path: Path, turned: bool) -> None:
    pair = [folders(tmp_path / "a", pixels(3, 1), "x", "y", "z"), npz(tmp_path / "b.npz", pixels(5, 1)[2:])]
    with pytest.raises(BadData, match="1 of 3 calibration images are evaluation images too"):
        quantization_data(*sets(*(reversed(pair) if turned else pair)))


def test_different_images_of_a_folder_and_an_array_are_accepted(tmp_path: Path) -> None:
    quantization_data(
        *sets(folders(tmp_path / "a", pixels(3, 1), "x", "y", "z"), npz(tmp_path / "b.npz", pixels(3, 2)))
    )


def test_the_same_folder_twice_is_refused(tmp_path: Path) -> None:
    data = folders(tmp_path / "a", pixels(3), "x", "y", "z")
    with pytest.raises(BadData, match="3 calibration images"):
        quantization_data(*sets(data, data))


def test_synthetic_images_overlap_with_nothing(tmp_path: Path) -> None:
    recipe = Recipe("a.pth", int8=True, calib_data=npz(tmp_path / "a.npz", pixels(2)))
    evaluation = evaluation_set(recipe, checkpoint())
    assert quantization_data(recipe, checkpoint(), evaluation)[1] is evaluation


def test_noise_is_no_calibration_data_and_pictures_are(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    for grid in ("int8", "fp8"):
        recipe = Recipe("a.pth", **{grid: True}, calib_data=npz(tmp_path / "noise.npz", noise))
        with pytest.raises(BadData, match="6 of 6 calibration images looked at are random noise"):
            calibration_set(recipe, checkpoint())
        pictures = npz(tmp_path / "pictures.npz", structured_images(6, 32, 32, 0))
        assert calibration_set(replace(recipe, calib_data=pictures), checkpoint()) is not None  # the control


def test_calibration_says_how_many_images_there_were_and_a_limit_keeps_the_first_of_one_order(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(6), [0, 1, 2, 0, 1, 2])
    every = calibration_set(Recipe("a.pth", int8=True, calib_data=data, calib_images=0), checkpoint())
    some = calibration_set(Recipe("a.pth", int8=True, calib_data=data, calib_images=4), checkpoint())
    assert every is not None and some is not None
    assert (every.available, every.limit, len(every.images)) == (6, None, 6)
    assert (some.available, some.limit, len(some.images)) == (6, 4, 4)
    assert some.images.names == every.images.names[:4]
    assert some.preprocess == replace(STATED, height=16, width=8)


def test_a_search_divides_the_evaluation_images_into_two_halves_without_a_common_one(tmp_path: Path) -> None:
    data = {"calib_data": npz(tmp_path / "c.npz", pixels(3, 1))}
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    data["eval_data"] = npz(tmp_path / "e.npz", pixels(8, 2), labels)
    recipe = Recipe("a.pth", int8=True, search=True, **data)
    evaluation = evaluation_set(recipe, checkpoint())
    found, rest = quantization_data(recipe, checkpoint(), evaluation)
    assert found is not None and found.selection is not None and rest is not None and found.judged is rest
    names = found.selection.images.names, rest.images.names
    assert (len(names[0]), len(names[1])) == (4, 4)
    assert sorted(names[0] + names[1]) == sorted(evaluation.images.names)
    assert max(np.abs(np.bincount(found.selection.labels) - np.bincount(rest.labels))) <= 1
    # The control: without a search nothing is taken away.
    found, rest = quantization_data(replace(recipe, search=False), checkpoint(), evaluation)
    assert found is not None and found.selection is None and rest is evaluation


def test_a_search_without_labels_is_refused(tmp_path: Path) -> None:
    data = {"calib_data": npz(tmp_path / "c.npz", pixels(3, 1)), "eval_data": npz(tmp_path / "e.npz", pixels(8, 2))}
    recipe = Recipe("a.pth", int8=True, search=True, **data)
    with pytest.raises(BadData, match="has no labels of classes"):
        quantization_data(recipe, checkpoint(), evaluation_set(recipe, checkpoint()))


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"precision_plan": "none.plan"}, "--precision-plan none.plan is no file"),
        ({"search": True, "eval_data": "e", "timings": "none.csv"}, "--timings none.csv is no file"),
        ({"calibration": "none.npz"}, "none.npz cannot be read as a calibration"),
        ({"calibration": __file__}, "cannot be read as a calibration"),
    ],
)
def test_files_that_are_missing_are_found_before_the_work_begins(options: dict, seen: str, tmp_path: Path) -> None:
    data = {} if "calibration" in options else {"calib_data": npz(tmp_path / "c.npz", pixels(3, 1))}
    with pytest.raises(BadInput, match=seen):
        quantization_data(Recipe("a.pth", int8=True, **data, **options), checkpoint(), None)


# Dense tasks

BACKBONE = Backbone((0, 1), norms=True)
DOUBLE = Restoration(2, "pixelshuffle")


def restoring(channels: int = 3) -> Checkpoint:
    return checkpoint(None, task=replace(DOUBLE, mean=(0.0,) * channels), channels=channels)


def pairs(root: Path, count: int = 3, *, low: tuple[int, int] = (20, 12), scale: int = 2) -> str:
    """Pictures, and every `scale`th pixel of each as its input."""
    for index in range(count):
        picture = structured_images(1, low[0] * scale, low[1] * scale, index)[0]
        for side, image in (("hr", picture), ("lr", picture[::scale, ::scale])):
            (root / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / side / f"{index}.png")
    return str(root)


def test_the_number_of_synthetic_images_can_be_asked_for_and_has_a_default_for_each_task() -> None:
    for asked, found in ((checkpoint(None), 64), (checkpoint(None, task=BACKBONE), 8), (restoring(), 8)):
        assert len(evaluation_set(Recipe("a.pth"), asked)) == found
        assert len(evaluation_set(Recipe("a.pth", eval_images=5), asked)) == 5


def test_a_default_that_memory_does_not_bear_is_lowered_and_a_number_that_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    each = 4 * 3 * 4 * 16 * 8  # an image of 32x16 in three channels
    monkeypatch.setattr("swin_deploy.parity.schedule.LIMIT_BYTES", 9 * each)
    recipe = Recipe("a.pth", batch=(1, 1, 2))
    # Two of one call at the largest batch; two at it and N at the usual, which is the smallest too: N = 5.
    assert len(evaluation_set(recipe, restoring())) == 5
    assert len(evaluation_set(replace(recipe, eval_images=5), restoring())) == 5
    with pytest.raises(BadData, match=r"6 images.*5 images.*Give --eval-images 5"):
        evaluation_set(replace(recipe, eval_images=6), restoring())
    with pytest.raises(BadData, match="--batch"):
        evaluation_set(replace(recipe, batch=(1, 1, 9)), restoring())
    assert LIMIT_BYTES == 2 << 30


def test_too_many_images_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = npz(tmp_path / "a.npz", structured_images(8, 16, 8, 0))
    monkeypatch.setattr("swin_deploy.parity.schedule.LIMIT_BYTES", 9 * 4 * 3 * 4 * 16 * 8)
    monkeypatch.setattr("calib.image_source.ArrayRow.pixels", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadData, match="Give --eval-images 5"):
        evaluation_set(Recipe("a.pth", eval_data=data, batch=(1, 1, 2)), restoring())


def test_restoration_needs_no_stated_preprocessing_and_takes_images_as_they_are(tmp_path: Path) -> None:
    whole = structured_images(2, 16, 8, 0)
    found = evaluation_set(Recipe("a.pth", eval_data=npz(tmp_path / "a.npz", whole)), restoring())
    (batch,) = found.batches(2)
    assert (np.rint(batch.transpose(0, 2, 3, 1) * 255) == np.stack([found.images[row] for row in range(2)])).all()
    assert (batch.min() >= 0, batch.max() <= 1) == (True, True)


def test_a_larger_image_is_cropped_for_restoration_and_not_squashed(tmp_path: Path) -> None:
    large = structured_images(1, 40, 30, 0)
    found = evaluation_set(Recipe("a.pth", eval_data=npz(tmp_path / "a.npz", large)), restoring())
    (batch,) = found.batches(1)
    assert (np.rint(batch[0].transpose(1, 2, 0) * 255) == large[0][12:28, 11:19]).all()


def test_a_smaller_image_is_refused_for_restoration_and_named(tmp_path: Path) -> None:
    small = npz(tmp_path / "a.npz", structured_images(2, 16, 7, 0))
    with pytest.raises(BadData, match=r"images\[\d\] is an image of 16x7.*at least 16x8"):
        evaluation_set(Recipe("a.pth", eval_data=small), restoring())
    recipe = Recipe("a.pth", int8=True, calib_data=small)
    with pytest.raises(BadData, match=r"images\[\d\] is an image of 16x7"):
        calibration_set(recipe, restoring())


@pytest.mark.parametrize(("option", "value"), list(OPTIONS.items()))
def test_a_preprocessing_option_is_refused_for_restoration(option: str, value: object) -> None:
    with pytest.raises(UsageFault, match=f"--{option.replace('_', '-')} with a restoration network"):
        preprocessing(Recipe("a.pth", **{option: value}), restoring(), real_images=False)


def test_a_grey_network_is_shown_grey_images(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", structured_images(2, 16, 8, 0))
    for recipe in (Recipe("a.pth"), Recipe("a.pth", eval_data=data)):
        assert next(evaluation_set(recipe, restoring(channels=1)).batches(2)).shape == (2, 1, 16, 8)


def test_a_network_of_other_channels_is_shown_made_up_images_only(tmp_path: Path) -> None:
    odd = checkpoint(task=BACKBONE, channels=4)
    assert next(evaluation_set(Recipe("a.pth"), odd).batches(2)).shape == (2, 4, 16, 8)
    with pytest.raises(BadInput, match="takes 4 channels"):
        evaluation_set(Recipe("a.pth", eval_data=npz(tmp_path / "a.npz", pixels(2))), odd)


def test_a_backbone_takes_a_folder_of_images_and_ignores_labels_with_a_remark(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(4), [0, 1, 2, 99])
    found = evaluation_set(Recipe("a.pth", eval_data=data), checkpoint(task=BACKBONE))
    assert (len(found), found.labels, found.pictures) == (4, None, None)
    assert "labels are ignored" in found.remark
    with pytest.raises(BadData):  # the control: a classifier does not take label 99
        evaluation_set(Recipe("a.pth", eval_data=data), checkpoint())


def test_a_backbones_preprocessing_has_to_be_stated_like_any_other(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", pixels(2))
    with pytest.raises(BadInput, match="says how images were prepared"):
        evaluation_set(Recipe("a.pth", eval_data=data), checkpoint(None, task=BACKBONE))


def test_pairs_are_taken_for_restoration(tmp_path: Path) -> None:
    found = evaluation_set(Recipe("a.pth", eval_data=pairs(tmp_path / "a")), restoring())
    assert found.pictures is not None
    assert (len(found), found.labels, found.remark) == (3, None, "")
    for index, inputs in enumerate(next(found.batches(3))):
        assert (found.picture(index)[:, ::2, ::2] == np.rint(inputs * 255)).all()
        assert found.picture(index).shape == (3, 32, 16)


def test_calibration_takes_the_inputs_of_pairs_and_not_the_pictures(tmp_path: Path) -> None:
    recipe = Recipe("a.pth", int8=True, calib_data=pairs(tmp_path / "a", 4), calib_images=3)
    found = calibration_set(recipe, restoring())
    assert found is not None
    assert [image.shape for image in found.images] == [(20, 12, 3)] * 3
    # The control: folders of other names are inputs, all of them.
    (tmp_path / "a" / "hr").rename(tmp_path / "a" / "other")
    found = calibration_set(replace(recipe, calib_images=8), restoring())
    assert found is not None
    assert {image.shape for image in found.images} == {(20, 12, 3), (40, 24, 3)}


def test_a_limit_takes_so_many_pairs(tmp_path: Path) -> None:
    data = pairs(tmp_path / "a", 6)
    found = evaluation_set(Recipe("a.pth", eval_data=data, eval_images=2), restoring())
    assert found.pictures is not None
    assert (len(found), found.images.names) == (2, found.pictures.names)


def test_pairs_of_another_scale_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="exactly 2 times as large"):
        evaluation_set(Recipe("a.pth", eval_data=pairs(tmp_path / "a", scale=3)), restoring())


def test_pairs_smaller_than_the_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"\.png is an image of 15x12"):
        evaluation_set(Recipe("a.pth", eval_data=pairs(tmp_path / "a", low=(15, 12))), restoring())


def test_folders_of_other_names_are_inputs_with_labels_that_are_ignored(tmp_path: Path) -> None:
    data = folders(tmp_path / "a", structured_images(2, 16, 8, 0), "cats", "dogs")
    found = evaluation_set(Recipe("a.pth", eval_data=data), restoring())
    assert found.pictures is None
    assert "labels are ignored" in found.remark
