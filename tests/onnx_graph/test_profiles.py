"""Every profile of every family computes what the strong one does, in FP32 and in INT8."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from safetensors.torch import save_file

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Restoration
from swin_deploy.device.tensorrt_versions import table
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.model.fold import fold
from swin_deploy.onnx_graph.attention_qdq import attention_products, insert_attention_qdq, tensors_to_range
from swin_deploy.onnx_graph.linears import linears
from swin_deploy.onnx_graph.merged_windows import merged_windows
from swin_deploy.onnx_graph.names import name_batch_axis, name_by_module, set_metadata
from swin_deploy.onnx_graph.profiles import LOWERED, PROFILES, WRITTEN, in_profile
from swin_deploy.onnx_graph.simplifier import simplified
from swin_deploy.stages.capture import Capture
from swin_deploy.stages.constants import Constants
from swin_deploy.stages.export import Export
from swin_deploy.stages.simplify import Simplify
from swin_deploy.torch_versions import export_onnx, export_program
from tests import own_networks
from tests.chain import Chain, decibels
from tests.quantized_graph import quantized_anyhow
from tests.random_swin import random_reference, small_spec

ROOM = (4, 4)
RESTORED = (StageSpec(2, 32, 2, ROOM, 64), StageSpec(1, 32, 2, ROOM, 64))
RESTORED2 = (StageSpec(2, 32, 2, ROOM, 64, ROOM), StageSpec(1, 32, 2, ROOM, 64, ROOM))
MEAN = (0.4488, 0.4371, 0.4040)
SPECS = {
    "v1": small_spec("v1"),
    "v2": small_spec("v2"),
    "v1-padded": small_spec("v1", image_size=(18, 22), window=4, rule="microsoft-dense"),
    "v2-padded": small_spec("v2", image_size=(18, 22), window=4, depths=(2, 1), rule="microsoft-dense"),
    "backbone": small_spec("v1", image_size=(16, 8), window=4, task=Backbone((0, 1), norms=True)),
    "swinir-classical": SwinSpec(
        "v1", (14, 12), 1, 3, RESTORED, Restoration(2, "pixelshuffle", mean=MEAN), rule="restoration"
    ),
    "swinir-real": SwinSpec(
        "v1", (14, 12), 1, 3, RESTORED, Restoration(4, "nearest+conv", mean=MEAN), rule="restoration"
    ),
    "swin2sr": SwinSpec(
        "v2", (14, 12), 1, 3, RESTORED2, Restoration(2, "pixelshuffledirect", mean=MEAN), rule="restoration"
    ),
}
Graph = Callable[[str], ModelProto]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The simplified FP32 graph of one of `SPECS`, random weights, made when it is first asked for."""

    @functools.cache
    def made(name: str) -> ModelProto:
        spec = SPECS[name]
        path = tmp_path_factory.mktemp(name) / "exported.onnx"
        export_onnx(export_program(fold(random_reference(spec)), spec.image_size, 4, "cpu"), path, 20, spec.outputs)
        model = onnx.load(path)
        name_by_module(model)
        name_batch_axis(model)
        set_metadata(model, spec=spec.to_json(), profile="strong", precision="fp32")
        return simplified("onnxsim", model)

    return made


def answers(model: ModelProto, folder: Path, name: str) -> dict[str, Any]:
    """Executed literally, at a batch of 3."""
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    images = np.random.default_rng(0).random((3, *shape), np.float32)
    with OnnxRuntime(literal=True).open(Artifact(name, path, Format.ONNX, Precision.FP32)) as session:
        return dict(session.infer(images))


