"""Sizes, batch profiles and lists as users write them."""

from __future__ import annotations

import click
import pytest

from cli.option_types import BATCHES, SIZE, SM, TRIPLE, WORDS


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("800x1344", (800, 1344)), (" 56 ", (56, 56))])
def test_a_size_is_one_number_or_height_by_width(text: str, size: tuple[int, int]) -> None:
    assert SIZE.convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "12x", "x12", "12x0", "-5", "12.5", "800,1344"])
def test_what_is_no_size_is_refused_and_shown(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no size"):
        SIZE.convert(text, None, None)


@pytest.mark.parametrize(("text", "batch"), [("1,8,32", (1, 8, 32)), ("4", (4, 4, 4)), ("1, 2, 3", (1, 2, 3))])
def test_a_batch_profile_is_three_numbers_or_one(text: str, batch: tuple[int, int, int]) -> None:
    assert BATCHES.convert(text, None, None) == batch


@pytest.mark.parametrize("text", ["1,8", "1,8,32,64", "a", "1,,3", "-1,2,3"])
def test_what_is_no_batch_profile_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no batch profile"):
        BATCHES.convert(text, None, None)


def test_lists_are_split_at_commas_and_checked() -> None:
    assert SM.convert("8.6, 12.0", None, None) == ("8.6", "12.0")
    assert WORDS.convert("engine,accuracy", None, None) == ("engine", "accuracy")
    with pytest.raises(click.BadParameter, match=r"'86'"):
        SM.convert("86", None, None)


def test_a_triple_is_three_numbers() -> None:
    assert TRIPLE.convert("0.485,0.456,0.406", None, None) == (0.485, 0.456, 0.406)
    for text in ("0.5", "1,2", "1,2,3,4", "r,g,b"):
        with pytest.raises(click.BadParameter, match="no triple"):
            TRIPLE.convert(text, None, None)
