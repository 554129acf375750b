"""Kernel programs beside the engines, and alone: runner.py as a process, as in test_finish.py, on an imitated GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from board import BATCHES, GATE, Board, oldest_python, rehash, write_bundle
from toy_program import change

from swin_deploy.artifact import Precision
from swin_deploy.device.bundle_file import BundleProgram

VERSION = "10.3.0"
QUICK = ("finish", "--no-bench")
# Of a process: proving takes two, one for each recorded batch, and so none is left for timing.
_ONLY_TWO_GRAPHS = """
made, instantiate = [], driver._cuGraphInstantiateWithFlags


def limited(*given):
    made.append(given)
    return 2 if len(made) > 2 else instantiate(*given)


driver._cuGraphInstantiateWithFlags = limited
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write_bundle(folder, kernels="8.7")
    return folder


def engines(folder: Path, report: str = "finish.json") -> dict[str, Any]:
    found = json.loads((folder / "finished" / report).read_text())
    return {engine["name"]: engine for engine in found["engines"]}


def test_a_program_is_proven_and_timed_beside_the_engine(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    run = board.run(bundle, "finish", "--require", "engine")
    assert run.returncode == 0, run.stderr
    assert "**PASS: fp16, kernels-fp16**" in run.stdout
    assert "Started through a CUDA graph, unlike the others: kernels-fp16." in run.stdout
    own = engines(bundle)["kernels-fp16"]
    assert (own["verdict"], own["profile"], own["file"]) == ("PASS", "kernels", "kernels-fp16.proven.json")
    assert list(own["batches"]) == [str(size) for size in BATCHES]
    assert {check["check"] for check in own["checks"]} >= {"finite", "sqnr", "agreement", "slots"}
    assert [(line["backend"], line["cuda_graph"], line["compute_ms"]) for line in own["latency"]] == [
        ("kernels", True, 1.5)
    ] * len(BATCHES)
    assert not list(bundle.rglob("*.pyc")), "compiled code would outlive the code of the next bundle"
    again = board.run(bundle, "bench")
    assert again.returncode == 0, again.stderr
    assert engines(bundle, "bench.json")["kernels-fp16"]["latency"]


def test_a_board_with_the_oldest_python_proves_it_too(bundle: Path, tmp_path: Path) -> None:
    python = oldest_python()
    if python is None:
        pytest.skip("no Python 3.8 with NumPy: neither .venv-python38 nor on the path")
    run = Board.make(tmp_path / "site", VERSION, python=python).run(bundle, *QUICK)
    assert run.returncode == 0, run.stderr
    assert engines(bundle)["kernels-fp16"]["verdict"] == "PASS"


def test_a_program_needs_no_tensorrt(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    (board.site / "tensorrt.py").write_text("raise ImportError('libnvinfer.so is missing')\n")
    run = board.run(bundle, *QUICK)
    assert (run.returncode, "--backend kernels" in run.stderr) == (3, True)
    run = board.run(bundle, *QUICK, "--backend", "kernels", "--require", "engine")
    assert run.returncode == 0, run.stderr
    assert not (bundle / "finished/finish.json").exists(), "it does not stand for the engines"
    assert engines(bundle, "kernels/finish.json")["kernels-fp16"]["verdict"] == "PASS"


def test_without_kernels_for_this_gpu_it_is_skipped_and_the_engine_is_not_touched_by_that(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder, kernels="8.6")
    board = Board.make(tmp_path / "site", VERSION)
    run = board.run(folder, *QUICK, "--require", "engine")
    assert run.returncode == 0, run.stderr
    found = engines(folder)
    assert found["fp16"]["verdict"] == "PASS"
    assert (found["kernels-fp16"]["verdict"], found["kernels-fp16"]["file"]) == ("SKIPPED", None)
    reason = "the GPU here has compute capability 8.7, and the kernels were compiled for 8.6"
    assert found["kernels-fp16"]["reason"] == reason
    alone = board.run(folder, *QUICK, "--backend", "kernels", "--require", "engine")
    assert (alone.returncode, reason in alone.stderr) == (3, True)


def test_a_driver_that_does_not_take_the_kernels_skips_them_too(bundle: Path, tmp_path: Path) -> None:
    change(bundle / "kernels/fp16", "sm_87/sums.cubin", b"of a later CUDA")
    rehash(bundle)
    run = Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK, "--require", "engine")
    assert run.returncode == 0, run.stderr
    own = engines(bundle)["kernels-fp16"]
    assert (own["verdict"], own["error"]) == ("SKIPPED", None)
    assert "does not take the compiled kernel sums_kernel (CUDA error 200)" in own["reason"]


def test_a_program_that_answers_wrongly_fails_and_is_not_timed_again(bundle: Path, tmp_path: Path) -> None:
    assert Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK).returncode == 0
    run = Board.make(tmp_path / "site", VERSION, kernels="swapped").run(bundle, *QUICK)
    assert run.returncode == 4
    assert "FAIL: kernels-fp16 did not pass the gates; PASS: fp16**" in run.stdout
    found = engines(bundle)
    assert (found["fp16"]["verdict"], found["fp16"]["file"]) == ("PASS", "fp16.plan")
    assert not (bundle / "finished/kernels-fp16.proven.json").exists(), "what passed before holds no longer"
    again = Board.make(tmp_path / "site", VERSION).run(bundle, "bench")
    assert again.returncode == 0, again.stderr
    found = engines(bundle, "bench.json")
    assert found["fp16"]["latency"] and not found["kernels-fp16"]["latency"]
    assert "was not proven on this GPU" in found["kernels-fp16"]["reason"]


