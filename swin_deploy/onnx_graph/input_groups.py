"""Group linears by the tensor that they read, and find who can shift and scale that tensor: see `calib.tools`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calib.tools.problem import Place
from swin_deploy.onnx_graph.linears import Linear, linears

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["InputGroup", "input_groups", "values_before"]

_PROJECTION = re.compile(r"(?P<attention>.*\.attn(\.window)?)\.proj")


@dataclass(frozen=True)
class InputGroup:
    """The linears that read one tensor, which therefore share its quantization.

    Attributes:
        activation: The tensor.
        linears: In graph order; at least one.
        place: Who can move the tensor.
    """

    activation: str
    linears: tuple[Linear, ...]
    place: Place

    @property
    def name(self) -> str:
        """The linears' modules."""
        return "+".join(linear.module for linear in self.linears)

    @property
    def stem(self) -> str:
        """What the nodes and constants at the tensor are named by."""
        return f"{self.linears[0].module}.input"


def input_groups(model: ModelProto, chosen: Iterable[Linear]) -> tuple[InputGroup, ...]:
    """The groups of the chosen linears, in graph order."""
    by_tensor: dict[str, list[Linear]] = {}
    for linear in sorted(chosen, key=lambda linear: linear.node):
        by_tensor.setdefault(linear.activation, []).append(linear)
    producers = {name: node for node in model.graph.node for name in node.output}
    return tuple(
        InputGroup(tensor, tuple(members), _place(model, tensor, members, producers.get(tensor)))
        for tensor, members in by_tensor.items()
    )


def _place(model: ModelProto, tensor: str, members: list[Linear], producer: NodeProto | None) -> Place:
    readers = [index for index, node in enumerate(model.graph.node) if tensor in node.input]
    alone = sorted(readers) == [linear.node for linear in members] and all(
        value.name != tensor for value in model.graph.output
    )
    if alone and producer is not None and producer.op_type == "LayerNormalization":
        constants = {weight.name: weight for weight in model.graph.initializer}
        channels = list(constants[members[0].weight].dims[:1])
        affine = producer.input[1:]
        if all(name in constants and list(constants[name].dims) == channels for name in affine):
            return Place.NORM
    if len(members) == 1 and values_before(model, members[0]) is not None:
        return Place.VALUE
    return Place.EXPLICIT


def values_before(model: ModelProto, projection: Linear) -> Linear | None:
    """The qkv whose last third of outputs are the channels that `projection` reads, averaged by attention.

    Known for the window attention of this toolkit's own graphs alone: a user's own attention may do anything between.
    """
    found = _PROJECTION.fullmatch(projection.module)
    if found is None or not _window_attention(model):
        return None
    qkv = next((linear for linear in linears(model) if linear.module == f"{found['attention']}.qkv"), None)
    shapes: Mapping[str, list[int]] = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    if qkv is None or qkv.bias is None or shapes[qkv.weight][1] != 3 * shapes[projection.weight][0]:
        return None
    return qkv


def _window_attention(model: ModelProto) -> bool:
    spec = next((entry.value for entry in model.metadata_props if entry.key == "swin_deploy.spec"), "")
    return bool(spec) and json.loads(spec).get("attention") == "window"
