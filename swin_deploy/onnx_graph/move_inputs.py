"""Write the moves of linears' inputs into a float graph: x' = (x - shift) / scale before, W' and b' behind.

The graph computes what it did. Who applies a move is a `Place`: a LayerNorm's own scale and shift, the value part of
qkv's weights, or an Add and a Mul of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from calib.tools.problem import Array, Move, Place
from swin_deploy.onnx_graph.input_groups import InputGroup, values_before
from swin_deploy.onnx_graph.linears import Linear
from swin_deploy.onnx_graph.rebuild import replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["EXPLICIT_SUFFIX", "move_inputs", "representable"]

EXPLICIT_SUFFIX = ".input"
"""Ends the module part of the names of explicit nodes: `blocks.0.mlp.2.input/Mul`."""


def representable(move: Move, place: Place) -> Move:
    """The move as the typed graph will apply it: an explicit one by two constants that FP16 holds.

    Rounded here, before the weights take it back, so that both sides speak of the same numbers.
    """
    if place is not Place.EXPLICIT:
        return move
    factor = (1 / move.scale).astype(np.float16).astype(np.float32)
    scale: Array = np.float32(1) / factor
    return Move(move.shift.astype(np.float16).astype(np.float32), scale)


def move_inputs(model: ModelProto, moves: Mapping[str, tuple[InputGroup, Move]]) -> ModelProto:
    """A copy of `model` with the inputs moved.

    Args:
        model: FP32 graph that holds the groups' linears.
        moves: Tensor to its group and its `representable` move.
    """
    from onnx import ModelProto

    moved = ModelProto()
    moved.CopyFrom(model)
    editor = _Editor(moved)
    extra: dict[int, list[NodeProto]] = {}
    for tensor, (group, move) in moves.items():
        if group.place is Place.NORM:
            editor.rescale_norm(group, move)
        elif group.place is Place.VALUE:
            qkv = values_before(model, group.linears[0])
            assert qkv is not None, "a place of this kind has one"
            editor.rescale_values(qkv, move)
        elif group.place is Place.EXPLICIT:
            extra[group.linears[0].node] = editor.explicit(group, move)
        else:
            raise AssertionError(f"nobody can move {tensor}")
        for linear in group.linears:
            editor.take_back(linear, move)
    nodes = [piece for index, node in enumerate(moved.graph.node) for piece in (*extra.get(index, ()), node)]
    replace_nodes(moved, nodes)
    return moved


class _Editor:
    """Changes constants for one reader each: simplifiers share equal ones, and another reader keeps the old one."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import numpy_helper

        self._graph = model.graph
        self._values: dict[str, Array] = {
            weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer
        }
        self._producers = {name: node for node in model.graph.node for name in node.output}

    def rescale_norm(self, group: InputGroup, move: Move) -> None:
        """LayerNorm's scale g and shift h become g / scale and (h - shift) / scale."""
        norm = self._producers[group.activation]
        scale, shift = self._values[norm.input[1]], np.zeros_like(move.shift)
        if len(norm.input) > 2:
            shift = self._values[norm.input[2]]
        else:
            norm.input.append("")
        # Named by the linear: one module may be called twice, and then both its norms have its name.
        norm.input[1] = self._new(f"{group.stem}.norm.weight", scale / move.scale)
        norm.input[2] = self._new(f"{group.stem}.norm.bias", (shift - move.shift) / move.scale)

    def rescale_values(self, qkv: Linear, move: Move) -> None:
        """The last third of qkv's outputs, which attention averages with weights that sum to 1."""
        matmul = self._graph.node[qkv.node]
        add = self._bias_node(qkv)
        weight, bias = self._values[matmul.input[1]].copy(), self._bias(add)[1].copy()
        first = weight.shape[1] - len(move.scale)
        weight[:, first:] /= move.scale
        bias[first:] = (bias[first:] - move.shift) / move.scale
        self._set(matmul, add, qkv, weight, bias)

    def explicit(self, group: InputGroup, move: Move) -> list[NodeProto]:
        """An Add and a Mul, of which each is left out where it would change nothing."""
        from onnx import helper

        nodes, value = [], group.activation
        for operator, constant, neutral in (("Add", -move.shift, 0), ("Mul", 1 / move.scale, 1)):
            if (constant == neutral).all():
                continue
            name = self._new(f"{group.stem}.{'offset' if operator == 'Add' else 'factor'}", constant)
            made = f"{group.stem}.{operator.lower()}"
            nodes.append(helper.make_node(operator, [value, name], [made], f"{group.stem}/{operator}"))
            value = made
        for linear in group.linears:
            self._graph.node[linear.node].input[0] = value
        return nodes

    def take_back(self, linear: Linear, move: Move) -> None:
        """W' = scale * W and b' = b + shift @ W."""
        matmul = self._graph.node[linear.node]
        weight = self._values[matmul.input[1]]
        if linear.bias is None:
            assert not move.shift.any(), "a shift needs a bias to take it back"
            matmul.input[1] = self._new(f"{linear.module}.weight.moved", weight * move.scale[:, None])
            return
        add = self._bias_node(linear)
        bias: Array = self._bias(add)[1] + move.shift @ weight
        self._set(matmul, add, linear, weight * move.scale[:, None], bias)

    def _set(self, matmul: NodeProto, add: NodeProto, linear: Linear, weight: Array, bias: Array) -> None:
        matmul.input[1] = self._new(f"{linear.module}.weight.moved", weight)
        add.input[self._bias(add)[0]] = self._new(f"{linear.module}.bias.moved", bias)

    def _bias_node(self, linear: Linear) -> NodeProto:
        product = self._graph.node[linear.node].output[0]
        found: NodeProto = next(node for node in self._graph.node if product in node.input)
        return found

    def _bias(self, add: NodeProto) -> tuple[int, Array]:
        position = 1 if add.input[1] in self._values else 0
        return position, self._values[add.input[position]]

    def _new(self, name: str, values: np.ndarray) -> str:
        """Add a constant, or give one that this editor added a new value."""
        from onnx import numpy_helper

        stored = values.astype(np.float32)
        tensor = numpy_helper.from_array(stored, name)
        for existing in self._graph.initializer:
            if existing.name == name:
                existing.CopyFrom(tensor)
                break
        else:
            self._graph.initializer.append(tensor)
        self._values[name] = stored
        return name
