"""The tables of what TensorRT 8.5 and 8.6 import, and graphs that go beyond them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, defs, numpy_helper, parser

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.lowering import lowered
from swin_deploy.onnx_graph.tensorrt8_operators import IMPORTERS, Importer, beyond_importer
from tests.chain import Chain


def parsed(body: str, constants: str = "", x: str = "float[N, 4] x", y: str = "float[N, M] y") -> ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({x}) => ({y}) {constants} {{ {body} }}')
    for node in model.graph.node:
        node.name = f"here/{node.op_type}"
    return model


TRT86, TRT85 = IMPORTERS["trt86"], IMPORTERS["trt85"]


@pytest.mark.parametrize(("profile", "opset", "operators"), [("trt86", 17, 139), ("trt85", 16, 137)])
def test_a_table_holds_operators_of_its_opset_with_attributes_that_they_have(
    profile: str, opset: int, operators: int
) -> None:
    importer = IMPORTERS[profile]
    assert importer.opset == opset and len(importer.operators) == operators
    for operator in importer.operators:
        assert defs.get_schema(operator, opset, "").since_version <= opset
    for operator, attribute in importer.attributes:
        assert attribute in defs.get_schema(operator, opset, "").attributes
    assert set(importer.constant) | set(importer.axes) | {operator for operator, _ in importer.attributes} <= set(
        importer.operators
    )


def test_what_8_5_takes_is_less_than_what_8_6_takes() -> None:
    assert set(TRT86.operators) - set(TRT85.operators) == {"IsInf", "LayerNormalization"}
    assert all(TRT85.operators[name] <= TRT86.operators[name] for name in TRT85.operators)
    assert all(TRT86.constant[name] <= TRT85.constant[name] for name in TRT86.constant)


@pytest.mark.parametrize(
    ("name", "profile"),
    [("lowered", "trt86"), ("lowered85", "trt85"), ("lowered.qdq", "trt86"), ("lowered85.qdq", "trt85")],
)
def test_what_the_lowering_writes_is_within_its_table(chain: Chain, name: str, profile: str) -> None:
    assert beyond_importer(chain.model(name), IMPORTERS[profile]) == ()


def test_the_control_8_5_takes_no_graph_of_8_6(v1: Chain) -> None:
    assert "LayerNormalization) is none that TensorRT 8.5 imports" in beyond_importer(v1.model("lowered"), TRT85)[0]


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
            "operator Unsqueeze (here/Unsqueeze) has the computed input a, where TensorRT 8.6 takes a constant",
        ),
        (
            parsed("y = CumSum(x, a)", x="float[N, 4] x, int64 a"),
            "operator CumSum (here/CumSum) has the computed input a",
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
    beyond = beyond_importer(model, TRT86)
    assert any(sentence.startswith(said) for sentence in beyond), beyond


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            parsed("y = LayerNormalization(x, s)", "<float[4] s = {1, 2, 3, 4}>"),
            "operator LayerNormalization (here/LayerNormalization) is none that TensorRT 8.5 imports",
        ),
        (
            parsed("i, j = TopK(x, k) y = Relu(i)", x="float[N, 4] x, int64[1] k"),
            "operator TopK (here/TopK) has the computed input k, where TensorRT 8.5 takes a constant",
        ),
        (
            parsed("y, j = TopK(x, k)", "<int64[1] k = {2}>", x="int32[N, 4] x", y="int32[N, 2] y"),
            "operator TopK (here/TopK) has an input of INT32, x, where TensorRT 8.5 takes FLOAT, FLOAT16",
        ),
        (
            parsed("i = Cast <to = 2> (x) y = Cast <to = 1> (i)"),
            "operator Cast (here/Cast) has to=UINT8, where TensorRT 8.5 takes",
        ),
        (
            parsed("y = Trilu(x)", x="float[N, 1, 4, 4] x", y="float[N, 1, 4, 4] y"),
            "operator Trilu (here/Trilu) reads x of 4 axes, where TensorRT 8.5 takes 2, 3",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_beyond_8_5_alone_is_named(model: ModelProto, said: str) -> None:
    beyond = beyond_importer(model, TRT85)
    assert any(sentence.startswith(said) for sentence in beyond), beyond
    assert beyond_importer(model, TRT86) == ()


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
    for importer in IMPORTERS.values():
        assert beyond_importer(model, importer) == ()


def test_a_gemm_takes_matrices() -> None:
    model = parsed("y = Gemm(x, w)", "<float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}>")
    assert beyond_importer(model, TRT86) == ()
    weight = model.graph.initializer[0]
    weight.CopyFrom(numpy_helper.from_array(np.ones((1, 4, 2), np.float32), weight.name))
    assert "here/Gemm) reads w of 3 axes, where TensorRT 8.6 takes 2" in beyond_importer(model, TRT86)[0]


@pytest.mark.parametrize("importer", IMPORTERS.values(), ids=IMPORTERS)
def test_the_lowering_refuses_what_is_beyond_the_table(importer: Importer) -> None:
    model = parsed("y = Hardmax(x)")
    model.opset_import[0].version = 20
    said = rf"operator Hardmax \(here/Hardmax\) is none that {re.escape(importer.title)} imports"
    with pytest.raises(BadInput, match=said):
        lowered(model, importer)


def test_every_type_of_the_tables_is_one_of_onnx() -> None:
    names = set(TensorProto.DataType.keys())
    for importer in IMPORTERS.values():
        for types in importer.operators.values():
            assert types <= names
