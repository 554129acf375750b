"""FP32 operators with half precision's rounding: ONNX Runtime keeps the casts, and overflow is overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from swin_deploy.backends.onnxruntime import literal_session, outputs_of
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.rounded import rounded
from swin_deploy.onnx_graph.typing_pass import type_graph
from tests.chain import Chain, decibels, random_images

Array = npt.NDArray[np.float32]


def run(model: ModelProto, x: Array) -> Array:
    return literal_session(model).infer(x)["y"]  # type: ignore[return-value]


def typed(body: str, half: str, **weights: Any) -> ModelProto:
    model = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[N, M] x) => (float[N, K] y) {{ {body} }}'
    )
    for number, node in enumerate(model.graph.node):
        node.name = f"part/{number}"
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), name))
    return type_graph(model, half=half)


def row(*values: float) -> Array:
    return np.array([values], np.float32)


def test_fp16_overflows_to_infinity_where_onnx_runtimes_own_does_not() -> None:
    # 65504 * 2, then halved again: in FP32 nothing happened.
    model = typed("a = Add(x, x) y = Add(a, b)", "fp16", b=[-65504.0])
    assert run(rounded(model), row(65504.0)) == np.inf
    assert next(iter(outputs_of(model, [row(65504.0)])))["y"] == 65504.0  # the control, as it runs without


def test_fp16_rounds_to_the_nearest_and_to_even() -> None:
    model = typed("y = Add(x, zero)", "fp16", zero=[0.0])
    np.testing.assert_array_equal(run(rounded(model), row(2049, 2051, 65519, 1e-8)), row(2048, 2052, 65504, 0))


def test_each_operators_result_is_rounded_and_not_the_last_one_alone() -> None:
    model = typed("a = Add(x, one) y = Add(a, minus)", "fp16", one=[1.0], minus=[-2048.0])
    assert run(rounded(model), row(2048.0)) == 0.0  # 2049 is 2048
    assert next(iter(outputs_of(model, [row(2048.0)])))["y"] == 1.0  # the control


def test_a_sum_of_products_is_accumulated_in_fp32_and_rounded_once() -> None:
    model = typed("y = MatMul(x, w)", "fp16", w=[[1.0], [1.0], [1.0]])
    assert run(rounded(model), row(2048.0, 1.0, 1.0)) == 2050.0  # in FP16 it would stay 2048


def test_bf16_rounds_coarsely_and_does_not_overflow_where_fp16_does() -> None:
    model = typed("a = Add(x, x) y = Add(a, zero)", "bf16", zero=[0.0])
    np.testing.assert_array_equal(run(rounded(model), row(257, 65504)), row(512, 131072))
    assert run(rounded(model), row(3e38)) == np.inf


def test_what_stays_in_fp32_is_not_rounded() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N, M] x) => (float[N, K] y) { y = Add(x, x) }'
    )
    model.graph.node[0].name = "part/Add"
    kept = type_graph(model, half="fp16", keep=("part/Add",))
    assert run(rounded(kept), row(2049, 65504)).tolist() == [[4098, 131008]]


def test_moving_numbers_costs_no_cast() -> None:
    casts = []
    for body in ("y = Add(x, x)", "a = Transpose(x) y = Add(a, a)"):
        model = rounded(typed(body, "fp16"))
        casts.append(sum(node.op_type == "Cast" for node in model.graph.node))
    assert casts[0] == casts[1]


@pytest.mark.parametrize(("name", "half"), [("fp16", "half.fp16"), ("bf16", "half.bf16")])
def test_the_errors_of_a_network_are_of_pytorchs_half_precisions_size(chain: Chain, name: str, half: str) -> None:
    images = random_images(8)
    wanted = chain.logits(images)
    mine = decibels(literal_session(rounded(chain.model(name))).infer(images)["logits"], wanted)
    with torch.inference_mode():
        theirs = chain.deployment(half)(torch.from_numpy(images).to(chain.deployment(half).head.weight.dtype))
    assert abs(mine - decibels(theirs.float().numpy(), wanted)) < 4.0
    if name == "fp16":  # the control: ONNX Runtime alone rounds the weights only
        plain = next(iter(outputs_of(chain.model(name), [images])))["logits"]
        assert decibels(plain, wanted) > mine + 1.0


@pytest.mark.parametrize("name", ["int8", "fp8"])
def test_a_typed_graph_with_codes_runs_too(v1: Chain, name: str) -> None:
    images = random_images(4)
    found = literal_session(rounded(v1.model(name))).infer(images)["logits"]
    assert decibels(found, v1.logits(images)) > 15.0


def test_the_graph_itself_is_left_as_it_is(v1: Chain) -> None:
    model = v1.model("fp16")
    before = model.SerializeToString()
    rounded(model)
    assert model.SerializeToString() == before


def test_a_value_of_unknown_type_is_refused() -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], "part/Mystery", domain="elsewhere")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph(
        [node, helper.make_node("Neg", ["y"], ["z"])], "g", [value], [onnx.ValueInfoProto(name="z")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("elsewhere", 1)])
    with pytest.raises(BadInput, match="type of y is not known"):
        rounded(model)
