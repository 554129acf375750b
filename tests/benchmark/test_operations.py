"""FLOP and bytes of small graphs, computed by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from swin_deploy.benchmark.operations import operations


def graph(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[int], outputs: tuple[str, ...] = ("y",)
) -> onnx.ModelProto:
    """A graph of one input `x` [batch, *shape]."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def test_a_linear_moves_its_input_its_weight_and_its_output() -> None:
    (found,) = operations(graph([node("MatMul", "x w", "y")], {"w": zeros(8, 3)}, [5, 8]), 2, "fp32")
    assert found.flop == 2 * (2 * 5) * 8 * 3
    assert found.bytes == 4 * (2 * 5 * 8 + 8 * 3 + 2 * 5 * 3)
    assert found.precision == "fp32"


def test_half_precision_moves_half_the_bytes_for_the_same_arithmetic() -> None:
    model = graph([node("MatMul", "x w", "y")], {"w": zeros(8, 3)}, [5, 8])
    (whole,), (half,) = operations(model, 2, "fp32"), operations(model, 2, "fp16")
    assert (half.flop, half.bytes, half.precision) == (whole.flop, whole.bytes / 2, "fp16")


def test_the_weight_is_moved_once_whatever_the_batch() -> None:
    model = graph([node("MatMul", "x w", "y")], {"w": zeros(8, 3)}, [5, 8])
    (one,), (four,) = operations(model, 1, "fp32"), operations(model, 4, "fp32")
    assert four.flop == 4 * one.flop
    assert four.bytes - one.bytes == 4 * 3 * (5 * 8 + 5 * 3)


def test_a_convolution_multiplies_each_output_by_its_kernel() -> None:
    model = graph([node("Conv", "x w", "y", strides=[2, 2])], {"w": zeros(6, 3, 2, 2)}, [3, 8, 8])
    (found,) = operations(model, 2, "fp32")
    assert found.flop == 2 * (2 * 6 * 4 * 4) * (3 * 2 * 2)
    assert found.bytes == 4 * (2 * 3 * 64 + 6 * 12 + 2 * 6 * 16)


def test_a_gemm_with_its_weight_on_its_side_counts_alike() -> None:
    model = graph([node("Gemm", "x w", "y", transB=1)], {"w": zeros(3, 8)}, [8])
    (found,) = operations(model, 2, "fp32")
    assert (found.flop, found.bytes) == (2 * 2 * 8 * 3, 4 * (2 * 8 + 24 + 2 * 3))


def attention(between: list[onnx.NodeProto], last: str) -> onnx.ModelProto:
    """Scores of x [batch, 5, 8] with a constant key, something between, and a constant value."""
    nodes = [node("MatMul", "x k", "scores"), *between, node("MatMul", f"{last} v", "y")]
    return graph(nodes, {"k": zeros(8, 5), "v": zeros(5, 8), "bias": zeros(5, 5)}, [5, 8])


def test_an_attentions_scores_never_leave_the_chip() -> None:
    model = attention([node("Add", "scores bias", "biased"), node("Softmax", "biased", "weights")], "weights")
    scores, values = operations(model, 2, "fp32")
    assert (scores.flop, values.flop) == (2 * 2 * 5 * 8 * 5,) * 2
    assert scores.bytes == 4 * (2 * 5 * 8 + 8 * 5)  # query and key, no scores
    assert values.bytes == 4 * (5 * 8 + 2 * 5 * 8)  # value and output, no weights


def test_without_a_softmax_between_them_both_products_are_moved_whole() -> None:
    model = attention([node("Add", "scores bias", "biased")], "biased")
    first, second = operations(model, 2, "fp32")
    assert first.bytes == 4 * (2 * 5 * 8 + 8 * 5 + 2 * 25)
    assert second.bytes == 4 * (2 * 25 + 5 * 8 + 2 * 5 * 8)


def test_scores_that_something_else_reads_too_are_moved() -> None:
    nodes = [node("MatMul", "x k", "scores"), node("Softmax", "scores", "y"), node("Relu", "scores", "z")]
    (found,) = operations(graph(nodes, {"k": zeros(8, 5)}, [5, 8], ("y", "z")), 1, "fp32")
    assert found.bytes == 4 * (5 * 8 + 8 * 5 + 5 * 5)


def quantized(*, weight: bool = True) -> onnx.ModelProto:
    """A linear whose input is quantized, and its weight too where `weight` says so."""
    nodes = [
        node("QuantizeLinear", "x s z", "xq"),
        node("DequantizeLinear", "xq s z", "xd"),
        node("DequantizeLinear", "wq s z", "wd"),
        node("MatMul", "xd wd" if weight else "xd w", "y"),
    ]
    constants = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
        "wq": np.zeros((8, 3), np.int8),
        "w": zeros(8, 3),
    }
    return graph(nodes, constants, [5, 8])


def test_a_quantized_linear_reads_bytes_and_writes_floats() -> None:
    (found,) = operations(quantized(), 2, "fp16")
    assert found.precision == "int8"
    assert found.bytes == 1 * (2 * 5 * 8 + 8 * 3) + 2 * (2 * 5 * 3)


def test_a_linear_with_one_side_quantized_multiplies_in_floats() -> None:
    (found,) = operations(quantized(weight=False), 2, "fp16")
    assert found.precision == "fp16"


@pytest.mark.parametrize("batch", [1, 7])
def test_the_graph_itself_is_left_alone(batch: int) -> None:
    model = graph([node("MatMul", "x w", "y")], {"w": zeros(8, 3)}, [5, 8])
    before = model.SerializeToString()
    operations(model, batch, "fp32")
    assert model.SerializeToString() == before
