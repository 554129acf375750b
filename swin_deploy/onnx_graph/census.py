"""What a graph consists of: node counts, and the things a folded graph must not hold."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["graph_facts", "node_counts"]


def node_counts(model: ModelProto) -> dict[str, int]:
    """Operators and how often each occurs, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def graph_facts(model: ModelProto) -> dict[str, Any]:
    """JSON-ready figures of a graph for the manifest."""
    counts = node_counts(model)
    return {
        "opset": next(entry.version for entry in model.opset_import if entry.domain == ""),
        "nodes": sum(counts.values()),
        "operators": counts,
    }
