"""The audit finds nothing in what the stages write, and each defect that is built by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import quantizable
from swin_deploy.onnx_graph.profiles import LOWERED, in_profile
from swin_deploy.onnx_graph.quantization_audit import audit_quantization, require_clean
from swin_deploy.onnx_graph.typing_pass import type_graph
from tests.chain import Chain
from tests.quantized_graph import quantized_anyhow

CHOSEN = ("blocks.0.attn.qkv", "blocks.0.mlp.0")
# Two linears in codes, a third in float.
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2, 2] x) => (float[N, 2, 2] y)
<float xs = {0.5}, int8 xz = {0}, float hs = {0.25}, int8 hz = {0}, int8[2, 2] w = {1, 2, 3, 4},
 float[2] ws = {0.5, 0.25}, int8[2] wz = {0, 0}, int8[2, 2] u = {1, 2, 3, 4}, float[2] us = {0.5, 0.25},
 int8[2] uz = {0, 0}, float[2, 2] f = {1, 2, 3, 4}, float[2] b = {0.5, 0.5}>
{
    xq = QuantizeLinear(x, xs, xz)
    xd = DequantizeLinear(xq, xs, xz)
    wd = DequantizeLinear <axis = 1> (w, ws, wz)
    p = MatMul(xd, wd)
    h = Add(p, b)
    hq = QuantizeLinear(h, hs, hz)
    hd = DequantizeLinear(hq, hs, hz)
    ud = DequantizeLinear <axis = 1> (u, us, uz)
    m = MatMul(hd, ud)
    y = MatMul(m, f)
}
"""
PATHS = {"p": "blocks.0.attn.qkv", "m": "blocks.0.mlp.0", "y": "blocks.0.merge.reduction"}


def built(text: str = GRAPH) -> ModelProto:
    model = parser.parse_model(text)
    for node in model.graph.node:
        path = PATHS.get(node.output[0], node.output[0])
        node.name = f"{path}/{node.op_type}"
    return model


def node(model: ModelProto, output: str) -> NodeProto:
    return next(found for found in model.graph.node if output in found.output)


def put(model: ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def spoiled(change: Callable[[ModelProto], None]) -> tuple[str, ...]:
    model = built()
    change(model)
    return audit_quantization(model, CHOSEN).findings


def test_a_clean_graph_has_no_finding_and_its_products_are_counted() -> None:
    audit = audit_quantization(built(), CHOSEN)
    assert audit.findings == ()
    assert audit.facts() == {"linears": {"blocks.0": 2}, "attention": {}, "stored": "INT8"}
    assert require_clean(built(), CHOSEN) == audit.facts()


def left_in_float(model: ModelProto) -> None:
    node(model, "m").input[0] = "h"


def weight_in_float(model: ModelProto) -> None:
    node(model, "m").input[1] = "f"


def float_product_reads_codes(model: ModelProto) -> None:
    node(model, "y").input[0] = "hd"


def read_by_an_addition(model: ModelProto) -> None:
    node(model, "h").input[1] = "xd"


def read_by_nobody(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["spare"], "spare/Dequantize"))


def given_as_an_output(model: ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("hd", TensorProto.FLOAT, None))


def codes_of_nobody(model: ModelProto) -> None:
    node(model, "hd").input[0] = "given"
    model.graph.input.append(helper.make_tensor_value_info("given", TensorProto.INT8, ["N", 2, 2]))


def double_pair(model: ModelProto) -> None:
    first, second = node(model, "hq"), node(model, "hd")
    second.output[0] = "hd1"
    for made in (
        helper.make_node("QuantizeLinear", ["hd1", "hs", "hz"], ["hq2"], "again/QuantizeLinear"),
        helper.make_node("DequantizeLinear", ["hq2", "hs", "hz"], ["hd"], "again/DequantizeLinear"),
    ):
        model.graph.node.append(made)
    assert first.output[0] == second.input[0]


def codes_read_as_such(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Cast", ["hq"], ["seen"], "seen/Cast", to=TensorProto.FLOAT))


def another_step_behind(model: ModelProto) -> None:
    node(model, "hd").input[1] = "xs"


def bias_of_int32(model: ModelProto) -> None:
    put(model, "b", np.array([1, 2], np.int32))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int32), "bz"))
    model.graph.node.insert(
        0, helper.make_node("DequantizeLinear", ["b", "xs", "bz"], ["bd"], "blocks.0.attn.qkv.bias/DequantizeLinear")
    )
    node(model, "h").input[1] = "bd"


def one_step_for_the_weight(model: ModelProto) -> None:
    put(model, "us", np.array(0.5, np.float32))


def steps_along_the_inputs(model: ModelProto) -> None:
    node(model, "ud").attribute[0].i = 0


def step_of_zero(model: ModelProto) -> None:
    put(model, "us", np.array([0.5, 0.0], np.float32))


def step_that_is_no_number(model: ModelProto) -> None:
    put(model, "xs", np.array(np.nan, np.float32))


def activation_by_channel(model: ModelProto) -> None:
    put(model, "xs", np.array([0.5, 0.5], np.float32))


