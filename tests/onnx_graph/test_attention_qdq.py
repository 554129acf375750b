"""Q/DQ around an attention's products: where it stands, and that it means the arithmetic it claims."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, checker, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from calib.grid import E4M3, fake_quantize, fp16_step
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.attention_qdq import attention_products, insert_attention_qdq, tensors_to_range
from swin_deploy.onnx_graph.linears import quantizable
from swin_deploy.onnx_graph.quantization_audit import audit_quantization
from swin_deploy.onnx_graph.typing_pass import type_graph
from tests.chain import Chain
from tests.quantized_graph import quantized_anyhow

ATTENTION = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[3, 2] q, float[3, 2] k, float[3, 2] v) => (float[3, 2] y)
<float[3, 3] bias = {0.5, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0}, float[3, 3] mask = {0, 0, 0, 0, 0, 0, 0, 0, 0}>
{
    kt = Transpose(k)
    s = MatMul(q, kt)
    biased = Add(s, bias)
    masked = Add(biased, mask)
    p = Softmax(masked)
    y = MatMul(p, v)
}
"""


def attention(text: str = ATTENTION) -> ModelProto:
    model = parser.parse_model(text)
    for node in model.graph.node:
        node.name = f"blocks.0.attn/{node.op_type}_{node.output[0]}"
    return model


def held(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_both_products_are_found_through_bias_and_mask() -> None:
    (found,) = attention_products(attention())
    assert found.module == "blocks.0.attn"
    read = (found.query, found.key, found.probabilities, found.value)
    assert [(one.tensor, one.node, one.position) for one in read] == [
        ("q", 1, 0),
        ("k", 0, 0),
        ("p", 5, 0),
        ("v", 5, 1),
    ]
    assert tensors_to_range(attention()) == ("q", "k", "v")


def test_a_key_that_nobody_transposes_is_quantized_at_the_product() -> None:
    model = attention(ATTENTION.replace("kt = Transpose(k)", "kt = Identity(k)").replace("[3, 2] k", "[2, 3] k"))
    (found,) = attention_products(model)
    assert (found.key.tensor, found.key.position) == ("kt", 1)
    checker.check_model(insert_attention_qdq(model, {"q": 1.0, "kt": 1.0, "v": 1.0}), full_check=True)


def test_it_computes_what_is_computed_by_hand() -> None:
    random = np.random.default_rng(0)
    values = {name: random.normal(size=(3, 2)).astype(np.float32) for name in "qkv"}
    amax = {name: float(np.abs(array).max()) for name, array in values.items()}
    quantized = insert_attention_qdq(attention(), amax)
    checker.check_model(quantized, full_check=True)
    (got,) = ReferenceEvaluator(quantized).run(None, values)
    q, k, v = (fake_quantize(values[name], fp16_step(amax[name] / 127)) for name in "qkv")
    scores = np.exp(q @ k.T + held(quantized)["bias"])
    p = fake_quantize(scores / scores.sum(axis=1, keepdims=True), fp16_step(1 / 127))
    np.testing.assert_allclose(got, p @ v, rtol=1e-6)
    (plain,) = ReferenceEvaluator(attention()).run(None, values)
    assert not np.allclose(got, plain, rtol=1e-4), "the control: without the rounding it is another number"


def test_the_softmax_has_the_range_it_has_by_definition() -> None:
    steps = held(insert_attention_qdq(attention(), dict.fromkeys("qkv", 2.0)))
    assert steps["blocks.0.attn.probabilities.scale"] == np.float16(1 / 127)
    for part in ("query", "key", "value"):
        assert steps[f"blocks.0.attn.{part}.scale"] == np.float32(np.float16(2 / 127))
        assert steps[f"blocks.0.attn.{part}.scale"].dtype == np.float32


def test_in_fp8_the_codes_are_fp8() -> None:
    quantized = insert_attention_qdq(attention(), dict.fromkeys("qkv", 2.0), E4M3)
    checker.check_model(quantized, full_check=True)
    values = held(quantized)
    assert values["blocks.0.attn.value.zero_point"].dtype.name == "float8_e4m3fn"
    assert values["blocks.0.attn.value.scale"] == np.float32(np.float16(2 / 448))


def test_a_missing_range_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"no range was calibrated for k, the key of blocks\.0\.attn"):
        insert_attention_qdq(attention(), {"q": 1.0, "v": 1.0})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("p = Softmax(masked)", "p = Relu(masked)"),
        ("s = MatMul(q, kt)", "s = Add(bias, mask)"),
        ("y = MatMul(p, v)", "y = MatMul(v, p)"),
        ("y = MatMul(p, v)", "y = Add(p, v)"),
    ],
)
def test_what_is_no_attention_is_not_taken_for_one(old: str, new: str) -> None:
    model = attention(ATTENTION.replace(old, new).replace("[3, 2]", "[3, 3]"))
    assert attention_products(model) == ()
    with pytest.raises(BadInput, match="no attention was found"):
        insert_attention_qdq(model, {})


def test_it_does_not_quantize_twice() -> None:
    once = insert_attention_qdq(attention(), dict.fromkeys("qkv", 1.0))
    with pytest.raises(BadInput, match="no attention was found"):
        insert_attention_qdq(once, dict.fromkeys("qkv", 1.0))


def test_every_block_is_found_before_and_after_its_linears_are_quantized_and_stays_valid_typed(chain: Chain) -> None:
    plain = chain.model("simplified")
    linear = quantized_anyhow(plain)
    for model, modules in ((plain, []), (linear, [one.module for one in quantizable(plain)])):
        assert [found.module for found in attention_products(model)] == [f"blocks.{b}.attn" for b in range(4)]
        names = tensors_to_range(model)
        assert len(set(names)) == 12
        quantized = insert_attention_qdq(model, dict.fromkeys(names, 3.0))
        checker.check_model(quantized, full_check=True)
        checker.check_model(type_graph(quantized, half="fp16"), full_check=True)
        audit = audit_quantization(quantized, modules, attention=True)
        assert audit.findings == ()
        assert dict(audit.attention) == {f"blocks.{b}": 2 for b in range(4)}
