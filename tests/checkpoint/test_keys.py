"""Differences between keys are named, each with what it should have been."""

from __future__ import annotations

import pytest

from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.errors import BadInput
from tests.checkpoint.timm_files import explained

TABLE = KeyTable(
    "model.pth", {"a.weight": (4, 3), "a.bias": (4,), "b.0.c": (2,), "b.1.c": (2,), "b.3.c": (2,), "s": ()}
)


def test_the_shape_of_a_key() -> None:
    assert TABLE.shape("a.weight", 2) == (4, 3)
    assert TABLE.shape("s", 0) == ()


def test_a_missing_key_is_named_with_the_nearest_one() -> None:
    with pytest.raises(BadInput) as caught:
        TABLE.shape("a.weigth", 2)
    explained(caught, "model.pth", "a.weigth is missing (did you mean a.weight?)")


def test_a_missing_key_that_resembles_none_is_named_alone() -> None:
    with pytest.raises(BadInput) as caught:
        TABLE.shape("patch_embed", 2)
    assert "did you mean" not in explained(caught, "patch_embed is missing")


def test_another_number_of_axes_is_an_error() -> None:
    with pytest.raises(BadInput) as caught:
        TABLE.shape("a.weight", 1)
    explained(caught, "a.weight has the shape 4x3", "1 axis")
    with pytest.raises(BadInput) as caught:
        TABLE.shape("s", 1)
    explained(caught, "s has the shape scalar")


def test_an_empty_axis_is_an_error() -> None:
    with pytest.raises(BadInput) as caught:
        KeyTable("model.pth", {"w": (3, 0)}).shape("w", 2)
    explained(caught, "w has the shape 3x0", "none of them empty")


def test_counting_stops_at_the_first_gap() -> None:
    assert TABLE.count("b.{}.") == 2
    assert TABLE.count("c.{}.") == 0


def test_counting_does_not_take_ten_for_one() -> None:
    assert KeyTable("", {"b.0.c": (1,), "b.10.c": (1,)}).count("b.{}.") == 1


def test_keys_that_agree_tell_the_number() -> None:
    assert TABLE.agreed("rows", ("a.weight", 2, 0), ("a.bias", 1, 0)) == 4


def test_keys_that_contradict_each_other_are_both_named() -> None:
    with pytest.raises(BadInput) as caught:
        TABLE.agreed("rows", ("a.weight", 2, 1), ("a.bias", 1, 0))
    explained(caught, "rows: 3 by a.weight, 4 by a.bias")


def test_exactly_the_expected_keys_pass() -> None:
    TABLE.require_exactly(dict(TABLE.shapes), ())
    TABLE.require_exactly({key: shape for key, shape in TABLE.shapes.items() if key != "s"}, {"s"})


def test_missing_extra_and_mis_shaped_keys_are_named_together() -> None:
    expected = {**TABLE.shapes, "a.bias": (5,), "new": (1,)}
    del expected["s"]
    with pytest.raises(BadInput) as caught:
        TABLE.require_exactly(expected, ())
    explained(caught, "missing: new", "unexpected: s", "a.bias has the shape 4 instead of 5")


def test_an_ignored_key_may_be_absent() -> None:
    TABLE.require_exactly(dict(TABLE.shapes), {"not there"})


def test_of_many_differences_the_first_are_named_and_the_others_counted() -> None:
    with pytest.raises(BadInput) as caught:
        KeyTable("model.pth", {f"k{number}": (1,) for number in range(9)}).require_exactly({}, ())
    message = explained(caught, "unexpected: k0, k1, k2, k3, k4 and 4 more")
    assert "k5" not in message


def test_of_many_wrong_shapes_the_first_are_named_and_the_others_counted() -> None:
    shapes = {f"k{number}": (1,) for number in range(9)}
    with pytest.raises(BadInput) as caught:
        KeyTable("model.pth", shapes).require_exactly(dict.fromkeys(shapes, (2,)), ())
    explained(caught, "k4 has the shape 1 instead of 2", "and 4 more of another shape")


def test_a_key_that_belongs_where_it_stands_is_not_taken_for_a_misspelling() -> None:
    table = KeyTable("model.pth", {"b.0.norm.bias": (1,), "b.10.norm.weight": (1,), "b.0.nrmm.weight": (1,)})
    with pytest.raises(BadInput, match=r"did you mean b\.10\.norm\.weight"):
        table.shape("b.0.norm.weight", 1)
    with pytest.raises(BadInput, match=r"did you mean b\.0\.nrmm\.weight"):
        table.knowing(["b.7.norm.weight", "b.7.norm.bias"]).shape("b.0.norm.weight", 1)
