"""Names by module, and nothing of the exporter's own notes left."""

from __future__ import annotations

import pytest
from onnx import ModelProto, checker, parser

from swin_deploy.onnx_graph.names import name_by_module, set_metadata

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] val_1 = {1.0, 2.0, 3.0, 4.0}, float[2] bias = {0.5, 0.5}>
{
    a = MatMul(x, val_1)
    b = Add(a, bias)
    c = MatMul(b, val_1)
    d = Add(c, bias)
    y = Relu(d)
}
"""
SCOPES = "pkg.torch.onnx.name_scopes"
SECRET = "File /somewhere/private.py, line 1"


@pytest.fixture
def model() -> ModelProto:
    model = parser.parse_model(TEXT)
    scopes = ["['', 'm', 'm.first', 'linear']"] * 2 + ["['', 'm', 'm.second', 'linear']"] * 2
    for node, scope in zip(model.graph.node, scopes, strict=False):
        node.metadata_props.add(key=SCOPES, value=scope)
    for node in model.graph.node:
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=SECRET)
        node.doc_string = SECRET
    for holder in (model, model.graph, model.graph.initializer[0]):
        holder.metadata_props.add(key="trace", value=SECRET)
    model.graph.value_info.add(name="a").metadata_props.add(key="trace", value=SECRET)
    model.graph.initializer[0].doc_string = SECRET
    return model


def test_nodes_are_named_by_module_and_operator(model: ModelProto) -> None:
    name_by_module(model)
    names = [node.name for node in model.graph.node]
    assert names == ["m.first/MatMul", "m.first/Add", "m.second/MatMul", "m.second/Add", "Relu"]


def test_a_second_node_of_the_same_kind_gets_a_number(model: ModelProto) -> None:
    for node in model.graph.node:
        del node.metadata_props[:]
    name_by_module(model)
    assert [node.name for node in model.graph.node] == ["MatMul", "Add", "MatMul_2", "Add_2", "Relu"]


def test_a_weight_takes_the_name_of_the_first_module_that_multiplies_by_it(model: ModelProto) -> None:
    name_by_module(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["m.first.weight", "bias"]
    assert [node.input[1] for node in model.graph.node if node.op_type == "MatMul"] == ["m.first.weight"] * 2
    checker.check_model(model, full_check=True)


def test_two_weights_of_one_module_have_two_names_and_none_that_is_taken() -> None:
    model = parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 2] x) => (float[N, 2] y)
        <float[2, 2] val_1 = {1.0, 2.0, 3.0, 4.0}, float[2, 2] val_2 = {1.0, 2.0, 3.0, 4.0},
         float[2] other = {0.5, 0.5}>
        { a = MatMul(x, val_1) b = MatMul(a, val_2) y = Add(b, other) }
        """
    )
    model.graph.initializer[2].name = model.graph.node[2].input[1] = "m.weight"
    for node in model.graph.node:
        node.metadata_props.add(key=SCOPES, value="['', 'm', 'linear']")
    name_by_module(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["m_2.weight", "m_3.weight", "m.weight"]
    assert [list(node.input) for node in model.graph.node] == [
        ["x", "m_2.weight"],
        ["a", "m_3.weight"],
        ["b", "m.weight"],
    ]
    checker.check_model(model, full_check=True)


def test_nothing_that_the_exporter_noted_is_left(model: ModelProto) -> None:
    assert SECRET.encode() in model.SerializeToString()
    name_by_module(model)
    assert SECRET.encode() not in model.SerializeToString()


def test_metadata_is_replaced_by_key_and_the_rest_is_kept(model: ModelProto) -> None:
    set_metadata(model, profile="strong", precision="fp32")
    set_metadata(model, precision="fp16")
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries == {"trace": SECRET, "swin_deploy.profile": "strong", "swin_deploy.precision": "fp16"}
    assert len(model.metadata_props) == 3
