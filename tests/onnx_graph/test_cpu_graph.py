"""What of a graph is rewritten for ONNX Runtime's CPU provider; that it computes the same is in test_profiles.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from swin_deploy.onnx_graph.census import node_counts
from swin_deploy.onnx_graph.cpu_graph import cpu_graph
from swin_deploy.onnx_graph.linears import linears
from swin_deploy.onnx_graph.profiles import in_profile
from tests.chain import Chain

DETOUR = [1, 0, 2]


def turns(model: ModelProto) -> list[list[int]]:
    """The permutations of all Transposes."""
    return [list(node.attribute[0].ints) for node in model.graph.node if node.op_type == "Transpose"]


def change(model: ModelProto, ending: str, values: np.ndarray) -> None:
    """Give the first constant whose name ends so other values."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(ending))
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_the_detour_goes_and_heads_are_split_once(v1: Chain) -> None:
    model = v1.model("simplified")
    made = cpu_graph(model)
    onnx.checker.check_model(made, full_check=True)
    blocks = sum(linear.module.endswith("attn.qkv") for linear in linears(model))
    assert turns(model).count(DETOUR) == 2 * blocks and DETOUR not in turns(made)
    counts = node_counts(made)
    assert counts["Split"] == blocks and "Slice" not in counts and "Squeeze" not in counts
    assert [linear.module for linear in linears(made)] == [linear.module for linear in linears(model)]


def test_a_detour_around_more_than_tokens_stays(v1: Chain) -> None:
    # A bias for each row of a window is no longer right when rows are ordered otherwise.
    model = v1.model("simplified")
    bias = next(t for t in model.graph.initializer if t.name.endswith("blocks.0.attn.proj.bias"))
    per_row = np.zeros((49, 1, bias.dims[0]), np.float32)
    bias.CopyFrom(numpy_helper.from_array(per_row, bias.name))
    blocks = sum(linear.module.endswith("attn.qkv") for linear in linears(model))
    assert turns(cpu_graph(model)).count(DETOUR) == 2
    assert turns(model).count(DETOUR) == 2 * blocks


def test_products_in_codes_take_their_bias_and_unsigned_codes(v1: Chain) -> None:
    model = v1.model("qdq")
    made = cpu_graph(model)
    before, behind = node_counts(model), node_counts(made)
    products = before["DequantizeLinear"] // 2
    assert products > 0
    assert behind["MatMulIntegerToFloat"] == behind["QuantizeLinear"] == products
    assert "DequantizeLinear" not in behind
    assert before["Add"] - behind["Add"] == products
    zeros = {
        numpy_helper.to_array(t).item() for t in made.graph.initializer if t.name.endswith("zero_point") and not t.dims
    }
    assert zeros == {128}
    domains = {entry.domain: entry.version for entry in made.opset_import}
    assert domains["com.microsoft"] == 1


@pytest.mark.parametrize(
    ("ending", "values"),
    [
        ("attn.qkv.input.zero_point", np.array(3, np.int8)),  # no symmetric codes
        ("attn.qkv.weight.scale", np.array(0.5, np.float32)),  # one step for all columns
    ],
)
def test_other_pairs_stay(v1: Chain, ending: str, values: np.ndarray) -> None:
    model = v1.model("qdq")
    change(model, ending, values)
    counts = node_counts(cpu_graph(model))
    assert counts["DequantizeLinear"] == 2
    assert counts["MatMulIntegerToFloat"] == node_counts(model)["DequantizeLinear"] // 2 - 1


def test_an_fp32_graph_gets_no_operators_of_another_domain(v1: Chain) -> None:
    made = in_profile(v1.model("simplified"), "cpu")
    assert [entry.domain for entry in made.opset_import if entry.domain] == []
