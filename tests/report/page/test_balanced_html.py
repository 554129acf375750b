"""The check of pages finds what is wrong with them."""

from __future__ import annotations

import pytest

from tests.report.page.balanced_html import Balanced


def test_a_sound_page_has_no_faults() -> None:
    assert Balanced('<!DOCTYPE html><p id="a">x<br><a href="#a">y</a></p><svg><path d="M 0"/></svg>').faults == []


@pytest.mark.parametrize(
    "page",
    [
        "<p><b>x</p></b>",
        "<p>x",
        "x</p>",
        '<p id="a"></p><p id="a"></p>',
        '<a href="#nowhere">x</a>',
        '<p onclick="run()">x</p>',
        '<p class="a" class="b">x</p>',
    ],
)
def test_a_fault_is_found(page: str) -> None:
    assert Balanced(page).faults
