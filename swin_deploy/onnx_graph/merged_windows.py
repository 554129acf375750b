"""Find attention whose windows and heads share an axis: scores [B, nW*h, N, N] plus a constant [1, nW*h, N, N].

TensorRT 8.6.0 computes that form wrongly in FP16 at batch 32 (a Swin-T on an H100: relative error 0.05, and 0.001 at
batch 1), so no graph for TensorRT 8 may hold it. Windows in an axis of their own, [B, nW, h, N, N], or in the batch
axis are other forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["merged_windows"]

# What stands between the products of an attention and the linear behind it.
_MOVES = frozenset(
    {"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
# And what may stand between the bias and the softmax: a scale or a mask.
_SCALES = frozenset({"Add", "Clip", "Div", "Mul", "Sub", "Where"})


def merged_windows(model: ModelProto) -> tuple[str, ...]:
    """One sentence for each such Add; empty for a graph without."""
    graph = _Graph(model)
    return tuple(sentence for node in model.graph.node if node.op_type == "Softmax" for sentence in graph.of(node))


class _Graph:
    """A graph with what its names mean."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import shape_inference

        graph = shape_inference.infer_shapes(model, data_prop=True).graph
        self._shapes = {
            value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]  # 0 where it is free
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        self._constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def of(self, softmax: NodeProto) -> Iterator[str]:
        """The Adds before one softmax that are of the form."""
        for add, constant in self._added(softmax.input[0]):
            shape = list(self._constants[constant].dims)
            if len(self._shapes.get(add.output[0], [])) != 4 or len(shape) < 3 or any(axis != 1 for axis in shape[:-3]):
                continue
            merged, heads = shape[-3], self._heads(softmax)
            if heads and merged > heads and merged % heads == 0:
                yield (
                    f"{add.name} adds {constant}, {shape}, to scores of 4 axes: {merged // heads} windows of {heads} "
                    "heads in one of them"
                )

    def _added(self, name: str) -> Iterator[tuple[NodeProto, str]]:
        """The Adds of a constant on the way from a product to `name`."""
        node = self._makers.get(name)
        while node is not None and node.op_type in _SCALES | _MOVES:
            constants = [entry for entry in node.input if entry in self._constants]
            if node.op_type == "Add" and constants:
                yield node, constants[0]
            made = [entry for entry in node.input if entry in self._makers]
            node = self._makers[made[0]] if len(made) == 1 else None

    def _heads(self, softmax: NodeProto) -> int | None:
        """Heads of the attention: channels of the linear behind it over those of its values."""
        node = softmax
        channels: int | None = None
        while True:
            behind = self._readers.get(node.output[0], [])
            if len(behind) != 1:
                return None
            node = behind[0]
            if node.op_type == "MatMul" and channels is None:
                channels = self._shapes.get(node.input[1], [0])[-1]  # the values, [B, nW*h, N, d]
            elif node.op_type in ("MatMul", "Gemm"):
                rows = self._rows(node.input[1], any(a.name == "transB" and a.i for a in node.attribute))
                return rows // channels if rows and channels else None
            elif node.op_type not in _MOVES:
                return None

    def _rows(self, name: str, transposed: bool) -> int | None:
        """Input channels of the linear whose weight is `name`, or is made of it by Q and DQ."""
        while name not in self._constants:
            maker = self._makers.get(name)
            if maker is None or maker.op_type not in ("DequantizeLinear", "QuantizeLinear"):
                return None
            name = maker.input[0]
        shape = self._constants[name].dims
        return int(shape[transposed]) if len(shape) == 2 else None
