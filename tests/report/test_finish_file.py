"""What a device wrote is read whole, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.errors import BadInput
from swin_deploy.report.finish_file import read_finish
from swin_deploy.report.measured_times import latency_lines
from tests.report.example_run import example_run
from tests.report.full_run import finish_json, write_finish


def written(folder: Path, raw: Any) -> Path:
    path = folder / "finish.json"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw), encoding="utf-8")
    return path


def test_everything_is_read(tmp_path: Path) -> None:
    finish = read_finish(write_finish(tmp_path / "finish.json", failed=True))
    assert (finish.name, finish.status, finish.verdict) == ("Imagined Orin", 4, "FAIL: int8 did not pass the gates")
    assert [(engine.name, engine.verdict) for engine in finish.engines] == [
        ("fp16", "PASS"),
        ("int8", "FAIL"),
        ("fp8", "SKIPPED"),
    ]
    fp16, int8, fp8 = finish.engines
    assert fp16.batches["32"] == {"sqnr_db": 63.0, "agreement": 1.0, "images": 32}
    assert [line.batch for line in fp16.latency] == [1, 8, 32] and fp16.latency[0].device == "Imagined Orin"
    assert int8.checks[0]["check"] == "slots"
    assert (fp8.file, fp8.batches, fp8.reason) == ("", {}, "TensorRT 8.6 has no FP8")


def test_what_stopped_an_engine_is_its_reason(tmp_path: Path) -> None:
    raw = finish_json()
    raw["engines"][0]["error"] = {"message": "out of memory", "status": 6}
    assert read_finish(written(tmp_path, raw)).engines[0].reason == "out of memory"


def broken(**changes: Any) -> dict[str, Any]:
    return {**finish_json(), **changes}


def spoiled(key: str, value: Any) -> dict[str, Any]:
    raw = finish_json()
    raw["engines"][0][key] = value
    return raw


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "no JSON",
        json.dumps(finish_json()).replace('"sqnr_db": 63.0', '"sqnr_db": NaN', 1),
        {},
        broken(kind="comparison"),
        broken(schema_version=2),
        broken(engines={}),
        broken(engines=[3]),
        broken(device=None),
        broken(status="fine"),
        spoiled("batches", {"1": {"agreement": 1.0}}),
        spoiled("batches", {"one": {"sqnr_db": 1.0, "images": 1}}),
        spoiled("latency", [{"batch": 1}]),
        spoiled("checks", [{"check": "sqnr"}]),
        spoiled("audit", 3),
    ],
)
def test_anything_else_is_refused_with_status_5(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(BadInput) as caught:
        read_finish(written(tmp_path, raw))
    assert caught.value.exit_code == 5


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        read_finish(tmp_path / "finish.json")


def test_what_the_device_program_writes_can_be_read(tmp_path: Path) -> None:
    """The two sides of the contract, held together."""
    from swin_deploy.artifact import Precision
    from swin_deploy.device.bundle_file import BundleEngine
    from swin_deploy.device.closeness import Closeness, Judgement, Verdict
    from swin_deploy.device.distances import Distance
    from swin_deploy.device.finish_result import EngineResult
    from swin_deploy.device.fixture_replay import Replay

    gate = Closeness(50.0, 50.0, 0.98, 40.0)
    engine = BundleEngine("fp16", Precision.FP16, "trt86", "fp16.onnx", gate, gate, {}, 10)
    replay = Replay({8: Distance(8, True, 61.5, 0.01, 1.0)}, ())
    check = Judgement("sqnr", Verdict.PASS, "61.5 dB")
    results = (
        EngineResult(engine, Verdict.PASS, "fp16.plan", (check,), replay),
        EngineResult(engine, Verdict.SKIPPED, reason="no GPU"),
        EngineResult(engine, Verdict.FAIL, error=BadInput("a damaged graph", needed="a whole one")),
    )
    raw = {**finish_json(), "engines": [result.facts() for result in results]}
    passed, skipped, stopped = read_finish(written(tmp_path, raw)).engines
    assert passed.batches["8"]["sqnr_db"] == 61.5 and passed.checks[0]["verdict"] == "PASS"
    assert skipped.reason == "no GPU" and stopped.reason.startswith("a damaged graph")


def test_a_file_that_is_not_there_or_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.json does not exist\. Needed: the finish\.json"):
        read_finish(tmp_path / "none.json")
    path = written(tmp_path, broken(kind="bench"))
    with pytest.raises(BadInput, match=f"{path} is no device's result"):
        read_finish(path)


def test_a_finish_that_still_goes_on_is_refused_and_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="still goes on"):
        read_finish(written(tmp_path, broken(status=None)))


def test_a_proof_on_a_cpu_is_no_device_that_was_timed(tmp_path: Path) -> None:
    proof = read_finish(written(tmp_path, broken(tool={"package": "onnxruntime", "version": "1.32.0"})))
    assert proof.name == "Imagined Orin, ONNX Runtime"
    engine = read_finish(write_finish(tmp_path / "engine.json"))
    assert latency_lines(example_run(), [engine]) and not latency_lines(example_run(), [proof])
