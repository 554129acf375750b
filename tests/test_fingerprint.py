"""Keys change exactly when a result has to be made again."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from swin_deploy.artifact import Precision
from swin_deploy.fingerprint import configuration, key_of
from swin_deploy.recipe import Recipe


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    where: Path = Path("a/b")


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    colour: Colour = Colour.RED
    share: float = 0.5
    missing: str | None = None


def image_set(value: int = 0, source: str = "memory") -> ImageSet:
    pixels = np.full((2, 3, 3, 3), value, np.uint8)
    return ImageSet(source, ("a", "b"), (0, 1), None, tuple(ArrayRow(source, pixels, row) for row in range(2)))


def test_a_configuration_is_plain_json_of_all_fields_at_any_depth() -> None:
    assert configuration(Outer()) == {
        "inner": {"sizes": [1, 2], "where": "a/b"},
        "colour": "red",
        "share": 0.5,
        "missing": None,
    }


def test_mappings_become_objects_with_text_keys() -> None:
    assert configuration({1: Precision.FP16, "x": (Inner(),)}) == {
        "1": "fp16",
        "x": [{"sizes": [1, 2], "where": "a/b"}],
    }


def test_images_stand_as_their_fingerprint_and_never_as_pixels() -> None:
    found = configuration(image_set())
    assert found == {"source": "memory", "images": 2, "fingerprint": image_set().fingerprint()}
    assert configuration(image_set(1))["fingerprint"] != found["fingerprint"]


def test_recipe_and_preprocessing_can_be_put_in_a_manifest() -> None:
    json.dumps(configuration(Recipe("a.pth")), allow_nan=False)
    json.dumps(configuration(Preprocess(4, 4, "squash", "bilinear", "torch", (0, 0, 0), (1, 1, 1))), allow_nan=False)


def test_a_class_is_not_taken_for_one_of_its_objects() -> None:
    assert configuration(Inner) is Inner


def test_the_same_parts_give_the_same_key_whatever_the_order_of_a_mapping() -> None:
    assert key_of({"a": 1, "b": 2}, "x") == key_of({"b": 2, "a": 1}, "x")
    assert len(key_of()) == 64


@pytest.mark.parametrize(
    "parts",
    [
        ("x", "ab"),
        ("xa", "b"),
        ("x", "a", "b"),
        ("x", ["a", "b"]),
        ("x", None),
        ("x", "None"),
        ("x", 1),
        ("x", "1"),
        ("x", True),
        ("x", "ab", None),
    ],
)
def test_different_parts_give_different_keys(parts: tuple[object, ...]) -> None:
    others = [("x", "abc"), ("xab",), ("x", 1.5), ("x", {"a": 1}), ("x", "ab", None, None)]
    assert key_of(*parts) not in {key_of(*other) for other in others}
    assert key_of(*parts) == key_of(*parts)


def test_one_changed_field_at_any_depth_changes_the_key() -> None:
    base = key_of(configuration(Outer()))
    changed = [Outer(inner=Inner((1, 3))), Outer(inner=Inner(where=Path("a/c"))), Outer(share=0.25), Outer(missing="x")]
    assert len({base, *(key_of(configuration(value)) for value in changed)}) == 5


def test_what_is_no_json_is_refused_rather_than_given_a_key_that_changes_by_itself() -> None:
    with pytest.raises(TypeError):
        key_of(configuration(object()))
    with pytest.raises(TypeError):
        key_of(configuration({"x": {1, 2}}))
