"""From opset 20 to 17 without a change of meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, checker, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.census import node_counts
from swin_deploy.onnx_graph.lowering import lower_to_opset17
from tests.chain import Chain, decibels, random_images


def parsed(body: str, constants: str = "", opset: int = 20, domain: str = "") -> ModelProto:
    extra = f', "{domain}" : 1' if domain else ""
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}{extra}]> '
        f"g (float[N, 4] x) => (float[N, M] y) {constants} {{ {body} }}"
    )
    for node in model.graph.node:
        node.name = f"here/{node.op_type}"
    return model


@pytest.mark.parametrize(("strong", "lowered"), [("simplified", "lowered"), ("qdq", "lowered.qdq")])
def test_the_lowered_graph_is_valid_at_opset_17(chain: Chain, strong: str, lowered: str) -> None:
    model = chain.model(lowered)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    checker.check_model(model, full_check=True)
    counts = node_counts(model)
    assert "Gelu" not in counts
    assert counts["Erf"] == 4
    assert counts["LayerNormalization"] == node_counts(chain.model(strong))["LayerNormalization"]


@pytest.mark.parametrize(("strong", "lowered"), [("simplified", "lowered"), ("qdq", "lowered.qdq")])
def test_the_lowered_graph_computes_the_same(chain: Chain, strong: str, lowered: str) -> None:
    images = random_images(7)
    answers = []
    for name in (strong, lowered):
        with OnnxRuntime(literal=True).open(chain.artifact(name)) as session:
            answers.append(session.infer(images)["logits"])
    # A Q/DQ graph may round an activation the other way when the GELU before it differs in its last bit.
    assert decibels(answers[1], answers[0]) >= (100 if strong == "simplified" else 40)


def test_weights_are_float_with_a_quantize_node_that_gives_the_same_integers(chain: Chain) -> None:
    """TensorRT 8 refuses constants of the type INT8; the codes must survive the detour through FP32."""
    strong, lowered = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in chain.model(name).graph.initializer}
        for name in ("qdq", "lowered.qdq")
    )
    makers = {node.output[0]: node for node in chain.model("lowered.qdq").graph.node}
    weights = [name for name, values in strong.items() if values.dtype == np.int8 and values.ndim == 2]
    assert len(weights) == 16  # four linears in each of four blocks
    for name in weights:
        stem = name.removesuffix(".int8")
        quantize = makers[f"{stem}.q"]
        assert quantize.op_type == "QuantizeLinear" and makers[f"{stem}.dq"].input[0] == quantize.output[0]
        values, scale = lowered[quantize.input[0]], lowered[quantize.input[1]]
        assert values.dtype == np.float32
        assert np.array_equal(np.rint(values / scale).astype(np.int8), strong[name])
    assert all(values.ndim < 2 for values in lowered.values() if values.dtype == np.int8)  # zero points only


def test_gelu_becomes_the_exact_one() -> None:
    lowered = lower_to_opset17(parsed("y = Gelu(x)"))
    assert [node.op_type for node in lowered.graph.node] == ["Div", "Erf", "Add", "Mul", "Mul"]
    x = np.array([[-3.0, -0.5, 0.0, 2.0]], np.float32)
    (got,) = ReferenceEvaluator(lowered).run(None, {"x": x})
    wanted = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x[0].tolist()]
    np.testing.assert_allclose(got[0], wanted, atol=1e-7)
    assert wanted[3] == pytest.approx(1.954500, abs=1e-6)  # 2 * Phi(2)


def test_several_gelus_share_their_constants() -> None:
    lowered = lower_to_opset17(parsed("a = Gelu(x) y = Gelu(a)"))
    assert sorted(t.name for t in lowered.graph.initializer) == ["gelu.half", "gelu.one", "gelu.sqrt2"]


def test_an_approximate_gelu_is_refused() -> None:
    with pytest.raises(BadInput, match="approximate GELU"):
        lower_to_opset17(parsed('y = Gelu <approximate = "tanh"> (x)'))


def test_the_axes_of_a_reduction_become_an_attribute() -> None:
    lowered = lower_to_opset17(parsed("a = ReduceMean <keepdims = 0> (x, axes) y = Relu(x)", "<int64[1] axes = {1}>"))
    node = lowered.graph.node[0]
    assert list(node.input) == ["x"]
    assert {a.name: list(a.ints) or a.i for a in node.attribute} == {"axes": [1], "keepdims": 0}
    assert not lowered.graph.initializer


RESIZE = 'nearest_mode = "floor", coordinate_transformation_mode = "asymmetric", mode = "nearest"'


def resized(attributes: str = "") -> ModelProto:
    """Columns doubled, as SwinIR's real-world model does with rows too."""
    return parsed(f"y = Resize <{RESIZE}{attributes}> (x, , scales)", "<float[2] scales = {1.0, 2.0}>")


def test_nearest_neighbours_lose_the_attributes_that_say_what_was_always_so() -> None:
    lowered = lower_to_opset17(resized(', antialias = 0, keep_aspect_ratio_policy = "stretch"'))
    assert {a.name for a in lowered.graph.node[0].attribute} == {
        "nearest_mode",
        "coordinate_transformation_mode",
        "mode",
    }
    (got,) = ReferenceEvaluator(lowered).run(None, {"x": np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)})
    assert got.tolist() == [[1, 1, 2, 2, 3, 3, 4, 4]]


@pytest.mark.parametrize(
    ("attribute", "named"),
    [
        (", antialias = 1", "antialias"),
        (', keep_aspect_ratio_policy = "not_larger"', "keep_aspect_ratio_policy"),
        (", axes = [0, 1]", "axes"),
    ],
)
def test_a_resize_that_opset_17_has_no_words_for_is_refused(attribute: str, named: str) -> None:
    with pytest.raises(BadInput, match=rf"Resize.*has {named}"):
        lower_to_opset17(resized(attribute))


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (parsed("y = ReduceMin(x, axes)", "<int64[1] axes = {1}>"), "ReduceMin"),  # axes as an input came with 18
        (parsed("y = Mish(x)"), "Mish"),  # a new operator of 18
        (parsed("y = ReduceMean(x, x)"), "ReduceMean"),  # axes that are no constant
        (parsed("y = elsewhere.Gelu(x)", domain="elsewhere"), "elsewhere.Gelu"),
        (parsed("a, y = Split <num_outputs = 2> (x)"), "num_outputs"),  # an attribute of 18
    ],
    ids=["changed", "new", "computed-axes", "foreign-domain", "new-attribute"],
)
def test_what_opset_17_does_not_have_is_refused_by_name(model: ModelProto, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        lower_to_opset17(model)


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_a_typed_graph_is_refused(v1: Chain, name: str) -> None:
    with pytest.raises(BadInput, match="FP32 operators"):
        lower_to_opset17(v1.model(name))


def test_the_graph_that_was_given_is_not_changed(v1: Chain) -> None:
    model = v1.model("simplified")
    before = model.SerializeToString()
    lower_to_opset17(model)
    assert model.SerializeToString() == before


def test_a_spoiled_lowering_would_be_seen(v1: Chain) -> None:
    model = v1.model("lowered")
    half = next(tensor for tensor in model.graph.initializer if tensor.name == "gelu.half")
    half.CopyFrom(numpy_helper.from_array(np.array(0.501, np.float32), "gelu.half"))
    images = random_images(2)
    (got,) = ReferenceEvaluator(model).run(None, {"images": images})
    assert decibels(got, v1.logits(images)) < 100
