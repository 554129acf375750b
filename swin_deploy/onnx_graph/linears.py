"""Find the linears of a graph: which matrix multiplications have constant weights, and what each is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["BLOCK_LINEARS", "Linear", "linears"]

# The four linears of a block; patch embedding, patch merging and head are not among them.
BLOCK_LINEARS = re.compile(r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(0|2))")


@dataclass(frozen=True)
class Linear:
    """One matrix multiplication with a constant right operand.

    Attributes:
        module: Path of the module it came from, e.g. `blocks.3.attn.qkv`.
        node: Index in the graph's node list.
        activation: Name of the left operand.
        weight: Name of the constant, [inputs, outputs].
    """

    module: str
    node: int
    activation: str
    weight: str


def linears(model: ModelProto) -> Iterator[Linear]:
    """Every MatMul with a two-dimensional constant on its right."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for index, node in enumerate(model.graph.node):
        if node.op_type == "MatMul" and node.input[1] in weights and len(weights[node.input[1]].dims) == 2:
            yield Linear(node.name.rsplit("/", 1)[0], index, node.input[0], node.input[1])
