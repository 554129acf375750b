"""What ONNX Runtime is given in place of a BF16 graph."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from swin_deploy.onnx_graph.widen import holds_bf16, widened
from tests.chain import Chain

HALF = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def half_kinds(model: ModelProto) -> set[int]:
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    kinds |= {a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute}
    return kinds & HALF


@pytest.mark.parametrize(("name", "answer"), [("simplified", False), ("fp16", False), ("int8", False), ("bf16", True)])
def test_bf16_is_found_where_it_is(chain: Chain, name: str, answer: bool) -> None:
    assert holds_bf16(chain.model(name)) is answer


def test_bf16_is_found_in_a_cast_alone() -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    assert holds_bf16(helper.make_model(helper.make_graph([cast], "g", [], [])))


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_a_widened_graph_is_fp32_and_keeps_the_rounded_weights(chain: Chain, name: str) -> None:
    typed = chain.model(name)
    before = typed.SerializeToString()
    assert half_kinds(typed)
    wide = widened(typed)
    assert typed.SerializeToString() == before
    assert not half_kinds(wide)
    checker.check_model(wide, full_check=True)
    old = {tensor.name: numpy_helper.to_array(tensor) for tensor in typed.graph.initializer}
    for tensor in wide.graph.initializer:
        values = numpy_helper.to_array(tensor)
        np.testing.assert_array_equal(values, old[tensor.name].astype(values.dtype))
