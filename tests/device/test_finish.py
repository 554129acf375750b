"""The whole way on a device: runner.py as a process, from a bundle's own code, under imitated TensorRTs and GPUs.

Every fault has the status that docs/bundle.md gives it, and a sentence that names it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board import BATCHES, PROFILES, Board, oldest_python, rehash, write_bundle

from swin_deploy.atomic import file_sha256
from swin_deploy.device import finish as finish_module
from swin_deploy.device.finish import FinishOptions, finish
from swin_deploy.errors import EnvironmentFault, UsageFault

VERSION = "10.3.0"
QUICK = ("finish", "--no-bench")
# An engine that computes in FP32 what was to be FP16, as a TensorRT 11 listing says it.
WIDE = (
    "Layers:\nName: m, LayerType: gemm, Inputs: [ { Name: a, Dimensions: [4,4], Datatype: Float, Format: Linear }], "
    "Constants: [], Outputs: [ { Name: b, Dimensions: [4,4], Datatype: Float, Format: Linear }], TacticName: , "
    "Metadata: "
)


@pytest.fixture(params=["this Python", "Python 3.8"])
def python(request: pytest.FixtureRequest) -> str:
    if request.param == "this Python":
        return sys.executable
    found = oldest_python()
    if found is None:
        pytest.skip("no Python 3.8 with NumPy: neither .venv-python38 nor on the path")
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write_bundle(folder)
    return folder


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "finished/finish.json").read_text())
    return found


def standing(folder: Path) -> set[str]:
    """The plans and side-cars that stand in the folder `finished`."""
    return {path.name for path in (folder / "finished").glob("fp16.plan*") if "build" not in path.name} - {
        "fp16.plan.layers.txt.gz"
    }


@pytest.mark.parametrize("version", list(PROFILES))
def test_an_engine_is_built_proven_and_named_under_every_version(version: str, python: str, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, profile=PROFILES[version])
    run = Board.make(tmp_path / "site", version, python=python).run(folder, *QUICK)
    assert run.returncode == 0, run.stderr
    assert "**PASS: fp16**" in run.stdout
    found = report(folder)
    (engine,) = found["engines"]
    assert (found["schema_version"], found["kind"], found["status"]) == (1, "finish", 0)
    assert found["tool"] == {"package": "tensorrt", "version": version, "profile": PROFILES[version]}
    assert found["device"]["gpu"] == "Imaginary GPU"
    assert (engine["verdict"], engine["file"]) == ("PASS", "fp16.plan")
    assert list(engine["batches"]) == [str(size) for size in BATCHES]
    assert {check["check"] for check in engine["checks"]} >= {"finite", "sqnr", "agreement", "slots"}
    assert engine["audit"]["kernels"] == 1
    assert standing(folder) == {"fp16.plan", "fp16.plan.json"}
    assert not list(folder.rglob("*.pyc")), "compiled code would outlive the code of the next bundle"


def test_engines_are_timed_and_times_written_as_trtexec_does(bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", VERSION).run(bundle, "finish", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found == report(bundle)
    lines = found["engines"][0]["latency"]
    assert [line["batch"] for line in lines] == list(BATCHES)
    assert all(len(line["quantiles_ms"]) == 101 and line["compute_ms"] == 1.5 for line in lines)
    assert found["engines"][0]["telemetry"]["source"] == "none"
    records = json.loads((bundle / "finished/fp16.batch2.times.json").read_text())
    assert records[0]["computeMs"] == 1.5
    again = Board.make(tmp_path / "site", VERSION).run(bundle, "bench")
    assert again.returncode == 0, again.stderr
    assert (bundle / "finished/bench.json").is_file()


def test_the_limits_of_the_bundle_and_of_the_options_reach_the_build(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    assert board.run(bundle, *QUICK).returncode == 0
    assert report(bundle)["engines"][0]["build"]["workspace_mib"] == 256
    assert board.run(bundle, *QUICK, "--workspace", "64", "--memory-limit", "128").returncode == 0
    build = report(bundle)["engines"][0]["build"]
    assert (build["workspace_mib"], build["memory_limit_mib"], build["reused"]) == (64, 128, False)
    assert (bundle / "finished/tensorrt.timing-cache").is_file()


def test_a_finished_engine_is_proven_again_and_not_built_again(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    assert board.run(bundle, *QUICK).returncode == 0
    refusing = Board.make(tmp_path / "site", VERSION, refuses="no build is expected")
    run = refusing.run(bundle, *QUICK)
    assert run.returncode == 0, run.stderr
    assert report(bundle)["engines"][0]["build"]["reused"] is True
    assert standing(bundle) == {"fp16.plan", "fp16.plan.json"}


def test_a_damaged_finished_engine_is_built_again(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    assert board.run(bundle, *QUICK).returncode == 0
    (bundle / "finished/fp16.plan").write_bytes(b"plax")
    assert board.run(bundle, *QUICK).returncode == 0
    assert report(bundle)["engines"][0]["build"]["reused"] is False


@pytest.mark.parametrize(
    "other", [{"version": "11.4.0.106"}, {"version": VERSION, "capability": "8.6"}, {"version": VERSION, "sms": 16}]
)
def test_an_engine_of_another_version_or_gpu_is_built_again(
    other: dict[str, Any], bundle: Path, tmp_path: Path
) -> None:
    assert Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK).returncode == 0
    board = Board.make(
        tmp_path / "site",
        other["version"],
        capability=other.get("capability", "8.7"),
        multiprocessors=other.get("sms", 28),
    )
    run = board.run(bundle, *QUICK)
    assert run.returncode == 0, run.stderr
    assert report(bundle)["engines"][0]["build"]["reused"] is False


@pytest.mark.parametrize(
    ("other", "status", "named"),
    [
        ({"version": "11.4.0.106"}, 5, "was built with tensorrt 10.3.0, and tensorrt 11.4.0.106 is here"),
        ({"version": VERSION, "capability": "8.6"}, 3, "compute capability 8.6"),
    ],
)
def test_timing_an_engine_of_another_version_or_gpu_is_refused(
    other: dict[str, Any], status: int, named: str, bundle: Path, tmp_path: Path
) -> None:
    assert Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK).returncode == 0
    run = Board.make(tmp_path / "site", **other).run(bundle, "bench")
    assert run.returncode == status
    assert named in run.stderr


@pytest.mark.parametrize(
    ("computes", "check", "named"),
    [
        ("swapped", "slots", "slot 0 of batch 2 shows image 1 instead of 0"),
        ("first", "slots", "slot 1 of batch 2 shows image 0 instead of 1"),
        ("broken", "finite", "NaN or Inf at batch 1, 2, 4"),
    ],
)
def test_an_engine_that_answers_wrongly_is_rejected_with_status_4(
    computes: str, check: str, named: str, bundle: Path, tmp_path: Path
) -> None:
    run = Board.make(tmp_path / "site", VERSION, computes=computes).run(bundle, *QUICK)
    assert run.returncode == 4, run.stderr
    (engine,) = report(bundle)["engines"]
    (detail,) = [entry["detail"] for entry in engine["checks"] if entry["check"] == check]
    assert named in detail
    assert (engine["verdict"], engine["file"]) == ("FAIL", "fp16.plan.rejected")
    assert standing(bundle) == {"fp16.plan.rejected", "fp16.plan.rejected.json"}
    assert "did not pass the gates" in run.stdout


def test_an_engine_that_turns_bad_loses_its_name(bundle: Path, tmp_path: Path) -> None:
    assert Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK).returncode == 0
    assert Board.make(tmp_path / "site", VERSION, computes="first").run(bundle, *QUICK).returncode == 4
    assert standing(bundle) == {"fp16.plan.rejected", "fp16.plan.rejected.json"}
    assert Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK).returncode == 0
    assert standing(bundle) == {"fp16.plan", "fp16.plan.json"}
    assert report(bundle)["engines"][0]["build"]["reused"] is True


def test_a_plan_that_passed_goes_into_the_triton_repository_and_one_that_failed_leaves_it(tmp_path: Path) -> None:
    folder, plan = tmp_path / "bundle", tmp_path / "bundle/model_repository/m/1/model.plan"
    write_bundle(folder, triton="model_repository/m")
    assert Board.make(tmp_path / "site", VERSION).run(folder, *QUICK).returncode == 0
    assert plan.read_bytes() == (folder / "finished/fp16.plan").read_bytes()
    assert Board.make(tmp_path / "site", VERSION, computes="swapped").run(folder, *QUICK).returncode == 4
    assert not plan.exists()


def test_an_interrupted_call_leaves_a_report_without_a_status(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(finish_module, "_timed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finish(bundle, FinishOptions(backend="onnxruntime"), lambda text: None)
    stored = json.loads((bundle / "finished/onnxruntime/finish.json").read_text())
    assert (stored["status"], stored["verdict"]) == (None, "not finished")


def test_an_engine_in_another_precision_than_asked_is_rejected_though_its_answers_are_right(
    bundle: Path, tmp_path: Path
) -> None:
    run = Board.make(tmp_path / "site", VERSION, listing=WIDE).run(bundle, *QUICK)
    assert run.returncode == 4, run.stdout
    (engine,) = report(bundle)["engines"]
    failed = [entry["check"] for entry in engine["checks"] if entry["verdict"] == "FAIL"]
    assert failed == ["audit: precision"]


def test_a_refused_build_is_status_5_and_keeps_the_log(bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", VERSION, parser_errors=("no such operator",)).run(bundle, *QUICK)
    assert run.returncode == 5
    assert "no such operator" in run.stderr
    assert report(bundle)["engines"][0]["error"]["status"] == 5
    assert not standing(bundle)


def test_a_build_out_of_memory_is_status_6(bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", VERSION, refuses="Error Code 2: OutOfMemory").run(bundle, *QUICK)
    assert run.returncode == 6
    assert "memory" in run.stderr


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.onnx", "fixtures/images.npy", "fixtures/oracle-0.npy"])
@pytest.mark.parametrize("command", ["check", "finish"])
def test_a_tampered_file_is_status_5_and_named(name: str, command: str, bundle: Path, tmp_path: Path) -> None:
    flip(bundle / name)
    run = Board.make(tmp_path / "site", VERSION).run(bundle, command)
    assert run.returncode == 5
    assert f"{name} has SHA-256" in run.stderr
    assert not (bundle / "finished").exists()


def test_a_missing_file_a_short_one_and_a_link_are_status_5(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    content = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(content[:-1])
    run = board.run(bundle, "check")
    assert (run.returncode, "model.onnx has 6 bytes" in run.stderr) == (5, True)
    (bundle / "model.onnx").unlink()
    run = board.run(bundle, "check")
    assert (run.returncode, "model.onnx is missing" in run.stderr) == (5, True)
    (tmp_path / "elsewhere").write_bytes(content)
    (bundle / "model.onnx").symlink_to(tmp_path / "elsewhere")
    run = board.run(bundle, "check")
    assert (run.returncode, "or a link" in run.stderr) == (5, True)


def test_a_sound_bundle_passes_the_check(bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", VERSION).run(bundle, "check")
    assert (run.returncode, "hashes as packed" in run.stderr) == (0, True)


@pytest.mark.parametrize("which", ["images.npy", "oracle-0.npy"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fixtures_with_nan_or_inf_are_status_5_whatever_their_hashes(
    which: str, value: float, bundle: Path, tmp_path: Path
) -> None:
    values = np.load(bundle / "fixtures" / which)
    values[2, 1] = value
    np.save(bundle / "fixtures" / which, values)
    rehash(bundle)
    run = Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK)
    assert run.returncode == 5
    assert "hold NaN or Inf, first in row 2" in run.stderr


def test_fixtures_for_fewer_slots_than_the_largest_batch_are_status_5(bundle: Path, tmp_path: Path) -> None:
    for name in ("images.npy", "oracle-0.npy"):
        np.save(bundle / "fixtures" / name, np.load(bundle / "fixtures" / name)[:3])
    rehash(bundle)
    run = Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK)
    assert (run.returncode, "one for each slot of the largest batch, 4" in run.stderr) == (5, True)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "lib/../../x", "a/./b", "a//b"])
def test_a_bundle_that_names_a_file_outside_is_status_5(name: str, bundle: Path, tmp_path: Path) -> None:
    raw = json.loads((bundle / "bundle.json").read_text())
    raw["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (bundle / "bundle.json").write_text(json.dumps(raw))
    run = Board.make(tmp_path / "site", VERSION).run(bundle, "check")
    assert run.returncode == 5
    assert name in run.stderr


@pytest.mark.parametrize("name", ["../fp16", "", ".hidden", "a/b"])
def test_an_engine_whose_name_is_a_path_is_status_5(name: str, bundle: Path, tmp_path: Path) -> None:
    raw = json.loads((bundle / "bundle.json").read_text())
    raw["engines"][0]["name"] = name
    (bundle / "bundle.json").write_text(json.dumps(raw))
    assert Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK).returncode == 5


def test_a_bundle_for_another_tensorrt_is_status_5_and_says_how_to_pack_it(bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", "8.6.1").run(bundle, *QUICK)
    assert run.returncode == 5
    assert "reads the profile trt86, and this bundle holds strong" in run.stderr
    assert "swin-deploy bundle --tensorrt 8.6" in run.stderr


def test_an_unknown_tensorrt_no_tensorrt_and_no_gpu_are_status_3(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    text = (board.site / "tensorrt.py").read_text()
    (board.site / "tensorrt.py").write_text("__version__ = '7.2.3'\n")
    run = board.run(bundle, *QUICK)
    assert (run.returncode, "tensorrt 7.2.3" in run.stderr) == (3, True)
    (board.site / "tensorrt.py").write_text("raise ImportError('libnvinfer.so is missing')\n")
    run = board.run(bundle, *QUICK)
    assert (run.returncode, "--backend onnxruntime" in run.stderr) == (3, True)
    (board.site / "tensorrt.py").write_text(text)
    (board.site / "sitecustomize.py").write_text(
        (board.site / "sitecustomize.py").read_text().replace("multiprocessors=28", "multiprocessors=28, devices=0")
    )
    run = board.run(bundle, *QUICK)
    assert (run.returncode, "no GPU to build for" in run.stderr) == (3, True)


@pytest.mark.parametrize(
    "options",
    [
        ("--precision", "int8"),
        ("--precision", "fp17"),
        ("--sm", "8.6"),
        ("--backend", "keras"),
        ("--workspace", "0"),
        ("--unknown",),
    ],
)
def test_a_wrong_option_is_status_2(options: tuple[str, ...], bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", VERSION).run(bundle, "finish", *options)
    assert run.returncode == 2
    assert "Traceback" not in run.stderr


def test_too_little_memory_is_status_6_with_the_estimate(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    from tensorrt_fakes import FakeDriver, fake_tensorrt

    from swin_deploy.device import finish_tensorrt

    driver = FakeDriver("8.7")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(VERSION, driver=driver))
    monkeypatch.setattr(finish_tensorrt, "free_memory_mib", lambda: 1500)
    result = finish(bundle, FinishOptions(bench=False), lambda text: None)
    (entry,) = result.engines
    assert isinstance(entry.error, EnvironmentFault)
    assert "1500 MiB of memory are free" in str(entry.error) and "libraries 2048" in str(entry.error)
    assert result.facts()["status"] == 6


def test_an_interrupted_call_is_status_130_and_says_how_to_go_on(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(finish_module, "finish", interrupted)
    assert finish_module.main(["finish"], bundle) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_an_unknown_backend_or_precision_is_refused_at_once() -> None:
    with pytest.raises(UsageFault):
        FinishOptions(backend="keras")
    with pytest.raises(UsageFault):
        FinishOptions(precisions=("fp17",))


def test_an_earlier_conclusion_is_gone_as_soon_as_a_call_starts(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    pytest.importorskip("onnxruntime")
    stale = bundle / "finished/onnxruntime/finish.json"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"status": 0}')
    monkeypatch.setattr(finish_module, "_finished", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finish(bundle, FinishOptions(backend="onnxruntime"), lambda text: None)
    assert json.loads(stale.read_text())["status"] is None


def test_an_exchanged_plan_of_the_same_graph_is_built_again(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    assert board.run(bundle, *QUICK).returncode == 0
    plan, sidecar = bundle / "finished/fp16.plan", bundle / "finished/fp16.plan.json"
    plan.write_bytes(plan.read_bytes() + b"another precision's")
    facts = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**facts, "plan_sha256": file_sha256(plan)}))
    assert board.run(bundle, *QUICK).returncode == 0
    assert report(bundle)["engines"][0]["build"]["reused"] is False


def test_an_engine_of_another_graph_is_not_timed_as_the_bundles(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    assert board.run(bundle, *QUICK).returncode == 0
    flip(bundle / "model.onnx")
    rehash(bundle)
    run = board.run(bundle, "bench")
    assert (run.returncode, "was built from another graph" in run.stderr) == (5, True)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("limits", "build_seconds"), "soon"),
        (("limits", "workspace_mib"), -1),
        (("engines", 0, "gates", "engine", "sqnr_db"), float("-inf")),
        (("engines", 0, "gates", "engine", "agreement"), float("nan")),
        (("engines", 0, "gates", "engine", "sqnr_db"), "50"),
        (("model", "task"), "poetry"),
        (("packages",), ["keras"]),
        (("packages",), []),
    ],
)
def test_a_value_that_no_bundle_has_is_status_5(
    place: tuple[Any, ...], value: Any, bundle: Path, tmp_path: Path
) -> None:
    raw = json.loads((bundle / "bundle.json").read_text())
    holder = raw
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    (bundle / "bundle.json").write_text(json.dumps(raw))
    run = Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK)
    assert (run.returncode, "Traceback" in run.stderr) == (5, False), run.stderr


def test_a_fixture_without_rows_is_status_5(bundle: Path, tmp_path: Path) -> None:
    np.save(bundle / "fixtures/images.npy", np.float32(1))
    rehash(bundle)
    run = Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK)
    assert (run.returncode, "is no single array" in run.stderr) == (5, True), run.stderr


def test_a_refusal_of_the_system_is_a_sentence_and_status_6(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device", "/tmp/job.json")

    monkeypatch.setattr(finish_module, "finish", full)
    assert finish_module.main(["finish"], bundle) == 6
    assert "No space left on device" in capsys.readouterr().err
