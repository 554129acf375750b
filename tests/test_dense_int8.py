"""INT8 of dense networks, from calibration to an engine: a padded backbone, and restoration with both attentions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from calib.synthetic import structured_images
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime, tensors_of
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Restoration
from swin_deploy.device.build_in_child import build_plan
from swin_deploy.device.build_job import BatchProfile
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import save_deployment
from swin_deploy.model.layout import token_layout
from swin_deploy.parity.evaluation import EvaluationSet, synthetic_evaluation
from swin_deploy.parity.gates import GATES, GateName, Verdict, judge
from swin_deploy.parity.measure import Measurement, compare, run_session
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.stages.base import Produced
from swin_deploy.stages.cast import Cast
from swin_deploy.stages.export import Export
from swin_deploy.stages.lower import Lower
from swin_deploy.stages.quantize import Quantize
from swin_deploy.stages.simplify import Simplify
from tests.chain import one_thread
from tests.random_swin import random_reference

__all__ = ["one_thread"]

LINEARS = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
MEAN = (0.4488, 0.4371, 0.4040)
WINDOW = (7, 7)
ROOM = (8, 8)

# 15x19 and 8x10 tokens in windows of 7: padding in both stages, and an odd map at the merging.
BACKBONE = SwinSpec(
    "v1",
    (60, 76),
    4,
    3,
    (StageSpec(2, 32, 2, WINDOW, 128), StageSpec(2, 64, 4, WINDOW, 256)),
    Backbone((0, 1), norms=True),
    rule="microsoft-dense",
)
# 30x44 pixels, by reflection 32x48.
SWINIR = SwinSpec(
    "v1",
    (30, 44),
    1,
    3,
    (StageSpec(2, 32, 2, ROOM, 64), StageSpec(2, 32, 2, ROOM, 64)),
    Restoration(4, "nearest+conv", mean=MEAN, group_conv="3conv", body_conv="3conv"),
    rule="restoration",
)
SWIN2SR = SwinSpec(
    "v2",
    (30, 44),
    1,
    1,
    (StageSpec(2, 32, 2, ROOM, 64, ROOM), StageSpec(2, 32, 2, ROOM, 64, ROOM)),
    Restoration(2, "pixelshuffledirect", embed_conv=True, mean=(0.0,)),
    rule="restoration",
)


@dataclass(frozen=True)
class Made:
    """A network, its graphs and the images they are judged on."""

    spec: SwinSpec
    paper: Any
    artifacts: dict[str, Artifact]
    quantized: Produced
    evaluation: EvaluationSet


def preprocess_of(spec: SwinSpec) -> Preprocess:
    height, width = spec.image_size
    if isinstance(spec.task, Restoration):
        return Preprocess(height, width, "none", "bicubic", "pillow", (0.0,) * 3, (1.0,) * 3, channels=spec.channels)
    return Preprocess(height, width, "squash", "bicubic", "pillow", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def calibration(spec: SwinSpec) -> ImageSet:
    """Images that are larger than the network's, as photographs are: restoration crops, a backbone squashes."""
    height, width = spec.image_size
    pixels = structured_images(12, height + 10, width + 6, seed=5)
    rows = tuple(ArrayRow("made", pixels, row) for row in range(len(pixels)))
    return ImageSet("made", tuple(map(str, range(len(pixels)))), None, None, rows)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(BACKBONE, id="backbone"),
        pytest.param(SWINIR, id="swinir"),
        pytest.param(SWIN2SR, id="swin2sr", marks=pytest.mark.slow),
    ],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    spec: SwinSpec = request.param
    folder, paper = tmp_path_factory.mktemp("dense"), random_reference(spec)
    with torch.no_grad():
        for name, weight in paper.named_parameters():
            if name.endswith(tuple(f"{part}.weight" for part in LINEARS)):
                weight *= 4  # else restoration's convolutions carry all, and the gate could not see the blocks
    save_deployment(fold(paper), folder / "deployment.safetensors")
    form = Artifact("deployment", folder / "deployment.safetensors", Format.DEPLOYMENT, Precision.FP32)
    artifacts, facts = {"deployment": form}, {}
    prepare, images = preprocess_of(spec), calibration(spec)
    quantize = Quantize(Calibration(images, prepare, len(images), None), preprocess=prepare)
    for name, stage, parent in (
        ("exported", Export(4), "deployment"),
        ("fp32", Simplify(), "exported"),
        ("int8-qdq", quantize, "fp32"),
        ("int8", Cast(Precision.INT8), "int8-qdq"),
        ("int8-trt86", Lower(Precision.INT8, "trt86"), "int8-qdq"),
        ("int8-trt85", Lower(Precision.INT8, "trt85"), "int8-qdq"),
    ):
        out = folder / f"{name}.onnx"
        facts[name] = stage.run(artifacts[parent], out)
        artifacts[name] = Artifact(name, out, *stage.produces, parent)
    evaluation = synthetic_evaluation(preprocess_of(spec), count=2, task=spec.task)
    return Made(spec, paper, artifacts, facts["int8-qdq"], evaluation)


