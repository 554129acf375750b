"""Write Q/DQ around the two products of each attention: query, key, softmax output and value, all four of them.

Only all four, around quantized linears, leave an attention fused. Query and key alone, or softmax output and value
alone, make TensorRT for RTX take it apart (204 kernels instead of 120 on a Swin-T), and so do all four where the
linears are left in FP16 (192). Source: kernel counts of TensorRT for RTX 1.6.1, compute capability 8.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calib.grid import INT8, Grid, fp16_step
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.rebuild import replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["AttentionProducts", "Operand", "attention_products", "insert_attention_qdq", "tensors_to_range"]

# A softmax gives at most 1, whatever it was calibrated on.
_LARGEST_PROBABILITY = 1.0


@dataclass(frozen=True)
class Operand:
    """A tensor where a node reads it.

    Attributes:
        tensor: Its name.
        node: Index of the reader in the graph's node list.
        position: Which of the reader's inputs it is.
    """

    tensor: str
    node: int
    position: int


@dataclass(frozen=True)
class AttentionProducts:
    """What the two products of one attention multiply.

    Attributes:
        module: Path of the attention, e.g. `blocks.3.attn`.
        query: [..., N, d].
        key: [..., N, d] where its transposition reads it, else [..., d, N].
        probabilities: The softmax's output, [..., N, N].
        value: [..., N, d].
    """

    module: str
    query: Operand
    key: Operand
    probabilities: Operand
    value: Operand


def attention_products(model: ModelProto) -> tuple[AttentionProducts, ...]:
    """Every softmax of a product of two activations, maybe with something added, that multiplies an activation."""
    graph = model.graph
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(index)
    constants = {tensor.name for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "Softmax":
            continue
        scores = makers.get(node.input[0])
        while scores is not None and graph.node[scores].op_type == "Add":  # position bias, and a mask kept apart
            made = [makers[name] for name in graph.node[scores].input if name in makers]
            scores = made[0] if len(made) == 1 else None
        behind = readers.get(node.output[0], [])
        if scores is None or len(behind) != 1:
            continue
        first, second = graph.node[scores], graph.node[behind[0]]
        products = first.op_type == second.op_type == "MatMul" and second.input[0] == node.output[0]
        if not products or constants & {*first.input, *second.input}:
            continue
        turned = makers.get(first.input[1])
        if turned is not None and graph.node[turned].op_type == "Transpose":
            key = Operand(graph.node[turned].input[0], turned, 0)
        else:
            key = Operand(first.input[1], scores, 1)
        found.append(
            AttentionProducts(
                first.name.rsplit("/", 1)[0],
                Operand(first.input[0], scores, 0),
                key,
                Operand(second.input[0], behind[0], 0),
                Operand(second.input[1], behind[0], 1),
            )
        )
    return tuple(found)


def tensors_to_range(model: ModelProto) -> tuple[str, ...]:
    """The activations that `insert_attention_qdq` needs a range of; the softmax's is known."""
    found = attention_products(model)
    return tuple(dict.fromkeys(read.tensor for one in found for read in (one.query, one.key, one.value)))


def insert_attention_qdq(model: ModelProto, amax: Mapping[str, float], grid: Grid = INT8) -> ModelProto:
    """A copy of `model` in which the products of every attention multiply numbers of `grid`.

    Args:
        model: FP32 graph, its linears quantized or not.
        amax: Largest magnitude of each tensor that `tensors_to_range` names.
        grid: INT8 or FP8.

    Raises:
        BadInput: there is no attention, or a tensor has no range.
    """
    from onnx import ModelProto

    found = attention_products(model)
    if not found:
        raise BadInput(
            "no attention was found in the graph",
            needed="a softmax between two products of activations, and none of them quantized yet",
            do="Choose a placement that leaves the attention alone",
        )
    quantized = ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    before: dict[int, list[NodeProto]] = {}
    for attention in found:
        for part in ("query", "key", "probabilities", "value"):
            read: Operand = getattr(attention, part)
            largest = _LARGEST_PROBABILITY if part == "probabilities" else amax.get(read.tensor)
            if largest is None:
                raise BadInput(f"no range was calibrated for {read.tensor}, the {part} of {attention.module}")
            stem = f"{attention.module}.{part}"
            before.setdefault(read.node, []).extend(_pair(quantized, stem, read.tensor, largest, grid))
            graph.node[read.node].input[read.position] = f"{stem}.dq"
    ordered = [piece for index, node in enumerate(graph.node) for piece in (*before.get(index, ()), node)]
    replace_nodes(quantized, ordered)
    return quantized


def _pair(model: ModelProto, stem: str, tensor: str, largest: float, grid: Grid) -> list[NodeProto]:
    """Quantize and dequantize `tensor`, with one step."""
    from onnx import TensorProto, helper, numpy_helper

    step = np.array(fp16_step(np.float32(largest) / np.float32(grid.largest)), np.float32)  # []
    kind = TensorProto.INT8 if grid.mantissa is None else TensorProto.FLOAT8E4M3FN
    scale, zero = f"{stem}.scale", f"{stem}.zero_point"
    model.graph.initializer.append(numpy_helper.from_array(step, scale))
    model.graph.initializer.append(helper.make_tensor(zero, kind, (), b"\0", raw=True))
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero], [f"{stem}.int8"], f"{stem}/QuantizeLinear"),
        helper.make_node("DequantizeLinear", [f"{stem}.int8", scale, zero], [f"{stem}.dq"], f"{stem}/DequantizeLinear"),
    ]
