"""Export: the graph equals the model, holds nothing that the fold has taken out, and tells nothing of the machine."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.model.deployment import additive_constants
from swin_deploy.model.forms import save_deployment
from swin_deploy.model.layout import token_layout
from swin_deploy.onnx_graph.census import node_counts
from swin_deploy.stages.export import OPSET, Export
from tests.chain import Chain, decibels, random_images

ONNX = [
    *("exported", "simplified", "slimmed", "fp16", "bf16", "qdq", "int8"),
    *("lowered", "lowered.qdq", "lowered85", "lowered85.qdq"),
]


def constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("name", ["exported", "simplified", "slimmed"])
@pytest.mark.parametrize("literal", [True, False])
def test_the_fp32_graph_equals_the_deployment_form_at_every_batch(chain: Chain, name: str, literal: bool) -> None:
    images = random_images(33)
    wanted = chain.logits(images)
    with OnnxRuntime(literal=literal).open(chain.artifact(name)) as session:
        for batch in (1, 2, 7, 33):
            assert decibels(session.infer(images[:batch])["logits"], wanted[:batch]) >= 100


def test_a_graph_that_lost_its_shift_mask_would_be_seen(chain: Chain, tmp_path: Path) -> None:
    model = chain.deployment()
    shifted = additive_constants(model)[1]
    shifted.copy_(shifted[:1].clone())
    save_deployment(model, tmp_path / "spoiled.safetensors")
    spoiled = Artifact("spoiled", tmp_path / "spoiled.safetensors", Format.DEPLOYMENT, Precision.FP32)
    Export(8).run(spoiled, tmp_path / "spoiled.onnx")
    images = random_images(2)
    with OnnxRuntime().open(Artifact("s", tmp_path / "spoiled.onnx", Format.ONNX, Precision.FP32)) as session:
        assert decibels(session.infer(images)["logits"], chain.logits(images)) < 100


@pytest.mark.parametrize("name", ONNX)
def test_there_is_one_gather_for_each_permutation_and_it_is_constant(chain: Chain, name: str) -> None:
    model = chain.model(name)
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    layout = token_layout(chain.spec)
    plan = [layout.entry]
    for block in layout.blocks:
        plan += [block.permutation, *[block.leaving] * 2]  # the residual and what is added to it
    plan = [order for order in plan if order is not None]
    assert len(gathers) == len(plan) == {"v1": 3, "v2": 5}[chain.family]
    held = constants(model)
    for node, permutation in zip(gathers, plan, strict=True):
        np.testing.assert_array_equal(held[node.input[1]], permutation)
        assert [a.i for a in node.attribute if a.name == "axis"] == [1]


@pytest.mark.parametrize("name", ONNX)
def test_each_block_has_one_additive_constant(chain: Chain, name: str) -> None:
    model = chain.model(name)
    held = constants(model)
    scores = {n.output[0] for n in model.graph.node if re.fullmatch(r"blocks\.\d+\.attn/MatMul", n.name)}
    adds = [node for node in model.graph.node if node.op_type == "Add" and node.input[0] in scores]
    shapes = [held[node.input[1]].shape for node in adds]
    assert shapes == [(1, 2, 49, 49), (4, 2, 49, 49), (1, 4, 49, 49), (1, 4, 49, 49)]
    large = [n for n, value in held.items() if value.ndim >= 4 and value.shape[-2:] == (49, 49)]
    assert sorted(large) == sorted(node.input[1] for node in adds)


@pytest.mark.parametrize("name", ONNX)
def test_no_bookkeeping_of_the_paper_form_is_left(chain: Chain, name: str) -> None:
    forbidden = {
        "Roll", "Where", "Sigmoid", "Relu", "Log", "Shape", "Size", "Sign", "Exp", "Concat", "Expand", "Range", "Tile",
        "ScatterND", "GatherND", "GatherElements", "ConstantOfShape", "If", "Loop", "Equal",
    }  # fmt: skip
    assert not forbidden & set(node_counts(chain.model(name)))
    assert not chain.model(name).functions


@pytest.mark.parametrize("name", ONNX)
def test_no_reshape_bakes_the_batch_in(chain: Chain, name: str) -> None:
    model = chain.model(name)
    held = constants(model)
    shapes = [held[node.input[1]].tolist() for node in model.graph.node if node.op_type == "Reshape"]
    assert len(shapes) == {"v1": 16, "v2": 30}[chain.family]
    for shape in shapes:  # each leaves one axis open, which takes the batch in
        assert [axis > 0 for axis in shape].count(False) == 1, shape
        assert shape[0] in (0, -1) or shape[1] == -1, shape
    for value, rest in zip((*model.graph.input, *model.graph.output), ([3, 28, 28], [5]), strict=True):
        axes = value.type.tensor_type.shape.dim
        assert axes[0].dim_param == "batch"
        assert [axis.dim_value for axis in axes[1:]] == rest


@pytest.mark.parametrize("name", ONNX)
def test_nothing_in_the_file_tells_of_the_machine_it_was_made_on(chain: Chain, name: str) -> None:
    content = chain.artifact(name).path.read_bytes()
    places = {Path.cwd(), Path.home(), Path(sys.prefix), Path(sysconfig.get_path("purelib")), chain.folder}
    # A home of "/" or a folder of three letters would be found in any weights.
    names = {str(place) for place in places if len(str(place)) > 4}
    for text in {*names, "/home", "/work", "/usr/", "site-packages", "swin_deploy/", ".py", "Traceback"}:
        assert text.encode() not in content, text


@pytest.mark.parametrize("name", ONNX)
def test_nodes_are_named_by_module_and_no_name_occurs_twice(chain: Chain, name: str) -> None:
    names = [node.name for node in chain.model(name).graph.node]
    assert len(set(names)) == len(names)
    for block in range(4):
        for part in ("attn.qkv/MatMul", "attn.proj/MatMul", "mlp.0/MatMul", "mlp.2/MatMul", "attn/Softmax"):
            assert f"blocks.{block}.{part}" in names
    assert {"patch_embed.proj/Conv", "blocks.2.merge.reduction/MatMul", "head/Gemm"} <= set(names)
    assert [item for item in names if re.match(r"node_|val_|.*\d{3}", item)] == []


def test_the_operators_of_the_strong_profile_stay_whole(chain: Chain) -> None:
    counts = chain.produced("exported").facts["operators"]
    wanted = {"LayerNormalization": 11, "Softmax": 4, "Gelu": 4, "MatMul": 25, "Conv": 1}
    assert {key: counts[key] for key in wanted} == wanted
    assert not {"Erf", "Tanh", "Sqrt", "Pow", "Cast"} & set(counts)


def test_the_file_says_what_it_is(chain: Chain) -> None:
    model = chain.model("exported")
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries["swin_deploy.profile"] == "strong"
    assert entries["swin_deploy.precision"] == "fp32"
    assert SwinSpec.from_json(entries["swin_deploy.spec"]) == chain.spec
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["images", "logits"]
    assert chain.produced("exported").facts["nodes"] == len(model.graph.node)
    json.dumps(chain.produced("exported").facts)


def test_the_weights_are_inside_the_file(chain: Chain) -> None:
    assert not any(tensor.external_data for tensor in chain.model("exported").graph.initializer)
    assert [path.name for path in chain.artifact("exported").path.parent.iterdir()] == ["exported.onnx"]


def test_the_paper_form_is_not_exported_in_its_place(v1: Chain, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no deployment form"):
        Export(8).run(v1.artifact("reference"), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_an_empty_batch_axis_is_refused() -> None:
    with pytest.raises(UsageFault, match="largest batch of 0"):
        Export(0)
