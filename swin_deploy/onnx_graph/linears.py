"""Find the linears of a graph: which matrix multiplications have constant weights, and what each is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

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
        bias: Name of the constant that is added behind it, [outputs]; `None` where there is none.
    """

    module: str
    node: int
    activation: str
    weight: str
    bias: str | None = None


def linears(model: ModelProto) -> Iterator[Linear]:
    """Every MatMul with a two-dimensional constant on its right."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in model.graph.output}
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if node.op_type == "MatMul" and node.input[1] in weights and len(weights[node.input[1]].dims) == 2:
            module = node.name.rsplit("/", 1)[0]
            number = next(number for number in count(1) if _numbered(module, number) not in seen)
            seen.add(_numbered(module, number))
            behind = readers.get(node.output[0], [])
            alone = behind[0] if len(behind) == 1 and node.output[0] not in outputs else None
            bias = _bias(alone, node.output[0], weights, weights[node.input[1]].dims[1])
            yield Linear(_numbered(module, number), index, node.input[0], node.input[1], bias)


def quantizable(model: ModelProto) -> list[Linear]:
    """The linears that INT8 takes: those of the blocks in a graph of ours, all of a user's own network.

    Of the latter nothing is known by name; a head behind a pooling is no MatMul of three axes, and so not among them.
    """
    own = any(entry.key == "swin_deploy.spec" and not entry.value for entry in model.metadata_props)
    return [linear for linear in linears(model) if own or BLOCK_LINEARS.fullmatch(linear.module)]


def _bias(behind: NodeProto | None, product: str, weights: Mapping[str, TensorProto], outputs: int) -> str | None:
    """The constant that the only reader of a product adds to it."""
    if behind is None or behind.op_type != "Add":
        return None
    other = behind.input[1] if behind.input[0] == product else behind.input[0]
    return other if other in weights and list(weights[other].dims) == [outputs] else None


def _numbered(module: str, number: int) -> str:
    return module if number == 1 else f"{module}_{number}"
