"""Lower: the profiles of TensorRT 8, as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from swin_deploy.artifact import Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.stages.lower import Lower
from tests.chain import Chain, decibels, random_images


@pytest.mark.parametrize("name", ["lowered", "lowered85"])
@pytest.mark.parametrize("literal", [True, False])
def test_the_fp32_graph_equals_the_deployment_form_at_every_batch(chain: Chain, name: str, literal: bool) -> None:
    images = random_images(33)
    wanted = chain.logits(images)
    with OnnxRuntime(literal=literal).open(chain.artifact(name)) as session:
        for batch in (1, 2, 7, 33):
            assert decibels(session.infer(images[:batch])["logits"], wanted[:batch]) >= 100


@pytest.mark.parametrize(("quantized", "precision"), [("", "fp32"), (".qdq", "int8")])
@pytest.mark.parametrize(("name", "profile", "opset"), [("lowered", "trt86", 17), ("lowered85", "trt85", 16)])
def test_the_file_says_its_profile_and_precision(
    chain: Chain, name: str, profile: str, opset: int, quantized: str, precision: str
) -> None:
    entries = {entry.key: entry.value for entry in chain.model(name + quantized).metadata_props}
    assert entries["swin_deploy.profile"] == profile
    assert entries["swin_deploy.precision"] == precision
    assert chain.produced(name + quantized).facts["opset"] == opset


@pytest.mark.parametrize("name", ["lowered", "lowered.qdq", "lowered85", "lowered85.qdq"])
def test_no_tensor_is_in_half_precision(chain: Chain, name: str) -> None:
    kinds = {tensor.data_type for tensor in chain.model(name).graph.initializer}
    assert kinds <= {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8}


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_typed_precisions_are_refused_on_construction(precision: Precision) -> None:
    with pytest.raises(UsageFault, match=precision.value):
        Lower(precision, "trt86")


@pytest.mark.parametrize("profile", ["strong", "trt84"])
def test_another_profile_is_refused_on_construction(profile: str) -> None:
    with pytest.raises(UsageFault, match=rf"profile {profile}\. Needed: one of trt86, trt85"):
        Lower(Precision.FP32, profile)


@pytest.mark.parametrize(("profile", "opset"), [("trt86", 17), ("trt85", 16)])
def test_a_typed_int8_graph_is_refused_and_nothing_is_written(
    v1: Chain, tmp_path: Path, profile: str, opset: int
) -> None:
    with pytest.raises(BadInput, match=f"opset {opset}"):
        Lower(Precision.INT8, profile).run(v1.artifact("int8"), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())