def test_a_program_that_faults_takes_nothing_with_it(bundle: Path, tmp_path: Path) -> None:
    run = Board.make(tmp_path / "site", VERSION, kernels="crashing").run(bundle, "finish")
    assert run.returncode == 6
    found = engines(bundle)
    assert found["fp16"]["verdict"] == "PASS" and found["fp16"]["latency"]
    assert found["kernels-fp16"]["verdict"] == "FAIL"
    assert "died of SIGABRT" in found["kernels-fp16"]["error"]["message"]


def test_a_program_that_can_be_proven_and_not_timed_leaves_the_engine_its_times(bundle: Path, tmp_path: Path) -> None:
    board = Board.make(tmp_path / "site", VERSION)
    with (board.site / "sitecustomize.py").open("a") as file:
        file.write(_ONLY_TWO_GRAPHS)
    run = board.run(bundle, "finish")
    assert (run.returncode, "kernels-fp16: not timed, the work cannot be captured" in run.stderr) == (0, True)
    found = engines(bundle)
    assert found["fp16"]["latency"] and not found["kernels-fp16"]["latency"]
    assert {entry["verdict"] for entry in found.values()} == {"PASS"}


def test_a_type_that_only_a_program_has_is_none_of_the_engines(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    only = BundleProgram("kernels-bf16", Precision.BF16, "kernels/fp16", GATE)
    write_bundle(folder, kernels="8.6", programs=(only,))
    board = Board.make(tmp_path / "site", VERSION)
    run = board.run(folder, *QUICK, "--precision", "bf16", "--require", "engine")
    assert (run.returncode, "holds for this TensorRT: fp16" in run.stderr) == (2, True)
    run = board.run(folder, *QUICK, "--precision", "bf16", "--backend", "kernels")
    assert run.returncode == 0, run.stderr


def test_a_bundle_without_programs_is_status_5_for_kernels_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_bundle(folder)
    run = Board.make(tmp_path / "site", VERSION).run(folder, *QUICK, "--backend", "kernels")
    assert (run.returncode, "holds no kernel program" in run.stderr) == (5, True)


def test_a_tampered_cubin_is_found_before_anything_runs(bundle: Path, tmp_path: Path) -> None:
    (bundle / "kernels/fp16/sm_87/sums.cubin").write_bytes(b"another")
    run = Board.make(tmp_path / "site", VERSION).run(bundle, *QUICK)
    assert run.returncode == 5
    assert "kernels/fp16/sm_87/sums.cubin has" in run.stderr
