"""The example's images are what its README says."""

from __future__ import annotations

import hashlib
import importlib.util
import tarfile
from collections import Counter
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10"


def make_subset() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_subset", EXAMPLE / "make_subset.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def members(name: str) -> dict[str, bytes]:
    with tarfile.open(EXAMPLE / name) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "per_class"), [("calib.tar.xz", 100), ("eval.tar.xz", 200)])
def test_every_class_has_its_images(name: str, per_class: int) -> None:
    counts = Counter(PurePosixPath(member).parent.name for member in members(name))
    assert len(counts) == 10 and set(counts.values()) == {per_class}


def test_no_image_is_used_for_calibration_and_evaluation() -> None:
    calibration, evaluation = (
        {hashlib.sha256(content).digest() for content in members(name).values()}
        for name in ("calib.tar.xz", "eval.tar.xz")
    )
    assert len(calibration) == 1000 and len(evaluation) == 2000
    assert not calibration & evaluation


def test_the_archive_has_no_owner_and_no_time() -> None:
    with tarfile.open(EXAMPLE / "eval.tar.xz") as archive:
        assert {(entry.uid, entry.gid, entry.uname, entry.mtime, entry.mode) for entry in archive} == {
            (0, 0, "", 0, 0o644)
        }


def test_the_choice_depends_on_the_names_alone() -> None:
    names = [f"test/{label}/{number:04d}.jpg" for label in ("cat", "dog") for number in range(50)]
    module = make_subset()
    picked = module.chosen(names, per_class=5)
    assert picked == module.chosen(names[::-1], per_class=5)
    assert Counter(name.split("/")[1] for name in picked) == {"cat": 5, "dog": 5}
    assert picked != module.chosen(names, per_class=5, seed=1)


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(ValueError, match="class cat has 1 images, 2 are needed"):
        make_subset().chosen(["test/cat/0.jpg"], per_class=2)


def test_the_evaluation_images_are_the_documented_choice(cifar10_test: Path, tmp_path: Path) -> None:
    if not cifar10_test.is_file():
        pytest.skip("needs the tar of the 10,000 test images")
    make_subset().pack(cifar10_test, tmp_path / "eval.tar.xz")
    with tarfile.open(tmp_path / "eval.tar.xz") as archive:
        again = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    assert again == members("eval.tar.xz")
