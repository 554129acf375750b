"""The page of a comparison: sound, with the differences on top, and one colour a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swin_deploy.comparison.comparison import Comparison, compare_runs
from swin_deploy.parity.paired_drop import interval
from swin_deploy.report.page.comparison_page import comparison_page
from tests.comparison.two_runs import write_run
from tests.report.full_run import full_run
from tests.report.page.balanced_html import Balanced


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder, made = tmp_path_factory.mktemp("runs"), full_run()
    write_run(folder / "<b>a", (0, 1))
    write_run(folder / "b", (1, 5, 6, 7), recipe={**made.recipe, "calib_method": "mse"})
    write_run(folder / "c", (), speed=None, evaluation={**made.evaluation, "fingerprint": "5" * 64})
    return compare_runs([folder / name for name in ("<b>a", "b", "c")])


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> str:
    return comparison_page(comparison)


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}"', 1)[1].split("</section>", 1)[0]


def test_the_page_is_sound_and_whole(page: str) -> None:
    found = Balanced(page)
    assert found.faults == [] and found.opened["script"] == found.opened["b"] == 0
    assert all(reference.startswith("#") for reference in found.references)


def test_what_differs_has_a_column_a_run(page: str) -> None:
    rows = re.findall(r"<tr>.*?</tr>", section(page, "differences"), re.DOTALL)
    assert len(re.findall(r"<th", rows[0])) == 4
    assert any("recipe: calib_method" in row and ">mse<" in row for row in rows)
    assert any("2222222…" in row.replace("222222222222…", "2222222…") for row in rows)  # hashes are cut


def test_the_paired_figures_are_shown_and_what_was_not_paired_is_said(page: str) -> None:
    paired = section(page, "paired")
    lower, upper = (f"{100 * bound:+.2f}" for bound in interval(3, 1, 40))
    cells = re.findall(r">([^<>]+)</td>", paired)
    assert cells[1:10] == ["b", "40", "90.00", "+5.00", lower, upper, "3", "1", "0.625"]
    assert "NOT PAIRED" in paired and "they were judged on other images" in paired


def test_every_run_has_its_colour_everywhere(page: str) -> None:
    for place, name in enumerate(("&lt;b&gt;a", "b", "c"), 1):
        assert f'class="run-{place}">{name}' in page
    assert "var(--run-1)" in section(page, "front")


def test_equal_runs_are_said_to_be_so(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    page = comparison_page(compare_runs([tmp_path / "a", tmp_path / "b"]))
    assert "made of the same" in section(page, "differences")
