"""Give single blocks of a low-precision graph their higher precision back, by casts or by removing Q/DQ.

A block raised in an FP16 or BF16 graph computes in FP32, with casts where it borders on others; LayerNorm and softmax
are what the typing pass makes of them. A block raised in a Q/DQ graph is the float graph's own: its weights, and the
norms and explicit nodes that moved its inputs, since a move belongs to the rounding that it served.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.attention_qdq import attention_products
from swin_deploy.onnx_graph.blocks import blocks_of
from swin_deploy.onnx_graph.data_movement import DATA_MOVEMENT
from swin_deploy.onnx_graph.linears import linears
from swin_deploy.onnx_graph.rebuild import replace_nodes
from swin_deploy.onnx_graph.typing_pass import type_graph

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["HalfToggle", "QuantizedToggle"]


@dataclass(frozen=True, eq=False)
class HalfToggle:
    """FP16 or BF16 blocks that can be raised to FP32.

    Attributes:
        model: The FP32 graph.
        half: `fp16` or `bf16`.
    """

    model: ModelProto
    half: str

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks that compute anything, in the graph's order."""
        of = blocks_of(self.model)
        return tuple(dict.fromkeys(of[n.name] for n in self.model.graph.node if n.op_type not in DATA_MOVEMENT))

    def raised(self, high: Collection[str]) -> ModelProto:
        """The typed graph with the blocks `high` in FP32.

        Raises:
            WeightBeyondType: a block that is not raised has a weight that its type has no number for.
        """
        return type_graph(self.model, half=self.half, keep=self._nodes(high))

    def _nodes(self, high: Collection[str]) -> frozenset[str]:
        """The nodes that compute in FP32. What moves numbers does so as they come, or a border would have two casts."""
        of = blocks_of(self.model)
        producers: dict[str, bool] = {}
        raised = set()
        for node in self.model.graph.node:  # in an order in which producers come first
            block = of[node.name]
            follows = node.op_type in DATA_MOVEMENT and node.input[0] in producers
            if producers[node.input[0]] if follows else block in high:
                raised.add(node.name)
            producers.update(dict.fromkeys(node.output, node.name in raised))
        return frozenset(raised)


@dataclass(frozen=True, eq=False)
class QuantizedToggle:
    """INT8 or FP8 blocks that can be raised to float.

    Attributes:
        model: The FP32 graph.
        quantized: The Q/DQ graph that was made of it, before it was typed.
        half: `fp16` to type the result as the run's own graph is typed, or `""` to leave it in FP32 beside its Q/DQ.
    """

    model: ModelProto
    quantized: ModelProto
    half: str = ""

    def __post_init__(self) -> None:
        """Refuse two graphs that do not belong together.

        Raises:
            BadInput: the quantized one lacks a node of the other, or makes another value there.
        """
        ours = {node.name: list(node.output) for node in self.quantized.graph.node}
        lost = [node.name for node in self.model.graph.node if ours.get(node.name) != list(node.output)]
        if lost:
            raise BadInput(
                f"the quantized graph lacks {len(lost)} nodes of the float graph, first {lost[0]}",
                needed="a Q/DQ graph and the FP32 graph that it was made of",
                do="Build the run again",
            )

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks in which Q/DQ can be removed, in the graph's order; those that share a move are joined by `+`."""
        return tuple(dict.fromkeys(self._group[node.name] for node in self.model.graph.node if self._moved(node)))

    def raised(self, high: Collection[str]) -> ModelProto:
        """The graph with the blocks `high` as they are in the float graph."""
        from onnx import ModelProto

        floats = {node.name: node for node in self.model.graph.node if self._group[node.name] in high}
        mixed = ModelProto()
        mixed.CopyFrom(self.quantized)
        constants = {tensor.name: tensor for tensor in mixed.graph.initializer}
        for node in mixed.graph.node:
            if node.name in floats:
                node.CopyFrom(floats[node.name])
                for position, name in enumerate(node.input):
                    if name in self._constants:
                        node.input[position] = _added(mixed, constants, self._constants[name])
        replace_nodes(mixed, _read(mixed))
        self._restate(mixed, high)
        return type_graph(mixed, half=self.half) if self.half else mixed

    @cached_property
    def _constants(self) -> dict[str, TensorProto]:
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    @cached_property
    def _twins(self) -> dict[str, NodeProto]:
        """The quantized graph's nodes by name."""
        return {node.name: node for node in self.quantized.graph.node}

    @cached_property
    def _theirs(self) -> dict[str, TensorProto]:
        """The quantized graph's constants."""
        return {tensor.name: tensor for tensor in self.quantized.graph.initializer}

    def _moved(self, node: NodeProto) -> bool:
        """Whether a node of the float graph reads something else in the quantized one."""
        twin = self._twins[node.name]
        if list(twin.input) != list(node.input):
            return True
        return any(self._theirs[name] != self._constants[name] for name in node.input if name in self._constants)

    @cached_property
    def _group(self) -> dict[str, str]:
        """Node of the float graph to what is raised with it: its block, and a block that a move binds to it.

        A norm that moves the input of a product takes part in its quantization. Within our own networks both are in one
        block; in a user's own a norm may stand outside.
        """
        of = blocks_of(self.model)
        bound = {block: {block} for block in of.values()}
        norms = {node.output[0]: node for node in self.model.graph.node if node.op_type == "LayerNormalization"}
        for node in self.model.graph.node:
            norm = norms.get(node.input[0]) if node.op_type == "MatMul" else None
            if norm is not None and self._moved(norm) and self._moved(node):
                union = bound[of[norm.name]] | bound[of[node.name]]
                bound.update(dict.fromkeys(union, union))
        return {node: "+".join(other for other in bound if other in bound[block]) for node, block in of.items()}

    def _restate(self, mixed: ModelProto, high: Collection[str]) -> None:
        """Say in the metadata what is still quantized, for whoever audits the graph later."""
        stated = next((entry for entry in mixed.metadata_props if entry.key == "swin_deploy.quantization"), None)
        if stated is None:
            return
        written = json.loads(stated.value)
        left = {
            linear.module
            for linear in linears(self.model)
            if self._group[self.model.graph.node[linear.node].name] not in high
        }
        written["linears"] = [module for module in written["linears"] if module in left]
        if written["attention"]:
            products = [(a.module, self.model.graph.node[a.probabilities.node]) for a in attention_products(self.model)]
            written["attention"] = [module for module, node in products if self._group[node.name] not in high]
        stated.value = json.dumps(written)


def _added(model: ModelProto, constants: dict[str, TensorProto], tensor: TensorProto) -> str:
    """The name of a constant of the float graph in `model`: its own, unless that stands for something else there."""
    name = tensor.name
    while name in constants and not _same(constants[name], tensor):
        name += ".float"
    if name not in constants:
        constants[name] = model.graph.initializer.add()
        constants[name].CopyFrom(tensor)
        constants[name].name = name
    return name


def _same(one: TensorProto, other: TensorProto) -> bool:
    """Whether two constants hold the same; the bytes of one need not be in `raw_data`."""
    from onnx import numpy_helper

    if (one.data_type, list(one.dims)) != (other.data_type, list(other.dims)):
        return False
    return numpy_helper.to_array(one).tobytes() == numpy_helper.to_array(other).tobytes()


def _read(model: ModelProto) -> list[NodeProto]:
    """The nodes that the outputs need: Q/DQ and explicit moves of raised blocks have lost their readers."""
    needed, kept = {value.name for value in model.graph.output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed.update(node.input)
    return kept[::-1]
