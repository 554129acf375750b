"""Norms as small operators: the same numbers, and names that hold the mark from the first node to the last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser
from onnx.reference import ReferenceEvaluator

from swin_deploy.device.tensorrt_versions import FP32_MARK
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.lowering import lowered
from swin_deploy.onnx_graph.tensorrt8_operators import IMPORTERS
from swin_deploy.onnx_graph.typing_pass import stays_fp32
from tests.chain import Chain

TRT86, TRT85 = IMPORTERS["trt86"], IMPORTERS["trt85"]
PIECES = ["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"]
X = np.array([[1.0, 2.0, 3.0, 6.0]], np.float32)


def parsed(body: str, constants: str = "", y: str = "float[N, 4] y") -> ModelProto:
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[N, 4] x) => ({y}) {constants} {{ {body} }}'
    )
    for node in model.graph.node:
        node.name = f"blocks.0/{node.op_type}"
    return model


def evaluated(model: ModelProto) -> Any:
    (found,) = ReferenceEvaluator(model).run(None, {"x": X})
    return found


def test_a_layer_norm_is_decomposed_in_the_known_order_with_the_mark_in_each_name() -> None:
    scale = "<float[4] s = {1, 2, 1, 1}, float[4] b = {0, 0, 0, 10}>"
    made = lowered(parsed("y = LayerNormalization <axis = -1, epsilon = 0.5> (x, s, b)", scale), TRT85)
    assert [node.op_type for node in made.graph.node] == PIECES
    names = [node.name for node in made.graph.node]
    assert len(set(names)) == 9 and all(FP32_MARK in name for name in names)
    assert names[0] == "blocks.0/fp32/LayerNormalization.ReduceMean"
    # Mean 3, variance 3.5, and the epsilon beneath the root makes the deviation 2.
    np.testing.assert_allclose(evaluated(made), [[-1.0, -1.0, 0.0, 11.5]], atol=1e-6)


def test_a_layer_norm_without_a_bias_ends_with_its_scale() -> None:
    made = lowered(parsed("y = LayerNormalization <epsilon = 0.5> (x, s)", "<float[4] s = {1, 2, 1, 1}>"), TRT85)
    assert [node.op_type for node in made.graph.node] == PIECES[:-1]
    np.testing.assert_allclose(evaluated(made), [[-1.0, -1.0, 0.0, 1.5]], atol=1e-6)


def test_two_layer_norms_share_the_constants_that_are_equal() -> None:
    body = "a = LayerNormalization <epsilon = 0.5> (x, s) y = LayerNormalization <epsilon = 0.25> (a, s)"
    made = lowered(parsed(body, "<float[4] s = {1, 1, 1, 1}>"), TRT85)
    shared = sorted(tensor.name for tensor in made.graph.initializer)
    assert shared == ["norm/fp32/epsilon.0.25", "norm/fp32/epsilon.0.5", "norm/fp32/two", "s"]


@pytest.mark.parametrize(
    "body",
    ["y = LayerNormalization <axis = 0> (x, s)", "y, m = LayerNormalization (x, s)"],
    ids=["more than the last axis", "its statistics"],
)
def test_another_layer_norm_is_refused(body: str) -> None:
    with pytest.raises(BadInput, match="the last axis alone"):
        lowered(parsed(body, "<float[4] s = {1, 1, 1, 1}>"), TRT85)


def test_8_6_keeps_the_operator_which_it_computes_in_fp32_by_itself() -> None:
    made = lowered(parsed("y = LayerNormalization (x, s)", "<float[4] s = {1, 1, 1, 1}>"), TRT86)
    assert [node.op_type for node in made.graph.node] == ["LayerNormalization"]


@pytest.mark.parametrize("importer", IMPORTERS.values(), ids=IMPORTERS)
def test_a_length_is_a_product_a_sum_and_a_root_with_the_mark(importer: Any) -> None:
    body = "y = ReduceL2 <keepdims = 0> (x, axes)"
    made = lowered(parsed(body, "<int64[1] axes = {-1}>", y="float[N] y"), importer)
    assert [node.op_type for node in made.graph.node] == ["Mul", "ReduceSum", "Sqrt"]
    assert [node.name for node in made.graph.node] == [
        f"blocks.0/fp32/ReduceL2.{piece}" for piece in ("Mul", "ReduceSum", "Sqrt")
    ]
    np.testing.assert_allclose(evaluated(made), [np.sqrt(50.0)], atol=1e-6)


@pytest.mark.parametrize("name", ["lowered", "lowered.qdq", "lowered85", "lowered85.qdq"])
def test_what_a_typed_graph_keeps_in_fp32_is_marked_and_nothing_else(chain: Chain, name: str) -> None:
    """V1 has such nodes in its LayerNorms alone, V2 in its cosine attention too."""
    strong, made = chain.model("simplified").graph, chain.model(name).graph
    weights = {tensor.name: tensor for tensor in strong.initializer}
    kept = [node for node in strong.node if stays_fp32(node, weights)]
    assert len(kept) == {"v1": 0, "v2": 16}[chain.family]
    lengths = sum(node.op_type == "ReduceL2" for node in kept)
    norms = sum(node.op_type == "LayerNormalization" for node in strong.node) if "85" in name else 0
    found = [node.name for node in made.node if FP32_MARK in node.name]
    assert len(found) == len(kept) + 2 * lengths + 9 * norms
    assert len(set(found)) == len(found)
    assert not any("/mlp." in entry or "MatMul" in entry or "QuantizeLinear" in entry for entry in found)
