"""Figures inside a page: the page's own colours, texts that are texts, ids that are nobody else's."""

from __future__ import annotations

import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from swin_deploy.report.page import inline_svg as module
from swin_deploy.report.page.inline_svg import drawable, ink, inline_svg
from tests.report.page.balanced_html import Balanced

CSS = (Path(module.__file__).with_name("page.css")).read_text(encoding="utf-8")
HOSTILE = "</text><script>alert(1)</script> $\\frac{1}{ %s &amp;"


def drawn(name: str = "figure") -> str:
    def draw(figure):  # type: ignore[no-untyped-def]
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], marker="o", color=ink("int8"))
        axes.set_xlabel(HOSTILE)
        axes.set_title("a title")

    return inline_svg(name, f"title {HOSTILE}", f"description {HOSTILE}", draw)


def test_a_figure_has_no_colour_of_its_own() -> None:
    assert "var(--int8)" in drawn() and "var(--ink)" in drawn()
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn())


def test_every_variable_of_the_figures_is_defined_in_light_and_in_dark() -> None:
    light, dark = CSS.split("@media (prefers-color-scheme: dark)")
    for name in re.findall(r"var\(--([a-z0-9-]+)\)", CSS) + list(module._NAMES):
        if name == "own":
            continue  # of the dots, set to one of the others
        assert f"--{name}:" in light and f"--{name}:" in dark, name


def test_a_colour_that_the_page_has_not_is_a_defect() -> None:
    with pytest.raises(ValueError):
        ink("magenta")


def test_what_a_figure_shows_is_told_to_whoever_does_not_see_it() -> None:
    found = Balanced(drawn())
    assert found.opened["title"] == found.opened["desc"] == 1
    assert f"title {HOSTILE}" in found.text and f"description {HOSTILE}" in found.text
    assert 'role="img" aria-labelledby="figure-title figure-desc"' in drawn()


def test_texts_stay_texts_and_break_out_of_nothing() -> None:
    found = Balanced(drawn())
    assert found.faults == []
    assert HOSTILE in found.texts  # the label, in one piece and unparsed
    assert found.opened["script"] == found.opened["style"] == found.opened["metadata"] == 0


def test_two_figures_share_no_id() -> None:
    assert Balanced(drawn("one") + drawn("two")).faults == []


def test_the_same_figure_is_the_same_text() -> None:
    assert drawn() == drawn()


def test_without_matplotlib_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    assert not drawable() and drawn() == ""


def test_markup_is_parsed_to_its_end() -> None:
    parser = HTMLParser()
    parser.feed(drawn())
    assert parser.rawdata == ""
