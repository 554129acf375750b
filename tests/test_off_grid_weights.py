"""FP16 on trained weights that FP16 cannot hold exactly: the example's own are FP16 numbers, which would flatter it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.backends.torch_eager import TorchEager
from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.device.distances import distance
from swin_deploy.model.forms import save_reference
from swin_deploy.parity.evaluation import synthetic_evaluation
from swin_deploy.parity.gates import GATES, GateName
from swin_deploy.stages.cast import Cast
from swin_deploy.stages.export import Export
from swin_deploy.stages.fold import Fold
from swin_deploy.stages.half import Half
from swin_deploy.stages.simplify import Simplify

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"
IMAGES = 16


@pytest.fixture(scope="module")
def off_grid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The example's paper form with every weight moved by up to half a step of FP16, and what stages make of it."""
    folder = tmp_path_factory.mktemp("off-grid")
    model = load_checkpoint(EXAMPLE).reference()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + (torch.rand(parameter.shape, generator=generator) - 0.5) * 2**-11)
    assert not torch.equal(model.head.weight, model.head.weight.half().float())
    save_reference(model, folder / "reference.safetensors")
    made = {
        "reference": Artifact("reference", folder / "reference.safetensors", Format.CHECKPOINT, Precision.FP32),
    }
    for name, stage, parent in (
        ("deployment", Fold(), "reference"),
        ("half", Half(Precision.FP16), "deployment"),
        ("exported", Export(32), "deployment"),
        ("fp32", Simplify(), "exported"),
        ("fp16", Cast(Precision.FP16), "fp32"),
    ):
        path = folder / (name + stage.suffix)
        stage.run(made[parent], path)
        made[name] = Artifact(name, path, *stage.produces, parent)
    return made


def logits(backend, artifact: Artifact) -> np.ndarray:
    preprocess = load_checkpoint(EXAMPLE).sidecar.preprocess
    assert preprocess is not None
    with backend.open(artifact) as session:
        pieces = [session.infer(batch)["logits"] for batch in synthetic_evaluation(preprocess, count=IMAGES).batches(8)]
    return np.concatenate(pieces)


def test_torch_half_reaches_its_gate(off_grid: dict[str, Artifact]) -> None:
    oracle = logits(TorchEager("cpu"), off_grid["reference"])
    found = distance(logits(TorchEager("cpu"), off_grid["half"]), oracle)
    assert found.sqnr_db >= GATES[GateName.FP16_NUMERICS].sqnr_db


def test_the_fp16_graph_reaches_its_gate(off_grid: dict[str, Artifact]) -> None:
    oracle = logits(TorchEager("cpu"), off_grid["reference"])
    found = distance(logits(OnnxRuntime(), off_grid["fp16"]), oracle)
    assert found.sqnr_db >= GATES[GateName.FP16_GRAPH].sqnr_db
