"""Cast: FP16, BF16 and the FP16 remainder of an INT8 graph, as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from swin_deploy.artifact import Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.errors import UsageFault
from swin_deploy.onnx_graph.precision_toggle import HalfToggle
from swin_deploy.stages.cast import Cast
from tests.chain import Chain, decibels, random_images


@pytest.mark.parametrize("name", ["fp16", "bf16", "int8", "fp8"])
def test_the_file_is_valid_and_says_its_precision(chain: Chain, name: str) -> None:
    model = chain.model(name)
    onnx.checker.check_model(model, full_check=True)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries["swin_deploy.precision"] == name
    assert entries["swin_deploy.profile"] == "strong"


@pytest.mark.parametrize(("name", "parent", "least"), [("fp16", "simplified", 55), ("bf16", "simplified", 35)])
def test_the_rounded_graph_is_close_to_its_parent(chain: Chain, name: str, parent: str, least: float) -> None:
    images = random_images(7)
    answers = []
    for artifact in (name, parent):
        with OnnxRuntime().open(chain.artifact(artifact)) as session:
            answers.append(session.infer(images)["logits"])
    assert answers[0].dtype == np.float32
    assert least <= decibels(answers[0], answers[1]) < 100  # the control: rounding is seen


def test_a_file_of_half_precision_is_about_half_as_large(chain: Chain) -> None:
    sizes = {name: chain.artifact(name).path.stat().st_size for name in ("simplified", "fp16", "bf16")}
    assert sizes["fp16"] < 0.7 * sizes["simplified"]
    assert sizes["bf16"] < 0.7 * sizes["simplified"]


def test_bf16_takes_the_opset_whose_convolution_has_it(chain: Chain) -> None:
    assert chain.produced("bf16").facts["opset"] == 22
    assert chain.produced("fp16").facts["opset"] == 20


def test_int8_and_fp8_are_cast_from_a_quantized_graph_and_the_others_from_fp32() -> None:
    for grid in (Precision.INT8, Precision.FP8):
        assert Cast(grid).accepts == {(Format.ONNX, grid)}
    assert Cast(Precision.FP16).accepts == Cast(Precision.BF16).accepts == {(Format.ONNX, Precision.FP32)}


def test_a_cast_to_fp32_is_refused_and_not_taken_for_fp16() -> None:
    with pytest.raises(UsageFault, match="fp32"):
        Cast(Precision.FP32)


def test_blocks_stay_in_fp32_where_they_are_named(chain: Chain, tmp_path: Path) -> None:
    parent = chain.artifact("simplified")
    toggle = HalfToggle(onnx.load(parent.path), "fp16")
    named = tuple(block for block in toggle.blocks if block.startswith("blocks."))[:1]
    out = tmp_path / "mixed.onnx"
    Cast(Precision.FP16, named).run(parent, out)
    types = {tensor.name: tensor.data_type for tensor in onnx.load(out).graph.initializer}
    whole = {tensor.name: tensor.data_type for tensor in onnx.load(chain.artifact("fp16").path).graph.initializer}
    kept = [name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT and name not in whole]
    assert kept and all(named[0] in name for name in kept)


def test_a_block_that_the_graph_does_not_have_is_named_with_those_it_has(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"--fp32-blocks blocks\.99.*blocks\.0"):
        Cast(Precision.BF16, ("blocks.99",)).run(chain.artifact("simplified"), tmp_path / "mixed.onnx")


def test_a_quantized_graph_takes_a_plan_and_no_blocks() -> None:
    with pytest.raises(UsageFault, match="precision plan"):
        Cast(Precision.INT8, ("blocks.0",))
