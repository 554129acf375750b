"""Lower a graph of opset 20 to what the ONNX importers of TensorRT 8 take: opset 17 for 8.6, opset 16 for 8.5.

Only operators that this toolkit's graphs hold are lowered; another one that changed since is an error, never a silent
pass-through. Source of the differences: the ONNX operator changelog.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.rebuild import replace_nodes
from swin_deploy.onnx_graph.small_operators import marked, small_l2_norm, small_layer_norm
from swin_deploy.onnx_graph.tensorrt8_operators import Importer, beyond_importer
from swin_deploy.onnx_graph.typing_pass import stays_fp32

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["lowered"]

# Reductions take their axes as an attribute up to opset 17 and as an input from 18 on.
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceL2"})
# These changed by admitting more types or optional attributes only; the checker verifies the rest.
_WIDENED = frozenset(
    {
        "Cast", "QuantizeLinear", "DequantizeLinear", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Shape",
        "Concat", "Constant", "Split", "Pad", "Flatten", "Identity",
    }
)  # fmt: skip


def lowered(model: ModelProto, importer: Importer) -> ModelProto:
    """A copy of `model` for an importer.

    Nodes that would stay in FP32 in a typed graph, and the pieces of a decomposed LayerNorm, have `FP32_MARK` in their
    names.

    Raises:
        BadInput: the graph holds an operator that has no known form at that opset, or that is not imported.
    """
    from onnx import ModelProto

    made = ModelProto()
    made.CopyFrom(model)
    lowering = _Lowering(made, importer)
    nodes = [piece for node in made.graph.node for piece in lowering.of(node)]
    made.graph.initializer.extend(lowering.added.values())
    replace_nodes(made, nodes)
    for entry in made.opset_import:
        if entry.domain == "":
            entry.version = importer.opset
    made.ir_version = 8  # the version that came with opset 16, and was still that of 17
    _require_valid(made, importer)
    _require_imported(made, importer)
    return made


class _Lowering:
    """What the nodes of one graph become.

    Attributes:
        added: New constants by name.
    """

    def __init__(self, model: ModelProto, importer: Importer) -> None:
        from onnx import numpy_helper

        self._importer = importer
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        self.added: dict[str, TensorProto] = {}

    def of(self, node: NodeProto) -> list[NodeProto]:
        """The nodes that stand for `node`."""
        if node.domain not in ("", "ai.onnx"):
            raise _refused(
                f"operator {node.domain}.{node.op_type} ({node.name}) is of no standard domain", self._importer
            )
        if node.op_type == "Gelu":
            return self._erf_gelu(node)
        if node.op_type == "LayerNormalization" and node.op_type not in self._importer.operators:
            return small_layer_norm(node, self._constant)
        if node.op_type == "DequantizeLinear" and node.input[0] in self._constants:
            return self._float_weight(node)
        if stays_fp32(node, self._weights):
            if node.op_type == "ReduceL2":
                return small_l2_norm(node, self._axes(node), self._constant)
            node = marked(node)
        if node.op_type == "Shape" and node.attribute:
            return self._whole_shape(node)
        if node.op_type == "Resize":
            return [self._older_resize(node)]
        if node.op_type in _REDUCTIONS and len(node.input) > 1:
            return [self._attribute_axes(node)]
        return [self._unchanged(node)]

    def _constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """Add a constant, once."""
        from onnx import numpy_helper

        self.added.setdefault(name, numpy_helper.from_array(values, name))
        return name

    def _float_weight(self, node: NodeProto) -> list[NodeProto]:
        """A weight's DequantizeLinear with the QuantizeLinear before it that TensorRT 8 wants.

        TensorRT 8 refuses constants of the type INT8: weights are FP32 there, quantized by a node of the graph. The
        FP32 numbers are code * scale, so that the same codes come out of it.
        """
        from onnx import helper

        codes, scale = self._constants[node.input[0]], self._constants[node.input[1]]
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [-1 if position == axis else 1 for position in range(codes.ndim)] if scale.ndim else []
        stem = node.output[0].removesuffix(".dq")
        weight = self._constant(f"{stem}.fp32", codes.astype(np.float32) * scale.reshape(shape))
        quantized = f"{stem}.q"
        attributes: dict[str, Any] = {"axis": axis} if scale.ndim else {}
        name = node.name.removesuffix("/DequantizeLinear") + "/QuantizeLinear"
        quantize = helper.make_node("QuantizeLinear", [weight, *node.input[1:]], [quantized], name, **attributes)
        kept = type(node)()
        kept.CopyFrom(node)
        kept.input[0] = quantized
        return [quantize, kept]

    def _erf_gelu(self, node: NodeProto) -> list[NodeProto]:
        """The exact GELU, 0.5 * x * (1 + erf(x / sqrt 2)), in the pattern that TensorRT 8 fuses."""
        from onnx import helper

        if any(a.name == "approximate" and a.s not in (b"none", b"") for a in node.attribute):
            raise BadInput(
                f"{node.name} is an approximate GELU", needed="the exact (erf) GELU that Swin was trained with"
            )
        root, one, half = (
            self._constant(f"gelu.{name}", np.array(value, np.float32))
            for name, value in (("sqrt2", math.sqrt(2.0)), ("one", 1.0), ("half", 0.5))
        )
        x, y, stem = node.input[0], node.output[0], node.name
        return [
            helper.make_node("Div", [x, root], [f"{y}.scaled"], f"{stem}/Div"),
            helper.make_node("Erf", [f"{y}.scaled"], [f"{y}.erf"], f"{stem}/Erf"),
            helper.make_node("Add", [f"{y}.erf", one], [f"{y}.cdf2"], f"{stem}/Add"),
            helper.make_node("Mul", [x, f"{y}.cdf2"], [f"{y}.twice"], f"{stem}/Mul"),
            helper.make_node("Mul", [f"{y}.twice", half], [y], f"{stem}/Mul_2"),
        ]

    def _older_resize(self, node: NodeProto) -> NodeProto:
        """A Resize without what opsets 18 and 19 added to it, where that says what was always so."""
        from onnx import helper

        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        added = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}
        wrong = [name for name, value in added.items() if given.get(name, value) != value]
        if wrong or "axes" in given:
            extra = wrong[0] if wrong else "axes"
            raise _refused(
                f"operator Resize ({node.name}) has {extra}, which came after opset {self._importer.opset}",
                self._importer,
            )
        kept = {name: value for name, value in given.items() if name not in added}
        return helper.make_node("Resize", list(node.input), list(node.output), node.name, **kept)

    def _whole_shape(self, node: NodeProto) -> list[NodeProto]:
        """A Shape of all axes and a Slice: TensorRT 8's importer passes over `start` and `end`."""
        from onnx import helper

        given = {a.name: int(a.i) for a in node.attribute}
        ends = (given.get("start", 0), given.get("end", np.iinfo(np.int32).max))
        whole = f"{node.output[0]}.whole"
        bounds = [self._constant(f"shape.bound.{value}", np.array([value], np.int64)) for value in ends]
        return [
            helper.make_node("Shape", [node.input[0]], [whole], node.name),
            helper.make_node("Slice", [whole, *bounds], list(node.output), f"{node.name}/Slice"),
        ]

    def _attribute_axes(self, node: NodeProto) -> NodeProto:
        from onnx import helper

        keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        axes = self._axes(node)
        return helper.make_node(node.op_type, [node.input[0]], list(node.output), node.name, axes=axes, keepdims=keep)

    def _axes(self, node: NodeProto) -> list[int]:
        """The axes of a reduction; none given and `noop_with_empty_axes` is no reduction, which is not lowered."""
        if any(a.name == "noop_with_empty_axes" and a.i for a in node.attribute):
            raise _refused(f"{node.op_type} ({node.name}) has noop_with_empty_axes", self._importer)
        given: Mapping[str, Any] = {a.name: list(a.ints) for a in node.attribute if a.name == "axes"}
        if given:
            return list(given["axes"])
        if len(node.input) < 2 or node.input[1] not in self._constants:
            raise _refused(f"the axes of {node.op_type} ({node.name}) are computed at run time", self._importer)
        return [int(axis) for axis in self._constants[node.input[1]]]

    def _unchanged(self, node: NodeProto) -> NodeProto:
        """`node` itself, if its operator is the same at both opsets (as far as the checker cannot tell)."""
        then = self._importer.opset
        if _since(node.op_type, self._opset) != _since(node.op_type, then) and node.op_type not in _WIDENED:
            raise _refused(
                f"operator {node.op_type} ({node.name}) changed after opset {then} and has no lowering", self._importer
            )
        return node


def _since(operator: str, opset: int) -> int | None:
    """The opset that brought the operator's form of `opset`."""
    from onnx import defs

    try:
        return int(defs.get_schema(operator, opset, "").since_version)
    except Exception:  # onnx raises its own C++ SchemaError for an operator that this opset does not have
        return None


def _refused(seen: str, importer: Importer) -> BadInput:
    return BadInput(
        seen,
        needed=f"FP32 operators that {importer.title} imports",
        do="Export the strong profile only, or report the graph",
    )


def _require_valid(made: ModelProto, importer: Importer) -> None:
    """The checker sees what versions do not tell: types and attributes that came later."""
    from onnx import checker, shape_inference

    try:
        checker.check_model(made, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise _refused(f"the graph is not valid at opset {importer.opset}: {str(error).strip()}", importer) from error


def _require_imported(made: ModelProto, importer: Importer) -> None:
    beyond = beyond_importer(made, importer)
    if beyond:
        raise _refused(beyond[0] + (f" (and {len(beyond) - 1} more)" if len(beyond) > 1 else ""), importer)
