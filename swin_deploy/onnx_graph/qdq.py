"""Write explicit Q/DQ around linears: activations per tensor, weights per output channel, biases left in float.

TensorRT fuses DequantizeLinear -> MatMul <- DequantizeLinear into one INT8 GEMM. It refuses a DequantizeLinear on an
INT32 bias, so biases stay what they are. Source: TensorRT developer guide, "Working with Quantized Types".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from calib.grid import Grid
from calib.tools.problem import LinearProblem
from swin_deploy.onnx_graph.input_groups import InputGroup
from swin_deploy.onnx_graph.rebuild import replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["insert_qdq"]


def insert_qdq(
    model: ModelProto, solved: Iterable[tuple[InputGroup, LinearProblem]], grid: Grid, *, folded: bool = False
) -> ModelProto:
    """A copy of `model` in which the solved linears multiply numbers of `grid`.

    Args:
        model: FP32 graph, its inputs moved as the problems say.
        solved: The groups to quantize, with step, rounded weights and corrections.
        grid: INT8 or FP8.
        folded: Write the rounded weights as real numbers instead of codes with a DequantizeLinear: the same function
            with fewer nodes, for judging on a CPU; no engine would take it for INT8.
    """
    from onnx import ModelProto, helper

    quantized = ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    before: dict[int, list[NodeProto]] = {}

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(_tensor(name, values))
        return name

    for group, problem in sorted(solved, key=lambda pair: pair[0].linears[0].node):
        assert problem.step is not None and problem.rounded is not None and problem.weight_step is not None
        first, stem = group.linears[0], group.stem
        nodes = before.setdefault(first.node, [])
        scale = constant(f"{stem}.scale", np.array(problem.step, np.float32))
        zero = constant(f"{stem}.zero_point", _codes(np.zeros(()), grid))
        value = graph.node[first.node].input[0]  # behind an explicit move, if there is one
        nodes += [
            helper.make_node("QuantizeLinear", [value, scale, zero], [f"{stem}.int8"], f"{stem}/QuantizeLinear"),
            helper.make_node(
                "DequantizeLinear", [f"{stem}.int8", scale, zero], [f"{stem}.dq"], f"{stem}/DequantizeLinear"
            ),
        ]
        start = 0
        for linear in group.linears:
            end = start + held[graph.node[linear.node].input[1]].dims[1]
            here = slice(start, end)
            node, title = graph.node[linear.node], f"{linear.module}.weight"
            node.input[0] = f"{stem}.dq"
            if folded:
                node.input[1] = constant(f"{title}.rounded", problem.rounded[:, here])
            else:
                steps = problem.weight_step[here]
                inputs = [
                    constant(f"{title}.int8", _codes(problem.rounded[:, here] / steps, grid)),
                    constant(f"{title}.scale", steps),
                    constant(f"{title}.zero_point", _codes(np.zeros(steps.shape), grid)),
                ]
                before.setdefault(linear.node, []).append(
                    helper.make_node("DequantizeLinear", inputs, [f"{title}.dq"], f"{title}/DequantizeLinear", axis=1)
                )
                node.input[1] = f"{title}.dq"
            if problem.correction is not None and linear.bias is not None:
                _correct(quantized, linear.module, node.output[0], held, problem.correction[here])
            start = end
    ordered = [piece for index, node in enumerate(graph.node) for piece in (*before.get(index, ()), node)]
    replace_nodes(quantized, ordered)
    return quantized


def _correct(
    model: ModelProto, module: str, product: str, held: dict[str, TensorProto], correction: np.ndarray
) -> None:
    """Add `correction` to the bias behind a product, as a constant of its own."""
    from onnx import numpy_helper

    add = next(node for node in model.graph.node if product in node.input)
    position = 1 if add.input[0] == product else 0
    values = numpy_helper.to_array(held[add.input[position]]) + correction
    model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"{module}.bias.corrected"))
    add.input[position] = f"{module}.bias.corrected"


def _codes(scaled: np.ndarray, grid: Grid) -> np.ndarray:
    """Numbers of the grid in the type that stores them."""
    codes: np.ndarray
    if grid.mantissa is None:
        codes = np.rint(scaled).astype(np.int8)
        return codes
    import ml_dtypes  # comes with onnx

    codes = grid.round(scaled.astype(np.float32)).astype(ml_dtypes.float8_e4m3fn)
    return codes


def _tensor(name: str, values: np.ndarray) -> TensorProto:
    from onnx import TensorProto, helper, numpy_helper

    if values.dtype.name == "float8_e4m3fn":
        return helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, values.shape, values.tobytes(), raw=True)
    return numpy_helper.from_array(np.asarray(values, order="C"), name)  # keeps a scalar a scalar
