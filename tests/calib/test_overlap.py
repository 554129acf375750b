"""An image in both calibration and evaluation data is found, whatever the two sets are stored as."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calib.errors import BadData
from calib.images import ImageSet, open_images
from calib.overlap import refuse_overlap
from calib.synthetic import structured_images

CIFAR = Path(__file__).parents[2] / "examples" / "cifar10"
PICTURES = structured_images(12, 16, 16, seed=0)


def folder(root: Path, indices: range, suffix: str = ".png") -> ImageSet:
    root.mkdir()
    for index in indices:
        Image.fromarray(PICTURES[index]).save(root / f"{index:02}{suffix}")
    return open_images(root)


def array(path: Path, images: np.ndarray) -> ImageSet:
    np.savez(path, images=images)
    return open_images(path)


def test_sets_without_a_common_image_pass(tmp_path: Path) -> None:
    refuse_overlap(folder(tmp_path / "a", range(6)), folder(tmp_path / "b", range(6, 12)))


def test_common_files_are_counted_and_named(tmp_path: Path) -> None:
    calibration, evaluation = folder(tmp_path / "a", range(8)), folder(tmp_path / "b", range(3, 12))
    with pytest.raises(BadData) as caught:
        refuse_overlap(calibration, evaluation)
    text = str(caught.value)
    assert text.startswith("5 of 8 calibration images are evaluation images too: 03.png, 04.png, 05.png and 2 more")
    assert "Calibrate on training images" in text


def test_a_renamed_copy_is_found_and_both_names_are_told(tmp_path: Path) -> None:
    calibration, evaluation = folder(tmp_path / "a", range(2)), folder(tmp_path / "b", range(2, 4))
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "01.png").read_bytes())
    refuse_overlap(calibration, evaluation)
    with pytest.raises(BadData, match=re.escape("1 of 2 calibration images are evaluation images too: 01.png (there")):
        refuse_overlap(calibration, open_images(tmp_path / "b"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_file_and_a_row_of_the_same_pixels_are_the_same_image(tmp_path: Path, suffix: str) -> None:
    files = folder(tmp_path / "a", range(4), suffix)
    rows = array(tmp_path / "set.npz", np.stack([PICTURES[9], files[2]]))
    assert set(files.content_hashes()).isdisjoint(rows.content_hashes()), "by content they would pass"
    with pytest.raises(BadData, match=re.escape(f"1 of 4 calibration images are evaluation images too: 02{suffix}")):
        refuse_overlap(files, rows)
    with pytest.raises(BadData, match=re.escape("1 of 2 calibration images are evaluation images too: images[1] (")):
        refuse_overlap(rows, files)
    refuse_overlap(files.subset([0, 1, 3]), rows)


def test_lossless_files_of_two_kinds_are_compared_by_pixels(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="2 of 3"):
        refuse_overlap(folder(tmp_path / "a", range(3)), folder(tmp_path / "b", range(1, 6), ".bmp"))


def test_only_the_images_used_count(tmp_path: Path) -> None:
    images = folder(tmp_path / "a", range(8))
    refuse_overlap(images.subset(range(4)), images.subset(range(4, 8)))
    with pytest.raises(BadData, match=r"1 of 4 .* 03\.png"):
        refuse_overlap(images.subset(range(4)), images.subset(range(3, 8)))


def test_files_of_one_kind_are_not_decoded(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpeg", "c.JPG"):  # no images at all: decoding would be refused
        (tmp_path / name[0]).mkdir()
        (tmp_path / name[0] / name).write_bytes(name.encode())
    opened = [open_images(tmp_path / name) for name in "abc"]
    refuse_overlap(opened[0], opened[1])
    refuse_overlap(opened[0], opened[2])


def test_the_example_keeps_its_two_sets_apart() -> None:
    calibration, evaluation = open_images(CIFAR / "calib.tar.xz"), open_images(CIFAR / "eval.tar.xz")
    refuse_overlap(calibration, evaluation)
    with pytest.raises(BadData, match="2000 of 2000"):
        refuse_overlap(evaluation, evaluation)