def zero_point_of_an_activation(model: ModelProto) -> None:
    put(model, "hz", np.array(3, np.int8))


def zero_point_of_a_weight(model: ModelProto) -> None:
    put(model, "uz", np.array([0, 1], np.int8))


def unsigned(model: ModelProto) -> None:
    put(model, "hz", np.array(0, np.uint8))


def step_from_outside(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("given", TensorProto.FLOAT, []))
    node(model, "hq").input[1] = node(model, "hd").input[1] = "given"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (left_in_float, "blocks.0.mlp.0 (blocks.0.mlp.0/MatMul) reads no dequantized codes on its left side"),
        (weight_in_float, "blocks.0.mlp.0 (blocks.0.mlp.0/MatMul) reads no dequantized codes on its right side"),
        (float_product_reads_codes, "blocks.0.merge.reduction (blocks.0.merge.reduction/MatMul) reads dequantized"),
        (read_by_an_addition, "xd/DequantizeLinear feeds no product"),
        (read_by_nobody, "spare/Dequantize feeds no product"),
        (given_as_an_output, "hd/DequantizeLinear feeds no product"),
        (codes_of_nobody, "hd/DequantizeLinear has no QuantizeLinear before it"),
        (double_pair, "again/QuantizeLinear quantizes again what hd/DequantizeLinear dequantized"),
        (codes_read_as_such, "the codes of hq/QuantizeLinear are not read by a DequantizeLinear alone"),
        (another_step_behind, "hd/DequantizeLinear has another step or zero point than hq/QuantizeLinear"),
        (bias_of_int32, "blocks.0.attn.qkv.bias/DequantizeLinear dequantizes a constant of INT32, b"),
        (one_step_for_the_weight, "the step of ud/DequantizeLinear has the shape [], not [2]"),
        (steps_along_the_inputs, "the weight of blocks.0.mlp.0 has its steps along axis 0, not along its outputs"),
        (step_of_zero, "a step of ud/DequantizeLinear is not above 0, or not finite"),
        (step_that_is_no_number, "a step of xd/DequantizeLinear is not above 0, or not finite"),
        (activation_by_channel, "the step of xd/DequantizeLinear has the shape [2], not []"),
        (zero_point_of_an_activation, "a zero point of hd/DequantizeLinear is not 0"),
        (zero_point_of_a_weight, "a zero point of ud/DequantizeLinear is not 0"),
        (unsigned, "the zero point of hd/DequantizeLinear is of UINT8"),
        (step_from_outside, "the step of hd/DequantizeLinear is no constant"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_defect_is_found(change: Callable[[ModelProto], None], said: str) -> None:
    assert any(finding.startswith(said) for finding in spoiled(change)), spoiled(change)


def test_what_was_chosen_and_is_not_there_is_found() -> None:
    (finding,) = audit_quantization(built(), (*CHOSEN, "blocks.1.mlp.0")).findings
    assert finding == "the chosen linear blocks.1.mlp.0 is not in the graph"


def test_what_was_quantized_and_not_chosen_is_found() -> None:
    (finding,) = audit_quantization(built(), CHOSEN[:1]).findings
    assert finding == "blocks.0.mlp.0 (blocks.0.mlp.0/MatMul) reads dequantized codes and was not chosen"


def test_attention_that_was_to_be_quantized_and_was_not_is_found(v1: Chain) -> None:
    findings = audit_quantization(v1.model("simplified"), (), attention=True).findings
    assert len(findings) == 4 * 2 * 2 + 1  # blocks, products, sides
    assert findings[-1] == "no attention reads dequantized codes"


def test_codes_of_two_kinds_are_found() -> None:
    model = built()
    for name in ("hz", "u", "uz"):
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        size = int(np.prod(tensor.dims))
        tensor.CopyFrom(helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, tensor.dims, b"\0" * size, raw=True))
    assert audit_quantization(model, CHOSEN).findings == ("the graph holds codes of FP8 and INT8",)


def test_findings_become_an_error_that_names_the_first_few() -> None:
    model = built()
    left_in_float(model)
    weight_in_float(model)
    step_that_is_no_number(model)
    zero_point_of_a_weight(model)
    with pytest.raises(BadInput, match=r"not what was asked for: .*; and \d more"):
        require_clean(model, CHOSEN)


@pytest.mark.parametrize("grid", ["int8", "fp8"])
def test_the_graphs_that_the_stages_write_are_clean_and_hold_four_products_a_block(chain: Chain, grid: str) -> None:
    plain = chain.model("simplified")
    chosen = [linear.module for linear in quantizable(plain)]
    quantized = quantized_anyhow(plain, grid=grid)
    graphs = [quantized, type_graph(quantized, half="fp16")]
    graphs += [in_profile(quantized, profile) for profile in LOWERED if grid == "int8"]
    for model in graphs:
        audit = audit_quantization(model, chosen)
        assert audit.findings == ()
        assert audit.facts() == {
            "linears": {f"blocks.{block}": 4 for block in range(4)},
            "attention": {},
            "stored": grid.upper(),
        }
    assert len(audit_quantization(plain, chosen).findings) == 2 * len(chosen)  # the control: nothing is quantized there
