"""`swin-deploy bisect`: its statuses, its words and its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import status_of
from tests.bisect.planted_faults import loud_values, nan_weight, run_of
from tests.chain import Chain

QUICK = ["--images", "4", "--backend", "onnxruntime", "--metric", "finite"]


def test_a_found_block_is_told_with_what_is_sure_and_what_was_written(
    v1: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(1)])
    assert status_of(["bisect", str(folder), "fp16", *QUICK]) == 0
    told = capsys.readouterr()
    assert "PASS: finite outputs with 1 block in FP32: blocks.1" in told.out
    assert "Smallest: with none raised the gate fails." in told.out
    assert str(folder / "fp16.bisected.onnx") in told.out
    assert "not met" in told.err and "Build a run" not in told.out


def test_json_is_what_stands_in_the_file(v1: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(0), loud_values(3)])
    assert status_of(["bisect", str(folder), "fp16.onnx", *QUICK, "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found == json.loads((folder / "fp16.bisect.json").read_text()) and not told.err
    assert found["blocks"] == ["blocks.0", "blocks.3"] and found["smallest"]
    assert found["judged"] == found["measured"] <= found["judged_at_most"]
    assert set(found["alone_raised"]) == set(found["alone_lowered"]) == set(found["candidates"])


def test_a_fault_that_nothing_mends_is_status_4(v1: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(v1, tmp_path, fp32=[nan_weight(2)])
    assert status_of(["bisect", str(folder), "fp16", *QUICK, "--quiet"]) == 4
    told = capsys.readouterr()
    assert "FAIL: even with every block in FP32" in told.out and not told.err


def test_wrong_requests_have_the_documented_statuses(
    v1: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_of(v1, tmp_path)
    assert status_of(["bisect", str(folder), "fp64"]) == 2
    assert status_of(["bisect", str(folder), "fp16", "--metric", "finite", "--need", "3"]) == 2
    assert status_of(["bisect", str(tmp_path / "nowhere"), "fp16"]) == 5
    assert status_of(["bisect", str(folder), "fp8", *QUICK]) == 5
    assert status_of(["bisect", str(folder), "fp16", "--data", str(tmp_path / "nowhere")]) == 5
    (folder / "fp16.bisect.jsonl").write_text("my thesis\n")
    assert status_of(["bisect", str(folder), "fp16", *QUICK, "--resume"]) == 5
    assert "is no log of mixtures of precisions" in capsys.readouterr().err
