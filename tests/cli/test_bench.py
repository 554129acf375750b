"""`bench` at the command line: what it prints, writes and ends with. The runtimes are stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import status_of
from swin_deploy.benchmark.times_files import times_files
from swin_deploy.manifest import read_manifest
from tests.benchmark.finished_run import FakeSession, run_folder

QUICK = ("--rounds", "3", "--calls", "2", "--warmup", "1", "--warmup-seconds", "0", "--threads", "1")
QUICK += ("--no-memory", "--no-roofline", "--quiet")
GRAPHS = [("fp32.onnx", "onnx", "fp32"), ("fp16.onnx", "onnx", "fp16")]
ENGINE = ("fp16.rtx.plan", "rtx-plan", "fp16")


@pytest.fixture(autouse=True)
def no_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_deploy.backends.onnxruntime.OnnxRuntime.open", lambda self, artifact: FakeSession())
    monkeypatch.setattr(
        "swin_deploy.backends.tensorrt.TensorRTBackend.unavailable", lambda self, artifact: "no NVIDIA GPU"
    )


def bench(*arguments: object) -> int:
    return status_of(["bench", *map(str, arguments), *QUICK])


@pytest.mark.parametrize("batches", [("--batch", "1,8"), ("--batch", "1", "--batch", "8"), ("--batch", "1,8,1")])
def test_batches_are_listed_or_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], batches: tuple[str, ...]
) -> None:
    assert bench(*run_folder(tmp_path / "a", GRAPHS), *batches, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [(line["precision"], line["batch"]) for line in said["lines"]] == [
        ("fp32", 1),
        ("fp16", 1),
        ("fp32", 8),
        ("fp16", 8),
    ]


@pytest.mark.parametrize("batch", ["0", "a", "1,,2", "1.5"])
def test_a_batch_that_is_no_number_is_refused(tmp_path: Path, batch: str) -> None:
    assert bench(tmp_path, "--batch", batch) == 2


def test_an_unknown_peer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(*run_folder(tmp_path / "a", GRAPHS), "--peers", "eager,keras") == 2
    assert "naive-tensorrt" in capsys.readouterr().err


def test_what_was_skipped_is_printed_and_the_status_is_the_users_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = run_folder(tmp_path / "a", [*GRAPHS, ENGINE])
    assert bench(*files) == 0
    printed = capsys.readouterr().out
    assert "SKIPPED a/fp16.rtx.plan (tensorrt_rtx, fp16): no NVIDIA GPU" in printed
    assert "a/fp32.onnx" in printed and "1.00 (1.00-1.00)" in printed
    assert bench(*files, "--require") == 3
    assert bench(*files[:2], "--require") == 0


def test_with_nothing_to_time_the_status_is_3_and_the_reason_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (engine,) = run_folder(tmp_path / "a", [ENGINE])
    assert bench(engine) == 3
    assert "no NVIDIA GPU" in capsys.readouterr().out
    assert bench(engine, "--record", "--json") == 3
    assert json.loads(capsys.readouterr().out)["skipped"][0]["reason"] == "no NVIDIA GPU"
    assert read_manifest(tmp_path / "a").speed is None


def test_the_json_is_written_as_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    assert bench(*run_folder(tmp_path / "a", GRAPHS), "--json", "--out", out) == 0
    assert json.loads(out.read_text()) == json.loads(capsys.readouterr().out)


def test_every_call_is_written_as_trtexec_does(tmp_path: Path) -> None:
    files = run_folder(tmp_path / "a", GRAPHS)
    assert bench(files[0], "--export-times", tmp_path / "times.json") == 0
    records = json.loads((tmp_path / "times.json").read_text())
    assert len(records) == 6 and records[0]["startH2dMs"] == 0 and "latencyMs" in records[0]
    assert bench(*files, "--batch", "1,2", "--export-times", tmp_path / "many.json") == 0
    assert sorted(path.name for path in tmp_path.glob("many.*")) == [
        "many.0-fp32.onnx-fp32-b1.json",
        "many.1-fp16.onnx-fp16-b1.json",
        "many.2-fp32.onnx-fp32-b2.json",
        "many.3-fp16.onnx-fp16-b2.json",
    ]


def test_no_two_lines_share_a_file() -> None:
    from swin_deploy.device.benchmark_line import Line, Ratio
    from swin_deploy.device.latency import summarised

    line = Line("onnxruntime, naive export", "x", 1, "fp16", True, summarised([1.0]), Ratio(1, 1, 1))
    first, second = times_files(Path("t.json"), [line, line])
    assert first != second
    assert first.name == "t.0-onnxruntime_naive_export-fp16-b1-graph.json"


def test_a_recorded_benchmark_stands_in_the_run(tmp_path: Path) -> None:
    assert bench(*run_folder(tmp_path / "a", GRAPHS), "--record") == 0
    speed = read_manifest(tmp_path / "a").speed
    assert speed is not None and speed["schema_version"] == 2
    assert [line["artifact"] for line in speed["lines"]] == ["a/fp32.onnx", "a/fp16.onnx"]
