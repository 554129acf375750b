"""Runs that can be compared, and those that cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swin_deploy.comparison.compared_run import open_runs
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import write_manifest
from tests.comparison.two_runs import write_run
from tests.report.example_run import backbone_run, example_run


def test_runs_are_called_by_as_much_of_their_path_as_tells_them_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "monday" / "run", tmp_path / "tuesday" / "run"]
    for folder in folders:
        write_run(folder)
    assert [run.name for run in open_runs(folders)] == ["monday/run", "tuesday/run"]
    write_run(tmp_path / "other")
    assert [run.name for run in open_runs([folders[0], tmp_path / "other"])] == ["run", "other"]


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    for folders, seen in (
        ([], "no run to compare"),
        ([tmp_path / "a"], "one run to compare"),
        ([tmp_path / "a", tmp_path / "b" / ".." / "a"], "named twice"),
    ):
        with pytest.raises(UsageFault, match=seen):
            open_runs(folders)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write_manifest(replace(example_run(), status=None), tmp_path / "b")
    with pytest.raises(BadInput, match="not finished"):
        open_runs([tmp_path / "a", tmp_path / "b"])


def test_runs_of_two_tasks_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write_manifest(backbone_run(), tmp_path / "b")
    with pytest.raises(BadInput, match="different tasks: backbone, classifier"):
        open_runs([tmp_path / "a", tmp_path / "b"])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    with pytest.raises(BadInput):
        open_runs([tmp_path / "a", tmp_path])
