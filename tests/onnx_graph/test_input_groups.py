"""Linears with one input are one group, and each group knows who can move its input."""

from __future__ import annotations

import json

import pytest
from onnx import ModelProto, parser

from calib.tools.problem import Place
from swin_deploy.onnx_graph.input_groups import input_groups, values_before
from swin_deploy.onnx_graph.linears import linears, quantizable
from tests.chain import Chain

PARTS = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
SHARED = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2] x) => (float[N, 2] y)
<float[2] g = {1.0, 2.0}, float[2] h = {0.5, 0.25}, float[2, 2] w = {1.0, 2.0, 3.0, 4.0},
 float[2, 2] v = {1.0, 0.0, 2.0, 1.0}>
{
    n = LayerNormalization(x, g, h)
    a = MatMul(n, w)
    b = MatMul(n, v)
    y = Add(a, b)
}
"""


def parsed(text: str = SHARED) -> ModelProto:
    model = parser.parse_model(text)
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    return model


def place_of(text: str, chosen: int = 2) -> Place:
    model = parsed(text)
    (group,) = input_groups(model, list(linears(model))[:chosen])
    return group.place


def test_linears_with_one_input_are_one_group_in_graph_order_whatever_the_order_they_came_in() -> None:
    model = parsed()
    (group,) = input_groups(model, list(linears(model))[::-1])
    assert [linear.module for linear in group.linears] == ["a", "b"]
    assert (group.name, group.stem, group.activation, group.place) == ("a+b", "a.input", "n", Place.NORM)


def test_a_norm_can_move_what_its_chosen_linears_alone_read() -> None:
    assert place_of(SHARED) is Place.NORM
    assert place_of(SHARED, chosen=1) is Place.EXPLICIT  # the other one reads it too
    assert place_of(SHARED.replace("y = Add(a, b)", "c = Add(a, b) y = Add(c, n)")) is Place.EXPLICIT
    assert place_of(SHARED.replace("(float[N, 2] y)", "(float[N, 2] y, float[N, 2] n)")) is Place.EXPLICIT


@pytest.mark.parametrize(
    "producer",
    [
        "n = Relu(x)",
        "one = Relu(g) n = LayerNormalization(x, one, h)",  # no constant to change
        "n = Add(x, h)",
    ],
)
def test_without_a_norm_of_constants_before_it_a_move_is_explicit(producer: str) -> None:
    assert place_of(SHARED.replace("n = LayerNormalization(x, g, h)", producer)) is Place.EXPLICIT


def test_a_norm_without_a_shift_can_still_move() -> None:
    assert place_of(SHARED.replace("LayerNormalization(x, g, h)", "LayerNormalization(x, g)")) is Place.NORM


def test_an_input_of_the_graph_is_moved_explicitly() -> None:
    assert place_of(SHARED.replace("n = LayerNormalization(x, g, h)", "").replace("(n,", "(x,")) is Place.EXPLICIT


def test_v1_has_norms_before_its_linears_and_v2_the_residual_stream(v1: Chain, v2: Chain) -> None:
    for chain, wanted in ((v1, Place.NORM), (v2, Place.EXPLICIT)):
        model = chain.model("simplified")
        groups = {group.name: group.place for group in input_groups(model, quantizable(model))}
        assert list(groups) == [f"blocks.{block}.{part}" for block in range(4) for part in PARTS]
        for block in range(4):
            assert groups[f"blocks.{block}.attn.proj"] is Place.VALUE
            assert groups[f"blocks.{block}.mlp.0"] is wanted
            assert groups[f"blocks.{block}.mlp.2"] is Place.EXPLICIT


def test_the_values_before_a_projection_are_those_of_its_own_qkv(chain: Chain) -> None:
    model = chain.model("simplified")
    found = {linear.module: linear for linear in linears(model)}
    for block in range(4):
        assert values_before(model, found[f"blocks.{block}.attn.proj"]) == found[f"blocks.{block}.attn.qkv"]
    for other in ("blocks.0.attn.qkv", "blocks.0.mlp.0", "blocks.2.merge.reduction"):
        assert values_before(model, found[other]) is None


@pytest.mark.parametrize("attention", ["channel-gate", "linformer", None])
def test_an_attention_of_another_kind_does_not_pass_values_on_as_they_are(v1: Chain, attention: str | None) -> None:
    """A gate multiplies behind the average, and of a user's own attention nothing is known."""
    model = v1.model("simplified")
    (entry,) = [entry for entry in model.metadata_props if entry.key == "swin_deploy.spec"]
    spec = json.loads(entry.value)
    assert spec["attention"] == "window"
    entry.value = "" if attention is None else json.dumps({**spec, "attention": attention})
    places = {group.name: group.place for group in input_groups(model, quantizable(model))}
    projections = [name for name in places if name.endswith("attn.proj")]
    assert len(projections) == 4
    assert {places[name] for name in projections} == {Place.EXPLICIT}
    assert places["blocks.0.mlp.0"] is Place.NORM  # the control: norms are what they were


def test_a_qkv_of_another_width_or_without_a_bias_is_none_to_move(v1: Chain) -> None:
    model = v1.model("simplified")
    projection = next(linear for linear in linears(model) if linear.module == "blocks.0.attn.proj")
    qkv = values_before(model, projection)
    assert qkv is not None
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == qkv.weight]
    weight.dims[1] += 1
    assert values_before(model, projection) is None
    weight.dims[1] -= 1
    assert values_before(model, projection) == qkv
    model.graph.node[qkv.node + 1].op_type = "Sub"
    assert values_before(model, projection) is None
