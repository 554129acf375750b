"""The trained CIFAR-10 models on all 10,000 test images: what `build` promises, measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import status_of
from swin_deploy.manifest import Manifest, read_manifest
from swin_deploy.parity.gates import Verdict

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "cifar10"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["v1", "v2"])
def checkpoint(request: pytest.FixtureRequest) -> Path:
    if request.param == "v1":
        return EXAMPLES / "swin_v1_cifar10.safetensors"
    given: Path | None = request.config.getoption("--cifar10-swin-v2")
    if given is None:
        pytest.skip("needs the trained Swin V2, which is not in the repository: --cifar10-swin-v2 CHECKPOINT")
    return given


@pytest.fixture(scope="module")
def manifest(checkpoint: Path, cifar10_test: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    out = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["build", checkpoint, "--fp16", "--int8", "--calib-data", EXAMPLES / "calib.tar.xz", "--out", out]
    arguments += ["--eval-data", cifar10_test, "--target", "onnxruntime", "--quiet"]
    assert status_of([str(argument) for argument in arguments]) == 0
    return read_manifest(out)


def row(manifest: Manifest, artifact: str, label: str):
    step = manifest.step(artifact)
    assert step is not None
    (found,) = [row for row in step.rows if row.label == label]
    assert found.verdict in (Verdict.PASS, Verdict.INFO)
    return found.measurement


def sqnr(measurement) -> float:
    return min(entry["sqnr_db"] for entry in measurement["oracle"].values())


def test_the_oracle_has_the_accuracy_of_the_training_run(manifest: Manifest, checkpoint: Path) -> None:
    stated = json.loads(checkpoint.with_suffix(".json").read_text())["top1_test_fp32"]
    task = row(manifest, "reference", "oracle")["task"]
    assert task["images"] == 10_000
    assert task["top1"] == pytest.approx(100 * stated, abs=0.05)


@pytest.mark.parametrize(("artifact", "label"), [("compiled", "package"), ("exported", "graph"), ("fp32", "graph")])
def test_fp32_files_reach_100_db(manifest: Manifest, artifact: str, label: str) -> None:
    assert sqnr(row(manifest, artifact, label)) >= 100


def test_fp16_reaches_60_db_in_torch_half_on_at_least_200_images(manifest: Manifest) -> None:
    measurement = row(manifest, "deployment-fp16", "numerics")
    assert sqnr(measurement) >= 60
    assert max(entry["images"] for entry in measurement["oracle"].values()) >= 200


@pytest.mark.parametrize("artifact", ["int8-qdq", "int8"])
def test_int8_loses_less_than_half_a_point_with_its_bound(manifest: Manifest, artifact: str) -> None:
    task = row(manifest, artifact, "literal Q/DQ")["task"]
    assert task["images"] == 10_000
    assert task["upper"] <= 0.5


@pytest.mark.parametrize("artifact", ["int8-qdq", "int8"])
def test_int8_is_two_decibels_above_the_best_of_the_other_tools(manifest: Manifest, artifact: str) -> None:
    # ONNX Runtime's percentile, on both models: 42.4 dB; see benchmarks/int8_accuracy.py.
    assert sqnr(row(manifest, artifact, "literal Q/DQ")) >= 44.4
