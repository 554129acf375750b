"""`swin-deploy report`: the page anew, and what cannot be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

import cli.main
from swin_deploy.manifest import write_manifest
from tests.report.full_run import full_run, write_finish


def test_the_report_is_written_with_what_the_device_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(full_run(), tmp_path)
    finish = write_finish(tmp_path / "finish.json")
    assert cli.main.status_of(["report", str(tmp_path), "--finish", str(finish)]) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert "Imagined Orin" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert cli.main.status_of(["report", str(tmp_path)]) == 0
    assert "Imagined Orin" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_folder_without_a_run_ends_with_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main.status_of(["report", str(tmp_path)]) == 5
    assert "manifest" in capsys.readouterr().err


def test_an_unusable_finish_ends_with_5_and_leaves_the_report(tmp_path: Path) -> None:
    write_manifest(full_run(), tmp_path)
    (tmp_path / "finish.json").write_text("{}", encoding="utf-8")
    assert cli.main.status_of(["report", str(tmp_path), "--finish", str(tmp_path / "finish.json")]) == 5
    assert not (tmp_path / "report.html").exists()


def test_a_report_without_a_run_is_a_fault_of_usage() -> None:
    assert cli.main.status_of(["report"]) == 2
