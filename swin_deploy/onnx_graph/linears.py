"""Find the linears of a graph: which matrix multiplications have constant weights, and what each is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["BLOCK_LINEARS", "Linear", "linears", "quantizable"]

# The four linears of a block, those of an attention behind a gate too; patch embedding, merging and head are not among
# them.
BLOCK_LINEARS = re.compile(r"blocks\.\d+\.(attn\.(window\.)?(qkv|proj)|mlp\.(0|2))")


@dataclass(frozen=True)
class Linear:
    """One matrix multiplication with a constant right operand.

    Attributes:
        module: Path of the module it came from, e.g. `blocks.3.attn.qkv`; unique, with a number behind it where a
            module has several.
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
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if node.op_type == "MatMul" and node.input[1] in weights and len(weights[node.input[1]].dims) == 2:
            module = node.name.rsplit("/", 1)[0]
            number = next(number for number in count(1) if _numbered(module, number) not in seen)
            seen.add(_numbered(module, number))
            yield Linear(_numbered(module, number), index, node.input[0], node.input[1])


def quantizable(model: ModelProto) -> list[Linear]:
    """The linears that INT8 takes: those of the blocks in a graph of ours, all of a user's own network.

    Of the latter nothing is known by name; a head behind a pooling is no MatMul of three axes, and so not among them.
    """
    own = any(entry.key == "swin_deploy.spec" and not entry.value for entry in model.metadata_props)
    return [linear for linear in linears(model) if own or BLOCK_LINEARS.fullmatch(linear.module)]


def _numbered(module: str, number: int) -> str:
    return module if number == 1 else f"{module}_{number}"
