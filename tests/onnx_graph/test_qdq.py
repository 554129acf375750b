"""Q/DQ: what is written, and that it means the arithmetic it claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, checker, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from calib.grid import GRIDS, INT8, Grid
from calib.tools.problem import LinearProblem
from swin_deploy.onnx_graph.input_groups import InputGroup
from swin_deploy.onnx_graph.linears import BLOCK_LINEARS, Linear, linears
from swin_deploy.onnx_graph.qdq import insert_qdq
from tests.chain import Chain, random_images
from tests.quantized_graph import solved_anyhow

TWO = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] w1 = {1.27, 0.5, 0.3, -0.25}, float[2, 2] w2 = {1.0, 2.0, 3.0, 4.0}, float[2] b = {0.5, 0.25}>
{
    p = MatMul(x, w1)
    q = Add(p, b)
    r = MatMul(x, w2)
    y = Add(q, r)
}
"""
STEP = 0.0999755859375  # 0.1 as FP16 has it


def two_linears() -> tuple[ModelProto, list[Linear]]:
    model = parser.parse_model(TWO)
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    return model, list(linears(model))


def solved(
    model: ModelProto, chosen: Sequence[Linear], grid: Grid = INT8, step: float = STEP
) -> list[tuple[InputGroup, LinearProblem]]:
    """With a step of this file's own."""
    return solved_anyhow(model, chosen, grid, step)


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run_literally(model: ModelProto, outputs: list[str], **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(outputs, inputs))


def with_output(model: ModelProto, name: str) -> ModelProto:
    wider = ModelProto()
    wider.CopyFrom(model)
    wider.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return wider


def test_one_linear_computes_what_is_computed_by_hand() -> None:
    model, (first, _) = two_linears()
    quantized = insert_qdq(model, solved(model, [first]), INT8)
    held = arrays(quantized)
    assert held["p.input.scale"] == STEP
    # 1.27 / 127 and 0.5 / 127, each rounded to FP16.
    assert held["p.weight.scale"].tolist() == [0.01000213623046875, 0.003936767578125]
    # 1.27 -> 126.97, 0.3 -> 29.99; 0.5 -> 127.008, -0.25 -> -63.504.
    assert held["p.weight.int8"].tolist() == [[127, 127], [30, -64]]
    (p,) = run_literally(with_output(quantized, "p"), ["p"], x=np.array([[1.0, -2.0]], np.float32))
    # 1 and -2 become 10 and -20 steps: 10*127 - 20*30 = 670, and 10*127 + 20*64 = 2550.
    np.testing.assert_allclose(p[0], [670 * STEP * 0.01000213623046875, 2550 * STEP * 0.003936767578125], rtol=1e-6)


def test_in_fp8_it_computes_what_is_computed_by_hand() -> None:
    model, (first, _) = two_linears()
    quantized = insert_qdq(model, solved(model, [first], GRIDS["fp8"], step=0.25), GRIDS["fp8"])
    checker.check_model(quantized, full_check=True)
    stored = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    kinds = {stored[name] for name in ("p.input.zero_point", "p.weight.int8", "p.weight.zero_point")}
    assert kinds == {TensorProto.FLOAT8E4M3FN}
    # 1.3 / 0.25 = 5.2 lies between 5 and 5.5, and -8.9 / 0.25 = -35.6 between -36 and -32: four digits, three stored.
    (p,) = run_literally(with_output(quantized, "p"), ["p"], x=np.array([[1.3, -8.9]], np.float32))
    inputs = 0.25 * np.array([5.0, -36.0], np.float32)
    ((_, problem),) = solved(model, [first], GRIDS["fp8"])
    assert problem.rounded is not None
    np.testing.assert_allclose(p[0], inputs @ problem.rounded, rtol=1e-6)
    np.testing.assert_allclose(problem.rounded, arrays(model)["w1"], rtol=1 / 16)


def test_an_activation_beyond_its_range_is_clipped_to_all_of_int8() -> None:
    model, (first, _) = two_linears()
    quantized = with_output(insert_qdq(model, solved(model, [first]), INT8), "p.input.dq")
    (got,) = run_literally(quantized, ["p.input.dq"], x=np.array([[99.0, -99.0]], np.float32))
    np.testing.assert_allclose(got[0], [127 * STEP, -128 * STEP], rtol=1e-7)


