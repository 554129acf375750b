"""What the two simplifiers are asked to do, in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, parser
from onnx.reference import ReferenceEvaluator

from swin_deploy.onnx_graph.simplifier import main, simplified

# One constant expression, one dead node, and a linear on three axes that must not become a Gemm.
TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 2] x) => (float[N, 3, 2] y)
<float[2, 2] w = {1.0, 2.0, 3.0, 4.0}, float[2] b = {0.5, 0.25}, float[2] c = {1.0, 1.0}>
{
    bias = Add(b, c)
    dead = Relu(x)
    product = MatMul(x, w)
    y = Add(product, bias)
}
"""


@pytest.fixture
def model() -> ModelProto:
    model = parser.parse_model(TEXT)
    for node in model.graph.node:
        node.name = f"here/{node.output[0]}"
    model.metadata_props.add(key="swin_deploy.profile", value="strong")
    return model


@pytest.mark.parametrize("tool", ["onnxsim", "onnxslim"])
def test_constants_are_folded_and_dead_nodes_dropped(model: ModelProto, tool: str) -> None:
    result = simplified(tool, model)
    assert [node.op_type for node in result.graph.node] == ["MatMul", "Add"]
    assert [node.name for node in result.graph.node] == ["here/product", "here/y"]
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)  # [N, 3, 2]
    wanted = x @ np.array([[1, 2], [3, 4]], np.float32) + np.array([1.5, 1.25], np.float32)
    (got,) = ReferenceEvaluator(result).run(None, {"x": x})
    np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize("tool", ["onnxsim", "onnxslim"])
def test_our_metadata_survives(model: ModelProto, tool: str) -> None:
    entries = {entry.key: entry.value for entry in simplified(tool, model).metadata_props}
    assert entries["swin_deploy.profile"] == "strong"


def test_a_tool_of_another_name_is_refused(model: ModelProto) -> None:
    with pytest.raises(ValueError, match="'onnxoptimizer'"):
        simplified("onnxoptimizer", model)


def test_the_child_process_reads_one_file_and_writes_one(model: ModelProto, tmp_path: Path) -> None:
    source, out = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(model, source)
    main(["onnxslim", str(source), str(out)])
    assert len(onnx.load(out).graph.node) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.onnx", "out.onnx"]
