"""Whether a quantized graph is the given one with INT8 around exactly the given matmuls, and so comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["departures", "give_back"]

_QDQ = ("QuantizeLinear", "DequantizeLinear")


def give_back(quantized: ModelProto, matmuls: Iterable[str]) -> list[str]:
    """Let all nodes but the matmuls read FP32 again, in place; returns the names of those that did not.

    A tool rounds a tensor for whoever reads it. Where a linear reads the residual stream itself, as in Swin V2, whose
    norms come last, the addition that carries the stream on would then be of INT8 too.
    """
    wanted = set(matmuls)
    made = {name: node for node in quantized.graph.node for name in node.output}
    freed: list[str] = []
    for node in quantized.graph.node:
        if node.op_type in _QDQ or node.name in wanted:
            continue
        for index, name in enumerate(node.input):
            pair, source = _behind(name, made)
            # Only a pair over what was FP32; a stored INT8 constant has no FP32 to go back to.
            if [piece.op_type for piece in pair] == ["DequantizeLinear", "QuantizeLinear"]:
                node.input[index] = source
                freed += [node.name] * (node.name not in freed)
    return freed


def departures(quantized: ModelProto, original: ModelProto, matmuls: Iterable[str]) -> list[str]:
    """What is otherwise than agreed; nothing if all is well.

    Agreed: both inputs of each of the matmuls come out of a DequantizeLinear, the activation with one scale and the
    weight with one an output channel, all INT8 with zero points of 0. No other node reads a dequantized tensor, the
    remaining operators are the original's, and their constants are not in half precision.
    """
    wanted, seen = set(matmuls), set[str]()
    made = {name: node for node in quantized.graph.node for name in node.output}
    constants = _constants(quantized)
    found: list[str] = []
    for node in quantized.graph.node:
        if node.op_type in _QDQ:
            continue
        dequantized = [index for index, name in enumerate(node.input) if _made_by(made.get(name), "DequantizeLinear")]
        if node.name not in wanted:
            found += [f"{node.name or node.op_type} reads INT8"] * bool(dequantized)
            continue
        seen.add(node.name)
        if dequantized != [0, 1]:
            found.append(f"{node.name} reads INT8 at {dequantized} in place of [0, 1]")
            continue
        found += [f"{node.name}: activation: {text}" for text in _of_activation(node.input[0], made, constants)]
        found += [f"{node.name}: weight: {text}" for text in _of_weight(node.input[1], made, constants)]
    found += [f"{name} is gone" for name in sorted(wanted - seen)]
    had, has = _operators(original), _operators(quantized)
    found += [f"other operators: {dict(has - had)} in place of {dict(had - has)}"] * (had != has)
    half = sorted(name for name, values in constants.items() if values.dtype not in _KEPT)
    return found + [f"{name} is stored as {constants[name].dtype}" for name in half]


_KEPT = tuple(map(np.dtype, (np.float32, np.int8, np.int32, np.int64, np.bool_)))


def _of_activation(name: str, made: Mapping[str, NodeProto], constants: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    pair, source = _behind(name, made)
    found = [f"{len(pair)} nodes in place of a pair"] * (len(pair) != 2) + ["a constant"] * (source in constants)
    return found + [text for node in pair for text in _grid(node, (), constants)]


def _of_weight(name: str, made: Mapping[str, NodeProto], constants: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    nodes, source = _behind(name, made)  # one node over stored INT8, or a pair over FP32, which means the same numbers
    if source not in constants:
        return ["no constant"]
    channels = constants[source].shape[-1]
    axes = {entry.i for node in nodes for entry in node.attribute if entry.name == "axis"} - {1, -1}
    found = ["scales along the inputs, not the outputs"] * bool(axes)
    return found + [text for node in nodes for text in _grid(node, (channels,), constants)]


def _grid(node: NodeProto, shape: tuple[int, ...], constants: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """What is wrong with a node's scale and zero point."""
    if len(node.input) != 3 or not set(node.input[1:]) <= constants.keys():
        return [f"{node.op_type} without a constant scale and zero point"]
    scale, zero = (constants[name] for name in node.input[1:])
    found = [f"{list(scale.shape)} scales of {scale.dtype}"] * (scale.shape != shape or scale.dtype != np.float32)
    return found + ["zero points other than 0 of int8"] * (zero.dtype != np.int8 or bool(np.any(zero)))


def _behind(name: str, made: Mapping[str, NodeProto]) -> tuple[list[NodeProto], str]:
    """The Q/DQ nodes that make `name`, and what they read."""
    nodes: list[NodeProto] = []
    while _made_by(made.get(name), *_QDQ):
        nodes.append(made[name])
        name = nodes[-1].input[0]
    return nodes, name


def _constants(model: ModelProto) -> dict[str, npt.NDArray[Any]]:
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def _operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node if node.op_type not in (*_QDQ, "Constant"))


def _made_by(node: NodeProto | None, *kinds: str) -> bool:
    return node is not None and node.op_type in kinds
