"""What a Swin cannot do without: its matrix multiplications, with their arithmetic and the least memory they touch.

Only multiplications count. Norms, GELU, softmax, additions and permutations are taken to ride along in a neighbour's
kernel, and an attention's scores never to leave the chip, as in the best fused kernels (about five a block). So the
list is a floor under every form of the same network, and the same for an engine, for PyTorch and for a naive export.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["BYTES", "Operation", "operations"]

BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "fp8": 1}
"""Bytes of a value."""
_MULTIPLICATIONS = ("MatMul", "Gemm", "Conv")
# What may stand between an attention's two multiplications and its softmax.
_BETWEEN = ("Softmax", "Add", "Mul", "Div", "Cast", "Reshape", "QuantizeLinear", "DequantizeLinear")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One matrix multiplication or convolution over a batch.

    Attributes:
        name: Of its node.
        flop: Floating-point or integer operations; a multiply-add is two.
        bytes: Its inputs, weights and outputs, each moved once; scores of an attention not at all.
        precision: What it multiplies in: `fp32`, `fp16`, `bf16`, `int8` or `fp8`.
    """

    name: str
    flop: float
    bytes: float
    precision: str


def operations(model: ModelProto, batch: int, floats: str) -> tuple[Operation, ...]:
    """The multiplications of a graph.

    Args:
        model: A graph whose only free axis is the batch, with or without Q/DQ pairs.
        batch: Images a call.
        floats: What is computed in where there are no Q/DQ pairs: `fp32`, `fp16` or `bf16`.
    """
    inferred = _with_batch(model, batch)
    graph = inferred.graph
    shapes = _shapes(inferred)
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return tuple(
        _operation(node, shapes, made, readers, types, floats)
        for node in graph.node
        if node.op_type in _MULTIPLICATIONS
    )


def _operation(
    node: NodeProto,
    shapes: Mapping[str, Shape],
    made: Mapping[str, NodeProto],
    readers: Mapping[str, list[NodeProto]],
    types: Mapping[str, int],
    floats: str,
) -> Operation:
    left, right, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":
        inner = prod(right[1:])  # [out, in / groups, rows, columns]
    else:
        transposed = any(entry.name == "transA" and entry.i for entry in node.attribute)
        inner = left[-2] if transposed else left[-1]
    grids = [_grid(name, made, types) for name in node.input[:2]]
    quantized = grids[0] if grids[0] is not None and grids[0] == grids[1] else None
    inputs = [BYTES[grid or floats] * prod(shape) for grid, shape in zip(grids, (left, right), strict=True)]
    if "Softmax" in _chain(node.input[0], made):
        inputs[0] = 0  # the scores, which the same kernel has just made
    scores = "Softmax" in _following(node.output[0], readers)
    written = 0 if scores else BYTES[floats] * prod(out)
    return Operation(node.name, 2.0 * prod(out) * inner, float(sum(inputs) + written), quantized or floats)


def _grid(name: str, made: Mapping[str, NodeProto], types: Mapping[str, int]) -> str | None:
    """`int8` or `fp8` for a dequantized tensor, by the type of its zero point or of what is dequantized."""
    import onnx

    node = made.get(name)
    while node is not None and node.op_type in ("Cast", "Reshape", "Transpose"):
        node = made.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear":
        return None
    kind = types.get(node.input[2]) if len(node.input) > 2 else types.get(node.input[0])
    return "fp8" if kind == onnx.TensorProto.FLOAT8E4M3FN else "int8"


def _chain(name: str, made: Mapping[str, NodeProto]) -> Iterator[str]:
    """The operators behind a tensor, nearest first, while they only pass its values on."""
    while (node := made.get(name)) is not None and node.op_type in _BETWEEN:
        yield node.op_type
        name = node.input[0]


def _following(name: str, readers: Mapping[str, list[NodeProto]]) -> Iterator[str]:
    """The operators that read a tensor, nearest first, while one alone reads it and passes its values on."""
    while len(after := readers.get(name, [])) == 1 and after[0].op_type in _BETWEEN:
        yield after[0].op_type
        name = after[0].output[0]


def _with_batch(model: ModelProto, batch: int) -> ModelProto:
    """A copy with the batch as a number and every shape inferred."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    del fixed.graph.value_info[:]  # they name the batch as a symbol
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)


def _shapes(model: Any) -> dict[str, Shape]:
    graph = model.graph
    known = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return {**known, **{tensor.name: tuple(tensor.dims) for tensor in graph.initializer}}
