"""From a run to finished engines: on ONNX Runtime for the proof, on TensorRT for RTX as far as a CPU goes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cli.main
from swin_deploy.atomic import file_sha256
from swin_deploy.device.plan_sidecar import read_sidecar

ROOT = Path(__file__).resolve().parents[2]
Bundled = Callable[[str], Path]


def finish(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "runner.py"), "finish", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder.parent,
    )


def test_every_graph_of_every_profile_is_proven_on_onnx_runtime(bundled: Bundled) -> None:
    folder = bundled("orin")
    pytest.importorskip("onnxruntime")
    run = finish(folder, "--backend", "onnxruntime", "--no-bench", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    verdicts = {engine["name"]: engine["verdict"] for engine in found["engines"]}
    assert verdicts.pop("bf16") == "SKIPPED", "its CPU provider has no BF16"
    assert len(verdicts) == 6 and set(verdicts.values()) == {"PASS"}
    assert all(engine["batches"].keys() == {"1", "2", "4"} for engine in found["engines"] if engine["name"] != "bf16")
    assert "bf16 not executed" in found["verdict"]
    assert json.loads((folder / "finished/onnxruntime/finish.json").read_text()) == found
    assert not (folder / "finished/finish.json").exists(), "a proof on a CPU does not stand for the engines"
    assert finish(folder, "--backend", "onnxruntime", "--no-bench", "--require", "engine").returncode == 3
    options = ("--backend", "onnxruntime", "--no-bench", "--precision", "fp16", "--require", "engine")
    assert finish(folder, *options).returncode == 3, "every graph passed, and no engine ran"


def test_tensorrt_for_rtx_parses_and_builds_every_graph_and_nothing_is_called_proven(bundled: Bundled) -> None:
    pytest.importorskip("tensorrt_rtx")
    folder = bundled("rtx")
    run = finish(folder, "--sm", "8.6,12.0", "--precision", "fp16,int8", "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for engine in found["engines"]:
        assert engine["verdict"] == "SKIPPED"
        assert engine["file"] == f"{engine['name']}.rtx.plan.unproven"
        checks = {check["check"]: check["verdict"] for check in engine["checks"]}
        assert checks["audit: precision"] == "PASS", engine["checks"]
        plan = folder / "finished" / engine["file"]
        assert read_sidecar(plan, check_hash=True).targets == ("8.6", "12.0")
        assert engine["audit"]["fused_attentions"] == 4
    assert "PASS" not in found["verdict"] and "not executed" in found["verdict"]
    assert not list((folder / "finished").glob("*.rtx.plan"))
    again = finish(folder, "--sm", "8.6,12.0", "--precision", "fp16,int8", "--require", "engine")
    assert again.returncode == 3
    stored = json.loads((folder / "finished/finish.json").read_text())
    assert all(engine["build"]["reused"] for engine in stored["engines"])


def test_finish_unpacks_an_archive_and_runs_its_own_runner(packed: Callable[[str], Path], tmp_path: Path) -> None:
    archive = shutil.copy(packed("rtx"), tmp_path / "a.tar")
    options = ["finish", str(archive), "--backend", "onnxruntime", "--no-bench", "--precision", "fp16"]
    assert cli.main.status_of(options) == 0
    folder = tmp_path / "tiny_v1-rtx"
    assert (folder / "finished/onnxruntime/finish.md").is_file()
    assert cli.main.status_of(["finish", str(folder), *options[2:]]) == 0
    content = bytearray((folder / "onnx/fp16.strong.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "onnx/fp16.strong.onnx").write_bytes(content)
    assert cli.main.status_of(["finish", str(archive), *options[2:]]) == 5
    assert cli.main.status_of(["finish", str(tmp_path)]) == 5


def test_a_graph_that_is_not_the_one_the_oracle_answered_for_is_status_4(bundled: Bundled, tmp_path: Path) -> None:
    """A bundle whose hashes were made to fit: only the replay can tell."""
    folder = bundled("rtx")
    raw: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    (engine,) = [entry for entry in raw["engines"] if entry["name"] == "fp16"]
    (other,) = [entry for entry in raw["engines"] if entry["name"] == "int8"]
    engine["onnx"] = other["onnx"]  # INT8 is no FP16, by the gate of 60 dB
    (folder / "bundle.json").write_text(json.dumps(raw))
    run = finish(folder, "--backend", "onnxruntime", "--no-bench", "--precision", "fp16", "--json")
    assert run.returncode == 4, run.stderr
    (result,) = json.loads(run.stdout)["engines"]
    assert result["verdict"] == "FAIL"


def test_a_graph_that_does_not_take_the_images_is_status_5(bundled: Bundled) -> None:
    import onnx

    pytest.importorskip("onnxruntime")
    folder = bundled("rtx")
    path = folder / "onnx/fp16.strong.onnx"
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value += 4
    onnx.save(model, path)
    raw: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    raw["files"]["onnx/fp16.strong.onnx"] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    (folder / "bundle.json").write_text(json.dumps(raw))
    run = finish(folder, "--backend", "onnxruntime", "--no-bench", "--precision", "fp16")
    assert (run.returncode, "Traceback" in run.stderr) == (5, False), run.stderr


@pytest.mark.slow
def test_the_trained_model_goes_from_its_checkpoint_to_a_proven_bundle(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    example, run = ROOT / "examples/cifar10", str(tmp_path / "run")
    options = [
        "--fp16",
        "--no-compile",
        "--target",
        "onnxruntime",
        "--batch",
        "1,4,8",
        "--eval-images",
        "16",
        "--quiet",
    ]
    data = ["--eval-data", str(example / "eval.tar.xz")]
    assert (
        cli.main.status_of(["build", str(example / "swin_v1_cifar10.safetensors"), *data, *options, "--out", run]) == 0
    )
    assert cli.main.status_of(["bundle", run, "--target", "orin", "--quiet"]) == 0
    archive = str(tmp_path / "run-orin.tar")
    assert cli.main.status_of(["finish", archive, "--backend", "onnxruntime", "--no-bench"]) == 0
    found = json.loads((tmp_path / "swin_v1_cifar10-orin/finished/onnxruntime/finish.json").read_text())
    seen = {engine["name"]: engine["batches"]["8"]["agreement"] for engine in found["engines"]}
    assert seen == {"fp16": 1.0, "fp16-trt86": 1.0, "fp16-trt85": 1.0}


def test_bundle_from_the_command_line_ends_with_what_to_type_on_the_device(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.tar"
    arguments = ["bundle", str(run), "--target", "orin", "--tensorrt", "8.6", "--precision", "fp16", "--out", str(out)]
    arguments.append("--no-kernels")
    assert cli.main.status_of(arguments) == 0
    said = capsys.readouterr()
    assert "python3 runner.py finish" in said.out and "fp16-trt86" in said.out
    assert "as close to the original as the gates ask" in said.err
    assert cli.main.status_of([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"] == "orin"
    assert cli.main.status_of(["bundle", str(run), "--target", "orin", "--precision", "fp8"]) == 2
    assert cli.main.status_of(["bundle", str(tmp_path), "--target", "orin"]) == 5
