"""bundle.json is read back as it was written, and refused where it contradicts itself; see test_finish.py for files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from board import write_bundle

from swin_deploy.device.bundle_file import Bundle, read_bundle
from swin_deploy.errors import BadInput


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_what_was_written_is_read_back(folder: Path) -> None:
    read = read_bundle(folder)
    raw = json.loads((folder / "bundle.json").read_text())
    assert read.facts() == raw
    assert Bundle.from_facts(raw) == replace(read, sha256="")
    assert len(read.sha256) == 64
    assert read.check_files(folder) == sum(facts.bytes for facts in read.files.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"kind": "something else"},
        {"batches": [4, 2, 1]},
        {"batches": [1, 2]},
        {"engines": []},
        {"labels": "labels.txt"},
        {"limits": {"workspace_mib": 1}},
        {"name": "../x"},
    ],
)
def test_a_bundle_that_contradicts_itself_is_refused(changes: dict[str, Any], folder: Path) -> None:
    raw = {**json.loads((folder / "bundle.json").read_text()), **changes}
    (folder / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput):
        read_bundle(folder)


@pytest.mark.parametrize("key", ["onnx", "triton"])
def test_an_engine_that_reads_or_writes_outside_is_refused(key: str, folder: Path) -> None:
    raw = json.loads((folder / "bundle.json").read_text())
    raw["engines"][0][key] = "../../etc/passwd"
    (folder / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput):
        read_bundle(folder)


def test_two_engines_of_one_name_are_refused(folder: Path) -> None:
    raw = json.loads((folder / "bundle.json").read_text())
    raw["engines"] *= 2
    (folder / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput, match=r"\['fp16', 'fp16'\]"):
        read_bundle(folder)


def test_a_kernel_program_is_read_back_and_must_be_there(tmp_path: Path) -> None:
    written = write_bundle(tmp_path, kernels="8.7")
    read = read_bundle(tmp_path)
    assert read.programs == written.programs and read.programs[0].profile == "kernels"
    raw = json.loads((tmp_path / "bundle.json").read_text())
    del raw["files"]["kernels/fp16/program.json"]
    (tmp_path / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput, match=r"kernels/fp16/program\.json and has no hash"):
        read_bundle(tmp_path)


def test_a_kernel_program_with_an_engines_name_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path, kernels="8.7")
    raw = json.loads((tmp_path / "bundle.json").read_text())
    raw["programs"][0]["name"] = "fp16"
    (tmp_path / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput, match=r"\['fp16', 'fp16'\]"):
        read_bundle(tmp_path)


def test_a_bundle_of_before_there_were_programs_is_read(folder: Path) -> None:
    raw = json.loads((folder / "bundle.json").read_text())
    del raw["programs"]
    (folder / "bundle.json").write_text(json.dumps(raw))
    assert read_bundle(folder).programs == ()


def test_no_bundle_at_all_is_explained(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unpacked bundle"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput):
        read_bundle(tmp_path)