def test_a_shared_activation_is_quantized_once_before_its_first_use_whatever_the_order() -> None:
    model, chosen = two_linears()
    quantized = insert_qdq(model, solved(model, chosen[::-1]), INT8)
    checker.check_model(quantized, full_check=True)
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 3  # the activation and two weights
    multiplications = [node for node in quantized.graph.node if node.op_type == "MatMul"]
    assert {node.input[0] for node in multiplications} == {"p.input.dq"}
    # Each gets its own columns of the weights that were solved side by side.
    held = arrays(quantized)
    for name, weight in (("p", "w1"), ("r", "w2")):
        np.testing.assert_allclose(
            held[f"{name}.weight.int8"] * held[f"{name}.weight.scale"], arrays(model)[weight], atol=0.02
        )


def test_the_model_that_was_given_is_left_as_it_is_and_old_weights_go() -> None:
    model, chosen = two_linears()
    before = model.SerializeToString()
    held = arrays(insert_qdq(model, solved(model, chosen), INT8))
    assert model.SerializeToString() == before
    assert held["b"].tolist() == [0.5, 0.25]
    assert not {"w1", "w2"} & set(held)


def test_a_correction_is_added_to_the_bias_of_its_own_linear_alone() -> None:
    model, chosen = two_linears()
    ((group, problem),) = solved(model, chosen)
    corrected = LinearProblem(
        **{**vars(problem), "correction": np.array([1.0, 2.0, 3.0, 4.0], np.float32)}  # two outputs each
    )
    quantized = insert_qdq(model, [(group, corrected)], INT8)
    held = arrays(quantized)
    # The second has no bias to correct, and gets none.
    assert held["p.bias.corrected"].tolist() == [1.5, 2.25]
    assert [name for name in held if "corrected" in name] == ["p.bias.corrected"]
    x = np.array([[0.3, -1.2]], np.float32)
    (got,), (plain,) = (
        run_literally(graph, ["y"], x=x) for graph in (quantized, insert_qdq(model, [(group, problem)], INT8))
    )
    np.testing.assert_allclose(got - plain, [[1.0, 2.0]], rtol=1e-6)


def test_two_linears_that_share_a_bias_are_corrected_apart() -> None:
    text = TWO.replace("y = Add(q, r)", "s = Add(r, b) y = Add(q, s)")
    model = parser.parse_model(text)
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    ((group, problem),) = solved(model, list(linears(model)))
    corrected = LinearProblem(**{**vars(problem), "correction": np.array([1, 2, 3, 4], np.float32)})
    held = arrays(insert_qdq(model, [(group, corrected)], INT8))
    assert held["p.bias.corrected"].tolist() == [1.5, 2.25]
    assert held["r.bias.corrected"].tolist() == [3.5, 4.25]


@pytest.mark.parametrize("grid", ["int8", "fp8"])
def test_folded_is_the_same_function_with_fewer_nodes(grid: str) -> None:
    model, chosen = two_linears()
    pairs = solved(model, chosen, GRIDS[grid])
    plain, folded = (insert_qdq(model, pairs, GRIDS[grid], folded=folded) for folded in (False, True))
    assert len(folded.graph.node) == len(plain.graph.node) - 2
    x = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32) * 4
    (wanted,), (got,) = (run_literally(graph, ["y"], x=x) for graph in (plain, folded))
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
    (float_answer,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert np.abs(wanted - float_answer).max() > 1e-3  # the control: rounding is seen


def test_a_channel_of_tiny_weights_does_not_saturate() -> None:
    """Its own scale would be a subnormal FP16, one digit long; the smallest normal one costs resolution only."""
    model, chosen = two_linears()
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == chosen[0].weight]
    values = numpy_helper.to_array(weight).copy()
    values[:, 0] = 1.1e-5 * np.sign(values[:, 0])
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    held = arrays(insert_qdq(model, solved(model, chosen), INT8))
    scale = held[f"{chosen[0].module}.weight.scale"]
    codes = held[f"{chosen[0].module}.weight.int8"]
    assert scale[0] == np.finfo(np.float16).smallest_normal
    assert np.abs(codes[:, 0] * scale[0] - values[:, 0]).max() <= scale[0] / 2


