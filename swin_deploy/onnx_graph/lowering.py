"""Lower a graph of opset 20 to opset 17, the newest that TensorRT 8.6's importer takes.

Only operators that this toolkit's graphs hold are lowered; another one that changed since opset 17 is an error, never a
silent pass-through. Source of the differences: the ONNX operator changelog.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.rebuild import replace_nodes
from swin_deploy.onnx_graph.trt86_operators import beyond_trt86

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["OPSET", "lower_to_opset17"]

OPSET = 17
# Reductions take their axes as an attribute up to opset 17 and as an input from 18 on.
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceL2"})


def lower_to_opset17(model: ModelProto) -> ModelProto:
    """A copy of `model` at opset 17.

    Raises:
        BadInput: the graph holds an operator that has no known form at opset 17, or that TensorRT 8.6 does not import.
    """
    from onnx import ModelProto, numpy_helper

    lowered = ModelProto()
    lowered.CopyFrom(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in lowered.graph.initializer}
    nodes: list[NodeProto] = []
    added: list[TensorProto] = []
    for node in lowered.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise _refused(f"operator {node.domain}.{node.op_type} ({node.name}) is of no standard domain")
        if node.op_type == "Gelu":
            nodes.extend(_erf_gelu(node, added))
        elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
            nodes.extend(_float_weight(node, constants, added))
        elif node.op_type == "Resize":
            nodes.append(_older_resize(node))
        elif node.op_type in _REDUCTIONS and len(node.input) > 1:
            nodes.append(_attribute_axes(node, constants))
        else:
            nodes.append(_unchanged(node, model))
    lowered.graph.initializer.extend(added)
    replace_nodes(lowered, nodes)
    for entry in lowered.opset_import:
        if entry.domain == "":
            entry.version = OPSET
    lowered.ir_version = 8  # the version that came with opset 17
    _require_valid(lowered)
    _require_imported(lowered)
    return lowered


def _float_weight(node: NodeProto, constants: dict[str, np.ndarray], added: list[TensorProto]) -> list[NodeProto]:
    """A weight's DequantizeLinear with the QuantizeLinear before it that TensorRT 8 wants.

    TensorRT 8 refuses constants of the type INT8: weights are FP32 there, quantized by a node of the graph. The FP32
    numbers are code * scale, so that the same codes come out of it.
    """
    from onnx import helper, numpy_helper

    codes, scale = constants[node.input[0]], constants[node.input[1]]
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if position == axis else 1 for position in range(codes.ndim)] if scale.ndim else []
    stem = node.output[0].removesuffix(".dq")
    weight, quantized = f"{stem}.fp32", f"{stem}.q"
    values = codes.astype(np.float32) * scale.reshape(shape)
    added.append(numpy_helper.from_array(values, weight))
    attributes: dict[str, Any] = {"axis": axis} if scale.ndim else {}
    name = node.name.removesuffix("/DequantizeLinear") + "/QuantizeLinear"
    quantize = helper.make_node("QuantizeLinear", [weight, *node.input[1:]], [quantized], name, **attributes)
    kept = type(node)()
    kept.CopyFrom(node)
    kept.input[0] = quantized
    return [quantize, kept]


def _unchanged(node: NodeProto, model: ModelProto) -> NodeProto:
    """`node` itself, if its operator is the same at both opsets (as far as the checker cannot tell)."""
    from onnx import defs

    version = next(entry.version for entry in model.opset_import if entry.domain == "")
    now, then = (_since(defs, node.op_type, opset) for opset in (version, OPSET))
    # These changed by admitting more types or optional attributes only; the checker verifies the rest at opset 17.
    widened = {
        "Cast", "QuantizeLinear", "DequantizeLinear", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Shape",
        "Concat", "Constant", "Split", "Pad", "Flatten", "Identity",
    }  # fmt: skip
    if now != then and node.op_type not in widened:
        raise _refused(f"operator {node.op_type} ({node.name}) changed after opset {OPSET} and has no lowering")
    return node


def _refused(seen: str) -> BadInput:
    return BadInput(
        seen,
        needed="FP32 operators that TensorRT 8.6 imports",
        do="Export the strong profile only, or report the graph",
    )


def _require_valid(lowered: ModelProto) -> None:
    """The checker sees what versions do not tell: types and attributes that came after opset 17."""
    from onnx import checker, shape_inference

    try:
        checker.check_model(lowered, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise _refused(f"the graph is not valid at opset {OPSET}: {str(error).strip()}") from error


def _require_imported(lowered: ModelProto) -> None:
    beyond = beyond_trt86(lowered)
    if beyond:
        raise _refused(beyond[0] + (f" (and {len(beyond) - 1} more)" if len(beyond) > 1 else ""))


def _since(defs: object, operator: str, opset: int) -> int | None:
    try:
        return int(defs.get_schema(operator, opset, "").since_version)  # type: ignore[attr-defined]
    except Exception:  # onnx raises its own C++ SchemaError for an operator that this opset does not have
        return None


def _attribute_axes(node: NodeProto, constants: dict[str, np.ndarray]) -> NodeProto:
    from onnx import helper

    keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
    if node.input[1] not in constants:
        raise _refused(f"the axes of {node.op_type} ({node.name}) are computed at run time")
    axes = [int(axis) for axis in constants[node.input[1]]]
    return helper.make_node(node.op_type, [node.input[0]], list(node.output), node.name, axes=axes, keepdims=keep)


def _older_resize(node: NodeProto) -> NodeProto:
    """A Resize without what opsets 18 and 19 added to it, where that says what was always so."""
    from onnx import helper

    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    added = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}
    wrong = [name for name, value in added.items() if given.get(name, value) != value]
    if wrong or "axes" in given:
        extra = wrong[0] if wrong else "axes"
        raise _refused(f"operator Resize ({node.name}) has {extra}, which came after opset {OPSET}")
    kept = {name: value for name, value in given.items() if name not in added}
    return helper.make_node("Resize", list(node.input), list(node.output), node.name, **kept)


def _erf_gelu(node: NodeProto, added: list[TensorProto]) -> list[NodeProto]:
    """The exact GELU, 0.5 * x * (1 + erf(x / sqrt 2)), in the pattern that TensorRT 8.6 fuses."""
    from onnx import helper, numpy_helper

    if any(a.name == "approximate" and a.s not in (b"none", b"") for a in node.attribute):
        raise BadInput(f"{node.name} is an approximate GELU", needed="the exact (erf) GELU that Swin was trained with")
    for name, value in (("gelu.sqrt2", math.sqrt(2.0)), ("gelu.one", 1.0), ("gelu.half", 0.5)):
        if all(tensor.name != name for tensor in added):
            added.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
    x, y, stem = node.input[0], node.output[0], node.name
    return [
        helper.make_node("Div", [x, "gelu.sqrt2"], [f"{y}.scaled"], f"{stem}/Div"),
        helper.make_node("Erf", [f"{y}.scaled"], [f"{y}.erf"], f"{stem}/Erf"),
        helper.make_node("Add", [f"{y}.erf", "gelu.one"], [f"{y}.cdf2"], f"{stem}/Add"),
        helper.make_node("Mul", [x, f"{y}.cdf2"], [f"{y}.twice"], f"{stem}/Mul"),
        helper.make_node("Mul", [f"{y}.twice", "gelu.half"], [y], f"{stem}/Mul_2"),
    ]
