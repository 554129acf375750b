"""Give a graph a new list of nodes, and drop what the old ones needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["replace_nodes"]


def replace_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    """Make `nodes`, some of which may be the model's own, its nodes; unused weights and old shapes go."""
    graph = model.graph
    # Copies first: deleting a repeated field of protobuf invalidates the messages that stand in it.
    kept = [_copy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    weights = [_copy(tensor) for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    del graph.value_info[:]


def _copy(message: Any) -> Any:
    twin = type(message)()
    twin.CopyFrom(message)
    return twin
