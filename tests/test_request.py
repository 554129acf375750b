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
from swin_deploy.errors import BadData, BadInput
from swin_deploy.recipe import Recipe
from swin_deploy.request import calibration_set, evaluation_set, preprocessing, refuse_foreign_labels, refuse_overlap

STATED = Preprocess(32, 32, "squash", "bilinear", "torch", (0.4, 0.4, 0.4), (0.2, 0.2, 0.2))


def checkpoint(
    preprocess: Preprocess | None = STATED, names: tuple[str, ...] | None = None, classes: int = 3
) -> Checkpoint:
    reading = SimpleNamespace(spec=SimpleNamespace(image_size=(16, 8), classes=classes))
    return Checkpoint(Path("/models/tiny.pth"), "timm", reading, Sidecar(None, preprocess=preprocess, classes=names))


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
    return calibration_set(recipe, checkpoint()), evaluation_set(recipe, checkpoint())


def test_two_sets_without_a_common_image_are_accepted(tmp_path: Path) -> None:
    refuse_overlap(*sets(npz(tmp_path / "a.npz", pixels(3, 1)), npz(tmp_path / "b.npz", pixels(3, 2))))


def test_one_common_image_is_refused_and_named(tmp_path: Path) -> None:
    shared = np.concatenate([pixels(3, 1)[1:2], pixels(2, 2)])
    with pytest.raises(BadData, match=r"1 calibration images are also evaluation images, images\[1\]") as caught:
        refuse_overlap(*sets(npz(tmp_path / "a.npz", pixels(3, 1)), npz(tmp_path / "b.npz", shared)))
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("turned", [False, True])
def test_a_common_image_is_found_across_a_folder_of_files_and_an_array(tmp_path: Path, turned: bool) -> None:
    pair = [folders(tmp_path / "a", pixels(3, 1), "x", "y", "z"), npz(tmp_path / "b.npz", pixels(5, 1)[2:])]
    with pytest.raises(BadData, match="1 calibration images are also evaluation images"):
        refuse_overlap(*sets(*(reversed(pair) if turned else pair)))


def test_different_images_of_a_folder_and_an_array_are_accepted(tmp_path: Path) -> None:
    refuse_overlap(*sets(folders(tmp_path / "a", pixels(3, 1), "x", "y", "z"), npz(tmp_path / "b.npz", pixels(3, 2))))


def test_the_same_folder_twice_is_refused(tmp_path: Path) -> None:
    data = folders(tmp_path / "a", pixels(3), "x", "y", "z")
    with pytest.raises(BadData, match="3 calibration images"):
        refuse_overlap(*sets(data, data))


def test_synthetic_images_overlap_with_nothing(tmp_path: Path) -> None:
    recipe = Recipe("a.pth", int8=True, calib_data=npz(tmp_path / "a.npz", pixels(2)))
    refuse_overlap(calibration_set(recipe, checkpoint()), evaluation_set(recipe, checkpoint()))
    refuse_overlap(None, evaluation_set(recipe, checkpoint()))
