"""The result file: read back as it was written, gone on with, and never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.record import Cell, Results, Row, opened, read, still_to_do
from swin_deploy.errors import BadInput, UsageFault

HERE = {"gpu": "a GPU", "torch": "2.14"}
ROW = Row("ours", "fp16", ms=1.5, p10_ms=1.4, p90_ms=1.6, calls=10, steady=True, ratio=2.0, relative_error=1e-3)


def results(**cells: str) -> Results:
    found = Results("gpu-swin", HERE, {"bandwidth": 1.0})
    for name, code in cells.items():
        found = found.with_cell(name, Cell(code, 3.0, (ROW, Row("other", "fp16", missing="not here")), {"a": [1]}))
    return found


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = results(a="1", b="2")
    written.write(tmp_path / "r.json")
    assert read(tmp_path / "r.json", "gpu-swin") == written
    assert opened(tmp_path / "r.json", "gpu-swin", HERE) == written
    assert opened(tmp_path / "none.json", "gpu-swin", HERE) == Results("gpu-swin", HERE)


def test_another_device_is_refused_by_what_differs(tmp_path: Path) -> None:
    results().write(tmp_path / "r.json")
    with pytest.raises(UsageFault, match=r"torch 2\.14 there, 2\.11 here"):
        opened(tmp_path / "r.json", "gpu-swin", {**HERE, "torch": "2.11"})


@pytest.mark.parametrize("change", [{"kind": "waterfall"}, {"schema_version": 2}, {"cells": {"a": {}}}, {"cells": 3}])
def test_a_file_of_something_else_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    results(a="1").write(tmp_path / "r.json")
    raw = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps({**raw, **change}))
    with pytest.raises(BadInput, match="cannot be gone on with"):
        read(tmp_path / "r.json", "gpu-swin")


def test_what_is_missing_comes_first_and_what_changed_after() -> None:
    found = results(a="old", c="new+tuned", d="new")
    assert still_to_do(found, ["a", "b", "c", "d"], "new") == ["b", "a"]
    assert still_to_do(found, ["a", "b", "c", "d"], "new+tuned") == ["b", "a", "d"]


def test_a_row_that_did_not_run_is_no_row_to_compare_with() -> None:
    cell = results(a="1").cells["a"]
    assert cell.row("ours") == ROW
    assert cell.row("other") is None and cell.row("unknown") is None
