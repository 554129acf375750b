"""Q/DQ: what is written, and that it means the arithmetic it claims."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, checker, numpy_helper, parser

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import BLOCK_LINEARS, Linear, linears
from swin_deploy.onnx_graph.qdq import insert_qdq
from tests.chain import Chain, random_images

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


def two_linears() -> tuple[ModelProto, list[Linear]]:
    model = parser.parse_model(TWO)
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    return model, list(linears(model))


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def run_literally(model: ModelProto, outputs: list[str], **inputs: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(outputs, inputs))


def test_one_linear_computes_what_is_computed_by_hand() -> None:
    model, (first, _) = two_linears()
    quantized = insert_qdq(model, [first], {"x": 12.7})
    held = arrays(quantized)
    # 12.7 / 127 = 0.1 and, for the columns, 1.27 / 127 and 0.5 / 127, each rounded to FP16.
    assert held["p.input.scale"] == 0.0999755859375
    assert held["p.weight.scale"].tolist() == [0.01000213623046875, 0.003936767578125]
    # 1.27 -> 126.97, 0.3 -> 29.99; 0.5 -> 127.008, -0.25 -> -63.504.
    assert held["p.weight.int8"].tolist() == [[127, 127], [30, -64]]
    (p,) = run_literally(with_output(quantized, "p"), ["p"], x=np.array([[1.0, -2.0]], np.float32))
    # 1 and -2 become 10 and -20 steps: 10*127 - 20*30 = 670, and 10*127 + 20*64 = 2550.
    wanted = [670 * 0.0999755859375 * 0.01000213623046875, 2550 * 0.0999755859375 * 0.003936767578125]
    np.testing.assert_allclose(p[0], wanted, rtol=1e-6)


def with_output(model: ModelProto, name: str) -> ModelProto:
    wider = ModelProto()
    wider.CopyFrom(model)
    wider.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return wider


def test_an_activation_beyond_its_range_is_clipped_to_all_of_int8() -> None:
    model, (first, _) = two_linears()
    quantized = with_output(insert_qdq(model, [first], {"x": 12.7}), "p.input.dq")
    (got,) = run_literally(quantized, ["p.input.dq"], x=np.array([[99.0, -99.0]], np.float32))
    np.testing.assert_allclose(got[0], [127 * 0.0999755859375, -128 * 0.0999755859375], rtol=1e-7)


def test_a_shared_activation_is_quantized_once_before_its_first_use_whatever_the_order() -> None:
    model, chosen = two_linears()
    quantized = insert_qdq(model, reversed(chosen), {"x": 3.0})
    checker.check_model(quantized, full_check=True)
    kinds = [node.op_type for node in quantized.graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 3  # the activation and two weights
    multiplications = [node for node in quantized.graph.node if node.op_type == "MatMul"]
    assert {node.input[0] for node in multiplications} == {"p.input.dq"}


def test_biases_and_the_old_weights() -> None:
    model, chosen = two_linears()
    held = arrays(insert_qdq(model, chosen, {"x": 3.0}))
    assert held["b"].tolist() == [0.5, 0.25]
    assert not {"w1", "w2"} & set(held)
    assert {"w1", "w2"} <= set(arrays(model))


def test_an_activation_without_a_range_is_refused() -> None:
    model, chosen = two_linears()
    with pytest.raises(BadInput, match="no range was calibrated for x, the input of p"):
        insert_qdq(model, chosen, {"other": 1.0})


def test_a_scale_that_fp16_cannot_hold_is_refused() -> None:
    model, chosen = two_linears()
    with pytest.raises(BadInput, match=r"scale of 7\.874e"):
        insert_qdq(model, chosen, {"x": 1e7})


def test_a_range_so_small_that_its_scale_vanishes_in_fp16_still_has_a_scale() -> None:
    model, chosen = two_linears()
    held = arrays(insert_qdq(model, chosen, {"x": 1e-12}))
    assert held["p.input.scale"] == np.finfo(np.float16).smallest_normal


def test_a_channel_of_tiny_weights_does_not_saturate() -> None:
    """Its own scale would be a subnormal FP16, one digit long; the smallest normal one costs resolution only."""
    model, chosen = two_linears()
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == chosen[0].weight]
    values = numpy_helper.to_array(weight).copy()
    values[:, 0] = 1.1e-5 * np.sign(values[:, 0])
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    held = arrays(insert_qdq(model, chosen, {"x": 1.0}))
    scale = held[f"{chosen[0].module}.weight.scale"]
    codes = held[f"{chosen[0].module}.weight.int8"]
    assert scale[0] == np.finfo(np.float16).smallest_normal
    assert np.abs(codes[:, 0] * scale[0] - values[:, 0]).max() <= scale[0] / 2


def test_only_block_linears_are_quantized(chain: Chain) -> None:
    model = chain.model("qdq")
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
    assert list(linears(model)) == [
        linear for linear in linears(model) if not BLOCK_LINEARS.fullmatch(linear.module)
    ]  # no block linear is left in FP32


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
        # Each output channel fills the range, but for the zero channels that widen a head to what engines fuse.
        largest = np.abs(stored.astype(int)).max(axis=0)
        assert set(largest.tolist()) <= {0, 127}
        assert (largest == 127).sum() >= stored.shape[1] // 2


@pytest.mark.parametrize("name", ["qdq", "lowered.qdq"])
def test_scales_of_the_fp32_graph_are_numbers_that_fp16_holds(chain: Chain, name: str) -> None:
    scales = {key: value for key, value in arrays(chain.model(name)).items() if key.endswith(".scale")}
    assert len(scales) == 32
    for key, value in scales.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value.astype(np.float16).astype(np.float32), value, err_msg=key)
        assert (value > 0).all()


def test_the_typed_graph_and_the_fp32_graph_hold_the_same_integers_and_scales(chain: Chain) -> None:
    wide, typed = arrays(chain.model("qdq")), arrays(chain.model("int8"))
    integers = {name for name, value in wide.items() if value.dtype == np.int8}
    assert len(integers) == 48  # 16 weights and 32 zero points
    for name in integers:
        np.testing.assert_array_equal(typed[name], wide[name], err_msg=name)
    for name in [name for name in wide if name.endswith(".scale")]:
        assert typed[f"{name}.fp16"].dtype == np.float16
        np.testing.assert_array_equal(typed[f"{name}.fp16"].astype(np.float32), wide[name], err_msg=name)


@pytest.mark.parametrize("module", ["blocks.1.attn.qkv", "blocks.3.mlp.2"])
def test_onnx_runtime_computes_what_pytorch_simulates(chain: Chain, module: str) -> None:
    plain, quantized = chain.model("simplified"), chain.model("qdq")
    linear = next(item for item in linears(plain) if item.module == module)
    product = plain.graph.node[linear.node].output[0]
    inside, outside = run_literally(
        with_output(with_output(quantized, linear.activation), product),
        [linear.activation, product],
        images=random_images(3),
    )
    held, old = arrays(quantized), arrays(plain)
    amax = chain.produced("qdq").facts["calibration"]["amax"][linear.activation]
    step = float(np.float16(np.float32(amax / 127)))
    columns = np.abs(old[linear.weight]).max(axis=0) / 127
    columns = columns.astype(np.float32).astype(np.float16).astype(np.float32)
    x = torch.fake_quantize_per_tensor_affine(torch.from_numpy(inside), step, 0, -128, 127)
    w = torch.fake_quantize_per_channel_affine(
        torch.tensor(old[linear.weight]),
        torch.from_numpy(columns),
        torch.zeros(len(columns), dtype=torch.int32),
        1,
        -128,
        127,
    )
    assert held[f"{module}.input.scale"] == step
    np.testing.assert_allclose(held[f"{module}.weight.int8"] * columns, w.numpy(), rtol=1e-6)
    np.testing.assert_allclose(outside, (x @ w).numpy(), rtol=1e-4, atol=1e-5)
    # The control: without the rounding the product is another one.
    assert not np.allclose(outside, inside @ old[linear.weight], rtol=1e-4, atol=1e-5)
