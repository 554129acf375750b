"""Lower: the trt86 profile, as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from swin_deploy.artifact import Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.stages.lower import Lower
from tests.chain import Chain, decibels, random_images


def test_the_fp32_graph_equals_the_deployment_form_at_every_batch(chain: Chain) -> None:
    images = random_images(33)
    wanted = chain.logits(images)
    with OnnxRuntime().open(chain.artifact("lowered")) as session:
        for batch in (1, 2, 7, 33):
            assert decibels(session.infer(images[:batch])["logits"], wanted[:batch]) >= 100


@pytest.mark.parametrize(("name", "precision"), [("lowered", "fp32"), ("lowered.qdq", "int8")])
def test_the_file_says_its_profile_and_precision(chain: Chain, name: str, precision: str) -> None:
    entries = {entry.key: entry.value for entry in chain.model(name).metadata_props}
    assert entries["swin_deploy.profile"] == "trt86"
    assert entries["swin_deploy.precision"] == precision
    assert chain.produced(name).facts["opset"] == 17


@pytest.mark.parametrize("name", ["lowered", "lowered.qdq"])
def test_no_tensor_is_in_half_precision(chain: Chain, name: str) -> None:
    kinds = {tensor.data_type for tensor in chain.model(name).graph.initializer}
    assert kinds <= {TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT8}


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_typed_precisions_are_refused_on_construction(precision: Precision) -> None:
    with pytest.raises(UsageFault, match=precision.value):
        Lower(precision)


def test_a_typed_int8_graph_is_refused_and_nothing_is_written(v1: Chain, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="opset 17"):
        Lower(Precision.INT8).run(v1.artifact("int8"), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())
