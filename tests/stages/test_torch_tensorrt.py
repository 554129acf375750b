"""The Torch-TensorRT stage: its configuration, what it refuses, and the conversion of the demo's architecture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends import torch_tensorrt as backend
from swin_deploy.backends.torch_tensorrt import Partition, TorchTensorRTResult
from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.errors import BadInput, EnvironmentFault, UsageFault
from swin_deploy.model.deployment import DeploymentSwin
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import save_deployment
from swin_deploy.stages.torch_tensorrt import TorchTensorRT

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))
from torch_cuda_fakes import run_with_fakes

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"
SPEC = SwinSpec(
    family="v1",
    image_size=(14, 14),
    patch=2,
    channels=3,
    stages=(StageSpec(depth=1, dim=16, heads=2, window=(7, 7), mlp_dim=32),),
    task=Classifier(5),
)


def deployment(folder: Path, precision: Precision = Precision.FP16, spec: SwinSpec = SPEC) -> Artifact:
    torch.manual_seed(0)
    model = DeploymentSwin(spec).to(getattr(torch, {"fp32": "float32", "fp16": "float16"}[precision.value]))
    path = folder / f"{precision.value}.safetensors"
    save_deployment(model, path)
    return Artifact(precision.value, path, Format.DEPLOYMENT, precision)


def test_it_reads_a_deployment_model_and_keeps_its_precision() -> None:
    stage = TorchTensorRT(Precision.BF16)
    assert stage.accepts == frozenset({(Format.DEPLOYMENT, Precision.BF16)})
    assert stage.produces == (Format.TORCH_TENSORRT_PLAN, Precision.BF16)
    assert "torch" in stage.tools()


def test_int8_is_refused_and_the_error_names_the_route_that_has_it() -> None:
    with pytest.raises(UsageFault, match="ONNX route"):
        TorchTensorRT(Precision.INT8)


def test_a_batch_profile_out_of_order_is_refused_on_construction() -> None:
    with pytest.raises(UsageFault, match="batch profile"):
        TorchTensorRT(Precision.FP16, batch=(8, 1, 32))


def test_without_a_gpu_the_stage_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert TorchTensorRT(Precision.FP16).unavailable()


def test_a_model_folded_for_another_size_is_refused(tmp_path: Path) -> None:
    stage = TorchTensorRT(Precision.FP16, image_size=(28, 28))
    with pytest.raises(UsageFault, match="folded for 14x14 images, and 28x28"):
        stage.run(deployment(tmp_path), tmp_path / "out.plan")


def test_an_fp16_engine_is_not_made_of_fp32_weights(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"torch\.float32 weights"):
        TorchTensorRT(Precision.FP16).run(deployment(tmp_path, Precision.FP32), tmp_path / "out.plan")
    assert not (tmp_path / "out.plan").exists()


def test_the_engine_is_written_and_what_was_counted_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def convert(module: Any, example: torch.Tensor, **options: Any) -> TorchTensorRTResult:
        asked.append((tuple(example.shape), example.dtype, module.training, options))
        return TorchTensorRTResult(Partition(1, 42, 0, {}), b"engine", (1, 2, 4), ("a warning",))

    monkeypatch.setattr(backend, "compile_module", convert)
    out = tmp_path / "out.plan"
    produced = TorchTensorRT(Precision.FP16, batch=(1, 2, 4)).run(deployment(tmp_path), out)
    assert out.read_bytes() == b"engine"
    assert asked == [((1, 3, 14, 14), torch.float32, False, {"outputs": ("logits",), "batch": (1, 2, 4)})]
    assert produced.facts["engines"] == 1
    assert produced.facts["outputs"] == ["logits"]
    assert produced.facts["engine_operators"] == 42
    assert produced.facts["fallback_operators"] == {}
    assert produced.facts["messages"] == ["a warning"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_the_environments_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = TorchTensorRTResult(Partition(1, 1, 0, {}), b"engine", (1, 2, 4), ())
    monkeypatch.setattr(backend, "compile_module", lambda *args, **options: result)
    with pytest.raises(EnvironmentFault):
        TorchTensorRT(Precision.FP16).run(deployment(tmp_path), Path("/dev/full"))


@pytest.mark.skipif(importlib.util.find_spec("torch_tensorrt") is None, reason="torch_tensorrt is not installed")
@pytest.mark.parametrize("family", ["v1", pytest.param("v2", marks=pytest.mark.slow)])
def test_the_demo_model_becomes_one_fp16_engine_with_nothing_left_to_pytorch(tmp_path: Path, family: str) -> None:
    if family == "v1":
        model = fold(load_checkpoint(EXAMPLE).reference()).half()
        parent = Artifact("fp16", tmp_path / "fp16.safetensors", Format.DEPLOYMENT, Precision.FP16)
        save_deployment(model, parent.path)
    else:  # the trained V2 is not in the repository: the same architecture
        shapes = ((2, 64, 2), (6, 128, 4), (2, 256, 8))
        stages = tuple(StageSpec(depth, dim, heads, (7, 7), 4 * dim, (7, 7)) for depth, dim, heads in shapes)
        parent = deployment(tmp_path, spec=SwinSpec("v2", (56, 56), 2, 3, stages, Classifier(10)))
    out = tmp_path / "out.plan"
    seen = run_with_fakes(
        f"""
        from pathlib import Path
        from swin_deploy.artifact import Artifact, Format, Precision
        from swin_deploy.stages.torch_tensorrt import TorchTensorRT
        profiles = torch_cuda_fakes.record_profiles()
        stage = TorchTensorRT(Precision.FP16)
        assert stage.unavailable() is None
        parent = Artifact("fp16", Path({str(parent.path)!r}), Format.DEPLOYMENT, Precision.FP16)
        produced = stage.run(parent, Path({str(out)!r}))
        report([dict(produced.facts), profiles])
        """
    )
    facts, profiles = seen
    assert facts["engines"] == 1
    assert facts["engine_operators"] > 200
    assert facts["fallback_subgraphs"] == 0
    assert facts["fallback_operators"] == {}
    assert profiles == [[[size, 3, 56, 56] for size in (1, 8, 32)]]
    weights = parent.path.stat().st_size
    assert out.stat().st_size > weights / 2, "an engine without the weights"
