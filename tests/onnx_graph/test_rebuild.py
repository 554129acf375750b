"""New nodes, and nothing left of the old ones."""

from __future__ import annotations

import numpy as np
from onnx import checker, helper, numpy_helper, parser

from swin_deploy.onnx_graph.rebuild import replace_nodes


def test_nodes_are_replaced_and_what_only_the_old_ones_used_goes() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) '
        "<float[2] a = {1, 2}, float[2] b = {3, 4}, float[2] t> { t = Add(x, a) y = Mul(t, b) }"
    )
    last = model.graph.node[1]
    replace_nodes(model, [helper.make_node("Neg", ["x"], ["t"]), last])  # one new, one of the model's own
    checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Neg", "Mul"]
    assert [tensor.name for tensor in model.graph.initializer] == ["b"]
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), [3, 4])
    assert not model.graph.value_info
