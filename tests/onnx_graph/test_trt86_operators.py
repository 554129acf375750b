"""The table of what TensorRT 8.6 imports, and graphs that go beyond it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, defs, numpy_helper, parser

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.lowering import lower_to_opset17
from swin_deploy.onnx_graph.trt86_operators import ATTRIBUTES, OPERATORS, beyond_trt86
from tests.chain import Chain


def parsed(body: str, constants: str = "", x: str = "float[N, 4] x", y: str = "float[N, M] y") -> ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({x}) => ({y}) {constants} {{ {body} }}')
    for node in model.graph.node:
        node.name = f"here/{node.op_type}"
    return model


def test_the_table_holds_operators_of_opset_17_with_attributes_that_they_have() -> None:
    assert len(OPERATORS) == 139
    for operator in OPERATORS:
        assert defs.get_schema(operator, 17, "").since_version <= 17
    for operator, attribute in ATTRIBUTES:
        assert operator in OPERATORS
        assert attribute in defs.get_schema(operator, 17, "").attributes


@pytest.mark.parametrize("name", ["lowered"])
def test_what_the_lowering_writes_is_within_the_table(chain: Chain, name: str) -> None:
    assert beyond_trt86(chain.model(name)) == ()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (parsed("y = Hardmax(x)"), "operator Hardmax (here/Hardmax) is none that TensorRT 8.6 imports"),
        (parsed("y = Det(x)"), "operator Det (here/Det) is none"),
        (
            parsed("y = Add(x, x)", x="double[N, 4] x", y="double[N, 4] y"),
            "operator Add (here/Add) has an input of DOUBLE, x, where TensorRT 8.6 takes FLOAT, FLOAT16, INT32",
        ),
        (
            parsed("y = ReduceMax <axes = [1]> (x)", x="int32[N, 4] x", y="int32[N, 1] y"),
            "operator ReduceMax (here/ReduceMax) has an input of INT32, x",
        ),
        (
            parsed("y = MatMul(x, x)", x="int32[4, 4] x", y="int32[4, 4] y"),
            "operator MatMul (here/MatMul) has an input",
        ),
        (parsed("i = Cast <to = 5> (x) y = Cast <to = 1> (i)"), "operator Cast (here/Cast) has to=INT16"),
        (
            parsed('y = Resize <mode = "cubic"> (x, , s)', "<float[2] s = {1.0, 2.0}>"),
            "operator Resize (here/Resize) has mode=cubic, where TensorRT 8.6 takes linear, nearest",
        ),
        (
            parsed('y = ScatterElements <reduction = "add"> (x, i, x)', "<int64[1, 4] i = {0, 0, 0, 0}>"),
            "operator ScatterElements (here/ScatterElements) has reduction=add",
        ),
        (parsed("s = Shape <start = 1> (x) y = Reshape(x, s)"), "operator Shape (here/Shape) has start=1"),
        (
            parsed("y = Unsqueeze(x, a)", x="float[N, 4] x, int64[1] a"),
            "operator Unsqueeze (here/Unsqueeze) has axes that are computed, a",
        ),
        (
            parsed("y = CumSum(x, a)", x="float[N, 4] x, int64 a"),
            "operator CumSum (here/CumSum) has axes that are computed, a",
        ),
        (
            parsed("y, i = MaxPool <kernel_shape = [2, 2]> (x)", x="float[1, 1, 4, 4] x"),
            "operator MaxPool (here/MaxPool) gives indices",
        ),
        (
            parsed("q = QuantizeLinear(x, s) y = DequantizeLinear(q, s)", "<float s = {0.5}>"),
            "operator QuantizeLinear (here/QuantizeLinear) has no zero point",
        ),
        (
            parsed("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "<float s = {0.5}, int8 z = {1}>"),
            "operator QuantizeLinear (here/QuantizeLinear) has a zero point that is not 0",
        ),
        (
            parsed("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "<float s = {-0.5}, int8 z = {0}>"),
            "operator QuantizeLinear (here/QuantizeLinear) has a step that is not above 0",
        ),
        (
            parsed("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "<float s = {0.5}, uint8 z = {0}>"),
            "operator QuantizeLinear (here/QuantizeLinear) has codes of UINT8",
        ),
        (
            parsed(
                "d = DequantizeLinear <axis = 1> (w, s, z) y = MatMul(x, d)",
                "<int8[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] s = {0.5, 0.5}, int8[2] z = {0, 0}>",
            ),
            "operator DequantizeLinear (here/DequantizeLinear) reads the constant w of INT8",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_beyond_the_table_is_named(model: ModelProto, said: str) -> None:
    assert any(sentence.startswith(said) for sentence in beyond_trt86(model)), beyond_trt86(model)


@pytest.mark.parametrize(
    "model",
    [
        parsed("y = Reshape(x, s)", "<int64[2] s = {-1, 2}>"),
        parsed("i, j = TopK(x, k) y = Relu(i)", "<int64[1] k = {2}>"),
        parsed("c = Equal(x, x) y = Where(c, x, x)"),
        parsed("q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)", "<float s = {0.5}, int8 z = {0}>"),
        parsed("s = Shape(x) t = Gather(s, i) y = Expand(x, t)", "<int64[2] i = {0, 1}>"),
    ],
)
def test_shapes_and_indices_are_of_a_type_of_their_own(model: ModelProto) -> None:
    assert beyond_trt86(model) == ()


def test_a_gemm_takes_matrices() -> None:
    model = parsed("y = Gemm(x, w)", "<float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}>")
    assert beyond_trt86(model) == ()
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.ones((1, 4, 2), np.float32), weight.name))
    assert "here/Gemm) multiplies w of 3 axes" in beyond_trt86(model)[0]


def test_the_lowering_refuses_what_is_beyond_the_table() -> None:
    model = parsed("y = Hardmax(x)")
    model.opset_import[0].version = 20
    with pytest.raises(BadInput, match=r"operator Hardmax \(here/Hardmax\) is none that TensorRT 8\.6 imports"):
        lower_to_opset17(model)


def test_every_type_of_the_table_is_one_of_onnx() -> None:
    names = set(TensorProto.DataType.keys())
    for types in OPERATORS.values():
        assert types <= names
