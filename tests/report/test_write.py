"""Reports on the disk: all of their files are known, so that a fresh run can clear them away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_deploy.errors import BadInput
from swin_deploy.manifest import FILE_NAME, write_manifest
from swin_deploy.report.finish_file import read_finish
from swin_deploy.report.write import report_files, rewrite_report, write_report
from tests.report.example_run import example_run
from tests.report.full_run import full_run, write_finish


def test_a_report_consists_of_known_files(tmp_path: Path) -> None:
    write_report(full_run(), tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written <= set(report_files())
    assert {"report.md", "report.html", "int8.blocks.svg", "fp8.blocks.svg"} <= written


def test_a_report_is_written_anew_from_the_manifest_alone(tmp_path: Path) -> None:
    write_report(full_run(), tmp_path)
    before = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        path.unlink()
    write_manifest(full_run(), tmp_path)
    assert rewrite_report(tmp_path) == tmp_path / "report.html"
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in before} == before


def test_device_results_stand_in_both(tmp_path: Path) -> None:
    write_manifest(example_run(), tmp_path)
    finish = read_finish(write_finish(tmp_path / "finish.json", failed=True))
    page = rewrite_report(tmp_path, [finish]).read_text(encoding="utf-8")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    for text in ("Imagined Orin", "slot 31 of batch 32", "TensorRT 8.6 has no FP8"):
        assert text in page and text in markdown
    assert "| int8 | FAIL | 1 | 63.0 | 100.00 | - | - | - |" in markdown


@pytest.mark.parametrize("key", ["recipe", "evaluation", "steps"])
def test_a_damaged_manifest_is_unusable_input_and_no_defect(tmp_path: Path, key: str) -> None:
    write_manifest(example_run(), tmp_path)
    raw = json.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    if key == "steps":
        raw["steps"][2]["rows"][0]["measurement"] = {"oracle": 3}
    else:
        raw[key] = {}
    (tmp_path / FILE_NAME).write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(BadInput):
        rewrite_report(tmp_path)
