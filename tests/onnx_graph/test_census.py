"""Node counts."""

from __future__ import annotations

import json

from onnx import parser

from swin_deploy.onnx_graph.census import graph_facts, node_counts

TEXT = """
<ir_version: 10, opset_import: ["" : 20, "other" : 3]>
g (float[N, 2] x) => (float[N, 2] y) {
    a = Relu(x)
    b = Add(a, x)
    y = Relu(b)
}
"""


def test_operators_are_counted_most_frequent_first() -> None:
    counts = node_counts(parser.parse_model(TEXT))
    assert list(counts.items()) == [("Relu", 2), ("Add", 1)]


def test_the_facts_are_json_and_name_the_standard_opset() -> None:
    facts = graph_facts(parser.parse_model(TEXT))
    assert facts == {"opset": 20, "nodes": 3, "operators": {"Relu": 2, "Add": 1}}
    assert json.loads(json.dumps(facts)) == facts
