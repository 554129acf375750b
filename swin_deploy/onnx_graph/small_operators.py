"""Norms as small operators that TensorRT 8 keeps in FP32: each node's name holds `FP32_MARK`, and is its layer's.

In FP16 they break: squares of activations beyond 256 overflow, and an epsilon of 1e-12 is zero. A strongly typed graph
says FP32 with its types; TensorRT 8 has builder flags, and constraints for the layers that are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device.tensorrt_versions import FP32_MARK
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["AddConstant", "marked", "small_l2_norm", "small_layer_norm"]

AddConstant = Callable[[str, "np.ndarray[Any, Any]"], str]
"""Adds a constant to the graph, once, and gives its name."""


def marked(node: NodeProto) -> NodeProto:
    """A copy of `node` with `FP32_MARK` in its name: `blocks.0.attn/Div` becomes `blocks.0.attn/fp32/Div`."""
    twin = type(node)()
    twin.CopyFrom(node)
    twin.name = _stem(node)
    return twin


def small_layer_norm(node: NodeProto, constant: AddConstant) -> list[NodeProto]:
    """A LayerNormalization as what PyTorch writes for it before opset 17, which TensorRT 8.5 was made to read.

    Raises:
        BadInput: it normalizes more than the last axis, or gives its statistics.
    """
    from onnx import helper

    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if given.get("axis", -1) != -1 or len(node.output) > 1:
        raise BadInput(
            f"{node.name} normalizes from axis {given.get('axis', -1)} on and gives {len(node.output)} outputs",
            needed="a LayerNormalization of the last axis alone, axis=-1, with one output",
        )
    epsilon = float(given.get("epsilon", 1e-5))
    two = constant(f"norm{FP32_MARK}two", np.array(2.0, np.float32))
    least = constant(f"norm{FP32_MARK}epsilon.{epsilon:.9g}", np.array(epsilon, np.float32))
    x, y = node.input[0], node.output[0]
    bias = node.input[2] if len(node.input) > 2 else ""
    last = f"{y}.scaled" if bias else y
    steps = [
        ("ReduceMean", [x], f"{y}.mean"),
        ("Sub", [x, f"{y}.mean"], f"{y}.centred"),
        ("Pow", [f"{y}.centred", two], f"{y}.squares"),
        ("ReduceMean", [f"{y}.squares"], f"{y}.variance"),
        ("Add", [f"{y}.variance", least], f"{y}.above_zero"),
        ("Sqrt", [f"{y}.above_zero"], f"{y}.deviation"),
        ("Div", [f"{y}.centred", f"{y}.deviation"], f"{y}.normal"),
        ("Mul", [f"{y}.normal", node.input[1]], last),
    ]
    if bias:
        steps.append(("Add", [last, bias], y))
    return _nodes(node, steps, ReduceMean={"axes": [-1], "keepdims": 1})


def small_l2_norm(node: NodeProto, axes: Sequence[int], constant: AddConstant) -> list[NodeProto]:
    """A ReduceL2 as a product, a sum and a root.

    TensorRT 8's importer makes these three of it itself, but leaves the first without the node's name: no mark would
    reach the squares, which are what overflows. Source: onnx-tensorrt, ReduceSumSquare in `builtin_op_importers.cpp`.
    """
    keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
    name = "norm.axes." + ".".join(str(axis) for axis in axes)
    x, y = node.input[0], node.output[0]
    steps = [
        ("Mul", [x, x], f"{y}.squares"),
        ("ReduceSum", [f"{y}.squares", constant(name, np.array(axes, np.int64))], f"{y}.sum"),
        ("Sqrt", [f"{y}.sum"], y),
    ]
    return _nodes(node, steps, ReduceSum={"keepdims": keep})


def _nodes(
    node: NodeProto, steps: Sequence[tuple[str, list[str], str]], **attributes: dict[str, Any]
) -> list[NodeProto]:
    from onnx import helper

    stem, made = _stem(node), []
    for number, (operator, inputs, output) in enumerate(steps):
        before = sum(other == operator for other, _, _ in steps[:number])
        name = f"{stem}.{operator}" + (f"_{before + 1}" if before else "")
        made.append(helper.make_node(operator, inputs, [output], name, **attributes.get(operator, {})))
    return made


def _stem(node: NodeProto) -> str:
    module, _, operator = node.name.rpartition("/")
    return f"{module}{FP32_MARK}{operator}"
