"""From opset 20 to 17 and 16 without a change of meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, checker, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.census import node_counts
from swin_deploy.onnx_graph.lowering import lowered
from swin_deploy.onnx_graph.tensorrt8_operators import IMPORTERS, Importer
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


FORMS = [
    pytest.param(strong, made + ending, opset, id=made + ending)
    for made, opset in (("lowered", 17), ("lowered85", 16))
    for strong, ending in (("simplified", ""), ("qdq", ".qdq"))
]
BOTH = pytest.mark.parametrize("importer", IMPORTERS.values(), ids=IMPORTERS)


@pytest.mark.parametrize(("strong", "made", "opset"), FORMS)
def test_the_lowered_graph_is_valid_at_its_opset(chain: Chain, strong: str, made: str, opset: int) -> None:
    model = chain.model(made)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert model.ir_version == 8
    checker.check_model(model, full_check=True)
    counts = node_counts(model)
    assert "Gelu" not in counts
    assert counts["Erf"] == 4
    norms = node_counts(chain.model(strong))["LayerNormalization"]
    assert counts.get("LayerNormalization", 0) == (norms if opset == 17 else 0)
    assert counts.get("Pow", 0) == (0 if opset == 17 else norms)


@pytest.mark.parametrize(("strong", "made", "opset"), FORMS)
def test_the_lowered_graph_computes_the_same(chain: Chain, strong: str, made: str, opset: int) -> None:
    images = random_images(7)
    answers = []
    for name in (strong, made):
        with OnnxRuntime(literal=True).open(chain.artifact(name)) as session:
            answers.append(session.infer(images)["logits"])
    # A Q/DQ graph may round an activation the other way when what is before it differs in its last bit.
    assert decibels(answers[1], answers[0]) >= (100 if strong == "simplified" else 35)


@pytest.mark.parametrize("name", ["lowered.qdq", "lowered85.qdq"])
def test_weights_are_float_with_a_quantize_node_that_gives_the_same_integers(chain: Chain, name: str) -> None:
    """TensorRT 8 refuses constants of the type INT8; the codes must survive the detour through FP32."""
    strong, older = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in chain.model(made).graph.initializer}
        for made in ("qdq", name)
    )
    makers = {node.output[0]: node for node in chain.model(name).graph.node}
    weights = [name for name, values in strong.items() if values.dtype == np.int8 and values.ndim == 2]
    assert len(weights) == 16  # four linears in each of four blocks
    for weight in weights:
        stem = weight.removesuffix(".int8")
        quantize = makers[f"{stem}.q"]
        assert quantize.op_type == "QuantizeLinear" and makers[f"{stem}.dq"].input[0] == quantize.output[0]
        values, scale = older[quantize.input[0]], older[quantize.input[1]]
        assert values.dtype == np.float32
        assert np.array_equal(np.rint(values / scale).astype(np.int8), strong[weight])
    assert all(values.ndim < 2 for values in older.values() if values.dtype == np.int8)  # zero points only


@BOTH
def test_gelu_becomes_the_exact_one(importer: Importer) -> None:
    made = lowered(parsed("y = Gelu(x)"), importer)
    assert [node.op_type for node in made.graph.node] == ["Div", "Erf", "Add", "Mul", "Mul"]
    x = np.array([[-3.0, -0.5, 0.0, 2.0]], np.float32)
    (got,) = ReferenceEvaluator(made).run(None, {"x": x})
    wanted = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x[0].tolist()]
    np.testing.assert_allclose(got[0], wanted, atol=1e-7)
    assert wanted[3] == pytest.approx(1.954500, abs=1e-6)  # 2 * Phi(2)


@BOTH
def test_several_gelus_share_their_constants(importer: Importer) -> None:
    made = lowered(parsed("a = Gelu(x) y = Gelu(a)"), importer)
    assert sorted(t.name for t in made.graph.initializer) == ["gelu.half", "gelu.one", "gelu.sqrt2"]


@BOTH
def test_an_approximate_gelu_is_refused(importer: Importer) -> None:
    with pytest.raises(BadInput, match="approximate GELU"):
        lowered(parsed('y = Gelu <approximate = "tanh"> (x)'), importer)


@BOTH
def test_the_axes_of_a_reduction_become_an_attribute(importer: Importer) -> None:
    made = lowered(parsed("a = ReduceMean <keepdims = 0> (x, axes) y = Relu(x)", "<int64[1] axes = {1}>"), importer)
    node = made.graph.node[0]
    assert list(node.input) == ["x"]
    assert {a.name: list(a.ints) or a.i for a in node.attribute} == {"axes": [1], "keepdims": 0}
    assert not made.graph.initializer


@BOTH
@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [("start = 1", [4]), ("end = 1", [1]), ("start = -1", [4]), ("start = 0, end = -1", [1])],
)
def test_a_part_of_a_shape_is_cut_out_of_the_whole(importer: Importer, attributes: str, wanted: list[int]) -> None:
    made = lowered(parsed(f"s = Shape <{attributes}> (x) y = Expand(x, s)"), importer)
    assert [node.op_type for node in made.graph.node] == ["Shape", "Slice", "Expand"]
    assert not made.graph.node[0].attribute
    del made.graph.node[2:]
    made.graph.output[0].name = "s"
    (found,) = ReferenceEvaluator(made).run(None, {"x": np.zeros((1, 4), np.float32)})
    assert found.tolist() == wanted


RESIZE = 'nearest_mode = "floor", coordinate_transformation_mode = "asymmetric", mode = "nearest"'


def resized(attributes: str = "") -> ModelProto:
    """Columns doubled, as SwinIR's real-world model does with rows too."""
    return parsed(f"y = Resize <{RESIZE}{attributes}> (x, , scales)", "<float[2] scales = {1.0, 2.0}>")