@pytest.mark.parametrize("name", ["qdq", "qdq.fp8"])
def test_only_block_linears_are_quantized(chain: Chain, name: str) -> None:
    model = chain.model(name)
    producers = {name: node for node in model.graph.node for name in node.output}
    surrounded = []
    for node in model.graph.node:
        fed = [producers[name].op_type for name in node.input if name in producers]
        if "DequantizeLinear" in fed:
            assert (node.op_type, fed) == ("MatMul", ["DequantizeLinear"] * 2)
            surrounded.append(node.name.removesuffix("/MatMul"))
        elif "QuantizeLinear" in fed:
            assert node.op_type == "DequantizeLinear"
    linears_wanted = [f"blocks.{b}.{part}" for b in range(4) for part in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")]
    assert surrounded == linears_wanted
    counts = [node.op_type for node in model.graph.node]
    assert counts.count("QuantizeLinear") == 16
    assert counts.count("DequantizeLinear") == 32
    assert not any(BLOCK_LINEARS.fullmatch(linear.module) for linear in linears(model))  # none is left in FP32


@pytest.mark.parametrize("name", ["qdq", "int8"])  # lowered ones: test_lowering.py
def test_weights_are_int8_per_output_channel_and_nothing_is_int32(chain: Chain, name: str) -> None:
    model = chain.model(name)
    held = arrays(model)
    weights = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in held]
    assert len(weights) == 16
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            assert held[node.input[2]].dtype == np.int8
            assert not held[node.input[2]].any()
    for node in weights:
        stored, scale = held[node.input[0]], held[node.input[1]]
        assert stored.dtype == np.int8
        assert stored.ndim == 2
        assert scale.shape == (stored.shape[1],)
        assert {a.name: a.i for a in node.attribute} == {"axis": 1}
        # Each output channel about fills the range, but for the zero channels that widen a head to what engines fuse:
        # an error that reconstruction passes on may leave the largest weight a few codes lower.
        largest = np.abs(stored.astype(int)).max(axis=0)
        assert (largest[largest > 0] >= 110).all()
        assert (largest > 0).sum() >= stored.shape[1] // 2


@pytest.mark.parametrize("name", ["qdq", "lowered.qdq", "qdq.fp8"])
def test_scales_of_the_fp32_graph_are_numbers_that_fp16_holds(chain: Chain, name: str) -> None:
    scales = {key: value for key, value in arrays(chain.model(name)).items() if key.endswith(".scale")}
    assert len(scales) == 32
    for key, value in scales.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value.astype(np.float16).astype(np.float32), value, err_msg=key)
        assert (value > 0).all()


@pytest.mark.parametrize(("qdq", "typed_name"), [("qdq", "int8"), ("qdq.fp8", "fp8")])
def test_the_typed_graph_and_the_fp32_graph_hold_the_same_codes_and_scales(
    chain: Chain, qdq: str, typed_name: str
) -> None:
    wide, typed = arrays(chain.model(qdq)), arrays(chain.model(typed_name))
    codes = {name for name, value in wide.items() if value.dtype.name in ("int8", "float8_e4m3fn")}
    assert len(codes) == 48  # 16 weights and 32 zero points
    for name in codes:
        assert typed[name].tobytes() == wide[name].tobytes(), name
    for name in [name for name in wide if name.endswith(".scale")]:
        assert typed[f"{name}.fp16"].dtype == np.float16
        np.testing.assert_array_equal(typed[f"{name}.fp16"].astype(np.float32), wide[name], err_msg=name)


@pytest.mark.parametrize("module", ["blocks.1.attn.qkv", "blocks.3.mlp.2"])
def test_onnx_runtime_computes_what_pytorch_simulates(chain: Chain, module: str) -> None:
    quantized = chain.model("qdq")
    held = arrays(quantized)
    nodes = {node.name: node for node in quantized.graph.node}
    source = nodes[f"{module}.input/QuantizeLinear"].input[0]
    product = nodes[f"{module}/MatMul"].output[0]
    wider = with_output(with_output(quantized, source), product)
    inside, outside = run_literally(wider, [source, product], images=random_images(3))
    weight = held[f"{module}.weight.int8"] * held[f"{module}.weight.scale"]
    x = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(inside), float(held[f"{module}.input.scale"]), 0, -128, 127
    )
    np.testing.assert_allclose(outside, x.numpy() @ weight, rtol=1e-4, atol=1e-5)
    # The control: without the rounding the product is another one.
    assert not np.allclose(outside, inside @ weight, rtol=1e-4, atol=1e-5)
