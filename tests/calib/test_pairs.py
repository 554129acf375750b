"""Pairs of a low-resolution image and its picture: matched by name, checked by size, chosen by seed."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calib.errors import BadData
from calib.images import open_images
from calib.pairs import is_paired, split_pairs


def folder(root: Path, names: str = "abc", scale: int = 2, size: tuple[int, int] = (6, 5)) -> Path:
    """Pictures of random pixels, and every `scale`th of them as inputs."""
    for place, name in enumerate(names):
        picture = np.random.default_rng(place).integers(0, 256, (scale * size[0], scale * size[1], 3), dtype=np.uint8)
        for side, image in (("hr", picture), ("lr", picture[::scale, ::scale])):
            (root / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / side / f"{name}.png")
    return root


def test_each_input_stands_beside_its_own_picture(tmp_path: Path) -> None:
    low, high = split_pairs(open_images(folder(tmp_path)), 2)
    assert sorted(low.names) == ["a.png", "b.png", "c.png"]
    assert (low.names, low.labels, high.labels) == (high.names, None, None)
    for place in range(3):
        assert (high[place][::2, ::2] == low[place]).all()
        assert not (high[(place + 1) % 3][::2, ::2] == low[place]).all()


def test_a_tar_of_the_two_folders_does_as_well(tmp_path: Path) -> None:
    folder(tmp_path / "pairs")
    with tarfile.open(tmp_path / "pairs.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "pairs", "pairs")
    inside, beside = (split_pairs(open_images(tmp_path / name), 2) for name in ("pairs.tar.xz", "pairs"))
    assert [images.fingerprint() for images in inside] == [images.fingerprint() for images in beside]


def test_a_limit_keeps_whole_pairs_which_the_seed_chooses(tmp_path: Path) -> None:
    images = open_images(folder(tmp_path, "abcdefgh"))
    every = split_pairs(images, 2, seed=1)[0].names
    for count in (1, 3, 8, 99):
        low, high = split_pairs(images, 2, limit=count, seed=1)
        assert low.names == high.names == every[:count]
    assert split_pairs(images, 2, seed=2)[0].names != every


@pytest.mark.parametrize("lone", ["hr/c.png", "lr/c.png"])
def test_an_image_without_a_partner_is_refused_and_named(tmp_path: Path, lone: str) -> None:
    (folder(tmp_path) / lone).unlink()
    partner = lone.replace("hr", "xx").replace("lr", "hr").replace("xx", "lr")
    with pytest.raises(BadData, match=f"1 images have no partner, {partner}") as caught:
        split_pairs(open_images(tmp_path), 2)
    assert caught.value.exit_code == 5


def test_an_empty_folder_of_inputs_is_no_folder_of_pairs_but_of_lone_pictures(tmp_path: Path) -> None:
    for image in (folder(tmp_path) / "lr").iterdir():
        image.unlink()
    with pytest.raises(BadData, match="3 images have no partner"):
        split_pairs(open_images(tmp_path), 2)


def test_pairs_of_another_scale_are_one_clear_refusal(tmp_path: Path) -> None:
    images = open_images(folder(tmp_path, "abcde"))
    split_pairs(images, 2)
    with pytest.raises(BadData, match=r"5 of 5 pairs do not fit, .*6x5 and 12x10.*exactly 4 times as large"):
        split_pairs(images, 4)


def test_a_picture_of_a_pixel_too_many_is_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    Image.new("RGB", (10, 13)).save(tmp_path / "hr" / "b.png")
    with pytest.raises(BadData, match=r"1 of 3 pairs do not fit, b\.png \(6x5 and 13x10\)"):
        split_pairs(open_images(tmp_path), 2)


def test_a_broken_picture_is_found_at_once(tmp_path: Path) -> None:
    broken = folder(tmp_path) / "hr" / "b.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(BadData, match=r"b\.png"):
        split_pairs(open_images(tmp_path), 2)


def test_only_folders_of_these_two_names_are_pairs(tmp_path: Path) -> None:
    assert is_paired(open_images(folder(tmp_path / "pairs")))
    assert not is_paired(open_images(tmp_path / "pairs" / "lr"))
    (tmp_path / "pairs" / "lr").rename(tmp_path / "pairs" / "cats")
    assert not is_paired(open_images(tmp_path / "pairs"))