def measured(made: Made, artifact: Artifact) -> Measurement:
    (images,) = made.evaluation.batches(2)
    with torch.inference_mode():
        found = made.paper(torch.from_numpy(images))
    oracle = dict(zip(made.spec.outputs, found if isinstance(found, tuple) else (found,), strict=True))
    with OnnxRuntime(literal=True).open(artifact) as session:
        outputs = run_session(session, made.evaluation, (1, 2, 2))
    return compare(outputs, {name: value.numpy() for name, value in oracle.items()}, None, made.evaluation)


@pytest.mark.parametrize("name", ["int8-qdq", "int8", "int8-trt86", "int8-trt85"])
def test_int8_passes_the_gate_of_dense_networks_and_is_not_fp32(made: Made, name: str) -> None:
    found = measured(made, made.artifacts[name])
    verdicts = judge(GATES[GateName.INT8], found.oracle, found.drop, 0.1)
    assert {entry.verdict for entry in verdicts} == {Verdict.PASS}, verdicts
    assert all(entry.sqnr_db < GATES[GateName.FP32].dense_db for entry in found.oracle.values())


def test_ranges_that_are_sixteen_times_too_small_fail_the_gate(made: Made, tmp_path: Path) -> None:
    model = onnx.load(made.artifacts["int8-qdq"].path)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("input.scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 16, tensor.name))
    onnx.save(model, tmp_path / "spoiled.onnx")
    found = measured(made, replace(made.artifacts["int8-qdq"], path=tmp_path / "spoiled.onnx"))
    verdicts = judge(GATES[GateName.INT8], found.oracle, found.drop, 0.1)
    assert Verdict.FAIL in {entry.verdict for entry in verdicts}


def test_the_four_linears_of_every_block_are_int8_and_no_convolution_is(made: Made) -> None:
    assert made.quantized.facts["quantized_linears"] == [
        f"blocks.{index}.{part}" for index in range(4) for part in LINEARS
    ]
    assert made.quantized.facts["calibration"]["preprocess"]["channels"] == made.spec.channels
    model = onnx.load(made.artifacts["int8"].path)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    fed = {node.op_type for node in model.graph.node if "DequantizeLinear" in map(makers.get, node.input)}
    assert fed == {"MatMul"}


@pytest.mark.parametrize("spec", [SWINIR, SWIN2SR], ids=["swinir", "swin2sr"])
def test_restoration_is_calibrated_on_images_from_0_to_1_that_are_cropped(spec: SwinSpec) -> None:
    prepared = preprocess_of(spec).batch(calibration(spec))
    assert prepared.shape == (12, spec.channels, *spec.image_size)
    assert (prepared.min() >= 0, prepared.max() <= 1, prepared.max() > 0.9) == (True, True, True)


@pytest.mark.parametrize("made", [BACKBONE], ids=["backbone"], indirect=True)
def test_padded_tokens_are_still_exactly_zero_at_the_input_of_qkv(made: Made) -> None:
    """INT8 is symmetric here: zero is a code of its own, so padding stays what it was in training."""
    reals = {f"blocks.{index}.attn.qkv": block.real for index, block in enumerate(token_layout(made.spec).blocks)}
    (images,) = made.evaluation.batches(2)
    names = [f"{module}.input.dq" for module in reals]
    (found,) = tensors_of(made.artifacts["int8-qdq"].path, names, [images])
    for module, real in reals.items():
        assert real is not None
        tokens = np.abs(found[f"{module}.input.dq"]).max(axis=(0, 2))  # [L]
        assert not tokens[~real].any()
        assert (tokens[real] > 0).all()


def test_an_rtx_plan_multiplies_int8_in_every_block_and_fuses_every_attention(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    report = build_plan(
        made.artifacts["int8"].path,
        tmp_path / "int8.rtx.plan",
        flavor="tensorrt_rtx",
        precision=Precision.INT8,
        shapes=BatchProfile(1, 2, 4),
        compute_capabilities=("8.6",),
    )
    (census,) = report.censuses
    assert (census.int8_gemms, census.fused_attentions) == (16, 4)