@BOTH
def test_nearest_neighbours_lose_the_attributes_that_say_what_was_always_so(importer: Importer) -> None:
    made = lowered(resized(', antialias = 0, keep_aspect_ratio_policy = "stretch"'), importer)
    assert {a.name for a in made.graph.node[0].attribute} == {
        "nearest_mode",
        "coordinate_transformation_mode",
        "mode",
    }
    (got,) = ReferenceEvaluator(made).run(None, {"x": np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)})
    assert got.tolist() == [[1, 1, 2, 2, 3, 3, 4, 4]]


@pytest.mark.parametrize(
    ("attribute", "named"),
    [
        (", antialias = 1", "antialias"),
        (', keep_aspect_ratio_policy = "not_larger"', "keep_aspect_ratio_policy"),
        (", axes = [0, 1]", "axes"),
    ],
)
@BOTH
def test_a_resize_that_an_older_opset_has_no_words_for_is_refused(
    importer: Importer, attribute: str, named: str
) -> None:
    with pytest.raises(BadInput, match=rf"Resize.*has {named}"):
        lowered(resized(attribute), importer)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (parsed("y = ReduceMin(x, axes)", "<int64[1] axes = {1}>"), "ReduceMin"),  # axes as an input came with 18
        (parsed("y = ReduceMean <noop_with_empty_axes = 1> (x, axes)", "<int64[0] axes = {}>"), "noop_with_empty_axes"),
        (parsed("y = Mish(x)"), "Mish"),  # a new operator of 18
        (parsed("y = ReduceMean(x, x)"), "ReduceMean"),  # axes that are no constant
        (parsed("y = elsewhere.Gelu(x)", domain="elsewhere"), "elsewhere.Gelu"),
        (parsed("a, y = Split <num_outputs = 2> (x)"), "num_outputs"),  # an attribute of 18
    ],
    ids=["changed", "no-op", "new", "computed-axes", "foreign-domain", "new-attribute"],
)
@BOTH
def test_what_an_older_opset_does_not_have_is_refused_by_name(
    importer: Importer, model: ModelProto, named: str
) -> None:
    with pytest.raises(BadInput, match=named):
        lowered(model, importer)


@pytest.mark.parametrize("name", ["fp16", "int8"])
@BOTH
def test_a_typed_graph_is_refused(importer: Importer, v1: Chain, name: str) -> None:
    with pytest.raises(BadInput, match="FP32 operators"):
        lowered(v1.model(name), importer)


@BOTH
def test_the_graph_that_was_given_is_not_changed(importer: Importer, v1: Chain) -> None:
    model = v1.model("simplified")
    before = model.SerializeToString()
    lowered(model, importer)
    assert model.SerializeToString() == before


def test_a_spoiled_lowering_would_be_seen(v1: Chain) -> None:
    model = v1.model("lowered")
    half = next(tensor for tensor in model.graph.initializer if tensor.name == "gelu.half")
    half.CopyFrom(numpy_helper.from_array(np.array(0.501, np.float32), "gelu.half"))
    images = random_images(2)
    (got,) = ReferenceEvaluator(model).run(None, {"images": images})
    assert decibels(got, v1.logits(images)) < 100
