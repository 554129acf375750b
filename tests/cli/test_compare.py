"""`swin-deploy compare`: tables, JSON, a page, and runs that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cli.main
from tests.comparison.two_runs import write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    write_run(tmp_path / "[red]a", (0, 1))
    write_run(tmp_path / "b", (1, 5, 6, 7), target="tensorrt")
    return [str(tmp_path / "[red]a"), str(tmp_path / "b")]


def test_the_tables_say_what_differs_and_what_came_of_it(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main.status_of(["compare", *runs]) == 0
    shown = capsys.readouterr().out
    for text in ("recipe: target", "rtx", "tensorrt", "literal Q/DQ", "+5.00", "0.625", "int8.rtx.plan", "[red]a"):
        assert text in shown, text


def test_json_can_be_read(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main.status_of(["compare", *runs, "--json"]) == 0
    raw = json.loads(capsys.readouterr().out)
    assert next(pair for pair in raw["pairs"] if pair["images"])["drop"]["lost"] == 3
    assert raw["differences"][0]["name"] == "target"


def test_a_page_is_written_where_it_is_asked_for(runs: list[str], tmp_path: Path) -> None:
    assert cli.main.status_of(["compare", *runs, "--html", str(tmp_path / "both.html")]) == 0
    assert "[red]a against b" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_ends_with_5(runs: list[str], tmp_path: Path) -> None:
    assert cli.main.status_of(["compare", runs[0], str(tmp_path)]) == 5


def test_one_run_is_a_fault_of_usage(runs: list[str]) -> None:
    assert cli.main.status_of(["compare", runs[0]]) == 2
    assert cli.main.status_of(["compare"]) == 2