@pytest.mark.parametrize("profile", WRITTEN)
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("placement", ["fp32", "linears", "linears-and-attention"])
def test_a_profile_computes_what_the_strong_one_does(
    graph: Graph, tmp_path: Path, name: str, profile: str, placement: str
) -> None:
    model = graph(name)
    if placement != "fp32":
        model = quantized_anyhow(model)
    if placement == "linears-and-attention":
        model = insert_attention_qdq(model, dict.fromkeys(tensors_to_range(model), 4.0))
    wanted, found = answers(model, tmp_path, "strong"), answers(in_profile(model, profile), tmp_path, profile)
    assert wanted.keys() == found.keys()
    for output, values in wanted.items():
        # A code may round the other way when what is before it differs in its last bit.
        assert decibels(found[output], values) >= (100 if placement == "fp32" else 30)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SPECS)
def test_query_key_and_value_are_one_product_and_windows_have_their_own_axis(
    graph: Graph, name: str, profile: str
) -> None:
    """TensorRT 10.13.3 corrupts V where it fuses three products; see docs/profiles.md for the counts of splitting."""
    made = in_profile(graph(name), profile)
    products = [linear.module for linear in linears(made) if ".attn" in linear.module]
    attentions = attention_products(made)
    assert len(attentions) == SPECS[name].depth
    assert len(products) == 2 * len(attentions)
    assert {module.rsplit(".", 1)[1] for module in products} == {"qkv", "proj"}
    assert merged_windows(made) == ()


@pytest.mark.parametrize("name", ["timm_inside", "hugging_face", "torchvision_v2"])
def test_networks_of_other_code_bases_have_every_profile(tmp_path: Path, name: str) -> None:
    source = tmp_path / "own.safetensors"
    state = own_networks.made(getattr(own_networks, name)).state_dict()
    save_file({key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}, source)
    made = Artifact("own", source, Format.SOURCE, Precision.FP32)
    capture = Capture(f"tests.own_networks:{name}", own_networks.SIZE, 4)
    for stage in (capture, Constants(4), Export(4), Simplify()):
        out = tmp_path / (stage.name + stage.suffix)
        stage.run(made, out)
        made = Artifact(stage.name, out, *stage.produces)
    model = onnx.load(made.path)
    wanted = answers(model, tmp_path, "strong")
    for profile in WRITTEN:
        found = answers(in_profile(model, profile), tmp_path, profile)
        assert all(decibels(found[output], values) >= 100 for output, values in wanted.items())


def test_each_version_of_tensorrt_has_a_profile_that_is_made_here() -> None:
    assert {row.profile for row in table()} == {"strong", *LOWERED}


@pytest.mark.parametrize("name", ["simplified", "qdq", "fp16", "bf16", "int8", "fp8"])
def test_strong_is_the_graph_itself(v1: Chain, name: str) -> None:
    model = v1.model(name)
    made = in_profile(model, "strong")
    assert made is not model
    assert made.graph == model.graph


@pytest.mark.parametrize("profile", LOWERED)
@pytest.mark.parametrize("name", ["fp16", "bf16", "int8", "fp8", "qdq.fp8"])
def test_typed_graphs_and_fp8_have_no_form_for_tensorrt_8(v1: Chain, name: str, profile: str) -> None:
    with pytest.raises(BadInput):
        in_profile(v1.model(name), profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_graph_that_is_already_of_another_profile_is_refused(v1: Chain, profile: str) -> None:
    with pytest.raises(BadInput, match="a graph of the profile trt86"):
        in_profile(v1.model("lowered"), profile)


def test_an_unknown_profile_is_refused(v1: Chain) -> None:
    with pytest.raises(UsageFault, match=r"trt84.*strong, trt86, trt85, cpu"):
        in_profile(v1.model("simplified"), "trt84")


def test_what_was_quantized_is_audited_again(v1: Chain) -> None:
    model = v1.model("qdq")
    scale = next(t for t in model.graph.initializer if t.name.endswith("input.scale"))
    scale.CopyFrom(onnx.numpy_helper.from_array(np.array(-1.0, np.float32), scale.name))
    with pytest.raises(BadInput, match="step"):
        in_profile(model, "strong")
