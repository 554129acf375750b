"""What the ONNX importers of TensorRT 8.5 and 8.6 take, as tables, and a check that a graph stays within them.

The tables are read off two sources of onnx-tensorrt's branches 8.5-GA and 8.6-GA: `docs/operators.md` for operators and
types, and the importer's code for the attributes that it refuses or, worse, passes over. 8.5 is written as what it
takes less than 8.6. Nothing here was run against either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["IMPORTERS", "Importer", "beyond_importer"]

_FLOATS = frozenset({"FLOAT", "FLOAT16"})
_F_I = _FLOATS | {"INT32"}
_F_8 = _FLOATS | {"INT8"}
_F_8_I = _FLOATS | {"INT8", "INT32"}
_F_I_B = _F_I | {"BOOL"}
_ANY = _F_8_I | {"BOOL"}
# Types of an operator's data; the operators of each line are alike.
_BY_TYPES = (
    (
        _F_I,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min Mod",
    ),
    (_F_I, "Mul Neg Range Shrink SpaceToDepth Sub Sum TopK"),
    (_FLOATS, "Acos Acosh Asin Asinh Atan Atanh BatchNormalization Ceil Celu Cos Cosh CumSum Dropout Einsum Erf Exp"),
    (_FLOATS, "Floor GRU GridSample InstanceNormalization IsInf LRN LSTM LayerNormalization Log LogSoftmax MatMul"),
    (
        _FLOATS,
        "LpNormalization MeanVarianceNormalization NonMaxSuppression NonZero Pow QuantizeLinear RNN RandomNormal",
    ),
    (_FLOATS, "RandomNormalLike RandomUniform RandomUniformLike Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceMax"),
    (
        _FLOATS,
        "ReduceLogSumExp ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Resize RoiAlign Scan Sin Sinh",
    ),
    (_FLOATS, "Softmax Sqrt Tan"),
    (_F_8, "Clip Conv ConvTranspose Elu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid HardSwish"),
    (_F_8, "LeakyRelu LpPool MaxPool PRelu Relu Round Selu Sigmoid Softplus Softsign Tanh ThresholdedRelu"),
    (_F_8_I, "AveragePool Pad ScatterElements ScatterND Sign"),
    (_F_I_B, "Expand EyeLike Flatten If Loop OneHot Split Tile Where"),
    (_ANY, "Concat Constant Gather GatherElements GatherND Identity Reshape ReverseSequence Shape Size Slice Squeeze"),
    (_ANY, "Transpose Trilu Unsqueeze"),
    (_ANY | {"UINT8"}, "Cast"),
    (frozenset({"INT8"}), "DequantizeLinear"),
    (frozenset({"BOOL"}), "And Not Or Xor"),
    (frozenset({"INT32"}), "ConstantOfShape"),  # its input is a shape
)
_OPERATORS: Mapping[str, frozenset[str]] = MappingProxyType(
    {operator: types for types, operators in _BY_TYPES for operator in operators.split()}
)

_NO_OTHER = frozenset({0})
_ATTRIBUTES: Mapping[tuple[str, str], frozenset[Any]] = MappingProxyType(
    {
        ("Cast", "to"): _ANY | {"UINT8", "INT64"},
        ("DepthToSpace", "mode"): frozenset({"DCR", "CRD"}),
        ("GRU", "layout"): _NO_OTHER,
        ("GridSample", "mode"): frozenset({"nearest", "bilinear", "bicubic"}),
        ("LSTM", "layout"): _NO_OTHER,
        ("MaxPool", "dilations"): frozenset({1}),
        ("MaxPool", "storage_order"): _NO_OTHER,
        ("MeanVarianceNormalization", "axes"): frozenset({0, 2, 3}),
        ("Pad", "mode"): frozenset({"constant", "reflect", "edge"}),
        ("RNN", "layout"): _NO_OTHER,
        ("ReduceSum", "noop_with_empty_axes"): _NO_OTHER,
        ("Resize", "coordinate_transformation_mode"): frozenset(
            {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
        ),
        ("Resize", "mode"): frozenset({"nearest", "linear"}),
        ("Resize", "nearest_mode"): frozenset({"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}),
        ("ScatterElements", "reduction"): frozenset({"none"}),
        ("ScatterND", "reduction"): frozenset({"none"}),
        ("Shape", "start"): _NO_OTHER,
        ("Shape", "end"): frozenset(),
    }
)
# Inputs that say how much or where: of a type of their own.
_APART: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "CumSum": frozenset({1}),
        "DequantizeLinear": frozenset({1, 2}),
        "Dropout": frozenset({1, 2}),
        "Expand": frozenset({1}),
        "GRU": frozenset({4}),
        "Gather": frozenset({1}),
        "GatherElements": frozenset({1}),
        "GatherND": frozenset({1}),
        "If": frozenset({0}),
        "LSTM": frozenset({4}),
        "Loop": frozenset({0, 1}),
        "NonMaxSuppression": frozenset({2}),
        "OneHot": frozenset({0, 1}),
        "Pad": frozenset({1}),
        "QuantizeLinear": frozenset({2}),
        "RNN": frozenset({4}),
        "ReduceSum": frozenset({1}),
        "Reshape": frozenset({1}),
        "Resize": frozenset({1, 2, 3}),
        "ReverseSequence": frozenset({1}),
        "RoiAlign": frozenset({2}),
        "ScatterElements": frozenset({1}),
        "ScatterND": frozenset({1}),
        "Slice": frozenset({1, 2, 3, 4}),
        "Split": frozenset({1}),
        "Squeeze": frozenset({1}),
        "Tile": frozenset({1}),
        "TopK": frozenset({1}),
        "Trilu": frozenset({1}),
        "Unsqueeze": frozenset({1}),
        "Where": frozenset({0}),
    }
)
_IMPORTED = _ANY | {"INT64", "UINT8"}
_CONSTANT: Mapping[str, frozenset[int]] = MappingProxyType(
    {operator: frozenset({1}) for operator in ("CumSum", "ReduceSum", "Squeeze", "Unsqueeze")}
    | {"InstanceNormalization": frozenset({1, 2}), "Slice": frozenset({3})}
)
_AXES: Mapping[str, range] = MappingProxyType({"Gemm": range(2, 3), "InstanceNormalization": range(3, 6)})


@dataclass(frozen=True)
class Importer:
    """What one version's importer takes.

    Attributes:
        title: The version, e.g. `TensorRT 8.6`.
        opset: The newest opset that is written for it.
        operators: Each operator that is taken, with the types that its data may have. INT64 becomes INT32 on import.
        attributes: Attributes that may have these values only; others of an operator at that opset are free.
        constant: Inputs that have to be constants, by position: axes, of which shapes follow, and the like.
        axes: How many axes the data of an operator may have.
    """

    title: str
    opset: int
    operators: Mapping[str, frozenset[str]]
    attributes: Mapping[tuple[str, str], frozenset[Any]]
    constant: Mapping[str, frozenset[int]]
    axes: Mapping[str, range]


_TRT86 = Importer("TensorRT 8.6", 17, _OPERATORS, _ATTRIBUTES, _CONSTANT, _AXES)
_LATER = frozenset({"IsInf", "LayerNormalization"})
_NARROWER = {
    **dict.fromkeys(("ArgMax", "ArgMin", "ReverseSequence", "TopK"), _FLOATS),
    "Cast": _ANY,
}
_TRT85 = replace(
    _TRT86,
    title="TensorRT 8.5",
    # It reads 17 too, but that brought LayerNormalization alone of what it might be given, which it does not take.
    opset=16,
    operators=MappingProxyType({name: types for name, types in _OPERATORS.items() if name not in _LATER} | _NARROWER),
    attributes=MappingProxyType({**_ATTRIBUTES, ("Cast", "to"): _ANY | {"INT64"}}),
    constant=MappingProxyType({**_CONSTANT, "OneHot": frozenset({1}), "TopK": frozenset({1})}),
    axes=MappingProxyType({**_AXES, "Trilu": range(2, 4)}),
)
IMPORTERS: Mapping[str, Importer] = MappingProxyType({"trt86": _TRT86, "trt85": _TRT85})
"""By export profile."""


@dataclass(frozen=True)
class _Values:
    """What is known of the values of a graph."""

    types: Mapping[str, str]
    constants: Mapping[str, np.ndarray[Any, Any]]
    axes: Mapping[str, int]


def beyond_importer(model: ModelProto, importer: Importer) -> tuple[str, ...]:
    """One sentence for each thing in a graph, of the importer's opset, that it does not take."""
    values = _values(model)
    return tuple(sentence for node in model.graph.node for sentence in _beyond(node, importer, values))


def _beyond(node: NodeProto, importer: Importer, values: _Values) -> Iterator[str]:
    here, title = f"operator {node.op_type} ({node.name})", importer.title
    if node.domain not in ("", "ai.onnx") or node.op_type not in importer.operators:
        yield f"{here} is none that {title} imports"
        return
    taken, apart = importer.operators[node.op_type], _APART.get(node.op_type, frozenset())
    for position, name in enumerate(node.input):
        kind = values.types.get(name)
        if not name or kind is None:  # left out, or of a subgraph's own
            continue
        narrow = "INT32" if kind == "INT64" else kind
        if narrow not in (_IMPORTED if position in apart else taken):
            yield f"{here} has an input of {kind}, {name}, where {title} takes {_listed(taken)}"
        if position in importer.constant.get(node.op_type, ()) and name not in values.constants:
            yield f"{here} has the computed input {name}, where {title} takes a constant"
    yield from _attributes(node, here, importer)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from _quantization(node, here, title, values)
    if node.op_type in importer.axes:
        wanted = importer.axes[node.op_type]
        for name in node.input[: 2 if node.op_type == "Gemm" else 1]:
            if values.axes.get(name, wanted[0]) not in wanted:
                yield f"{here} reads {name} of {values.axes[name]} axes, where {title} takes {_listed(wanted)}"
    if node.op_type == "MaxPool" and len(node.output) > 1:
        yield f"{here} gives indices, which {title} does not"


def _attributes(node: NodeProto, here: str, importer: Importer) -> Iterator[str]:
    from onnx import TensorProto, helper

    for attribute in node.attribute:
        allowed = importer.attributes.get((node.op_type, attribute.name))
        if allowed is None:
            continue
        value = helper.get_attribute_value(attribute)
        for entry in value if isinstance(value, (list, tuple)) else (value,):
            said = entry.decode() if isinstance(entry, bytes) else entry
            said = TensorProto.DataType.Name(said) if (node.op_type, attribute.name) == ("Cast", "to") else said
            if said not in allowed:
                yield f"{here} has {attribute.name}={said}, where {importer.title} takes {_listed(allowed) or 'none'}"
                break


def _quantization(node: NodeProto, here: str, title: str, values: _Values) -> Iterator[str]:
    """Steps above 0 and zero points of 0, as many; and INT8 in nodes alone, since no constant may have that type."""
    if len(node.input) < 3:
        yield f"{here} has no zero point, which {title} wants"
        return
    step, zero = (values.constants.get(name) for name in node.input[1:3])
    if step is not None and not (step > 0).all():
        yield f"{here} has a step that is not above 0"
    if zero is not None and zero.any():
        yield f"{here} has a zero point that is not 0, where {title} takes symmetric codes"
    if step is not None and zero is not None and step.size != zero.size:
        yield f"{here} has {step.size} steps and {zero.size} zero points"
    if values.types.get(node.input[2]) not in (None, "INT8"):
        yield f"{here} has codes of {values.types[node.input[2]]}, where {title} takes INT8"
    if node.input[0] in values.constants and values.types.get(node.input[0]) == "INT8":
        yield f"{here} reads the constant {node.input[0]} of INT8, where {title} wants a QuantizeLinear"


def _values(model: ModelProto) -> _Values:
    from onnx import TensorProto, numpy_helper, shape_inference

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    types, axes = {}, {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        types[value.name] = TensorProto.DataType.Name(tensor.elem_type)
        if tensor.HasField("shape"):
            axes[value.name] = len(tensor.shape.dim)
    for constant in graph.initializer:
        types[constant.name] = TensorProto.DataType.Name(constant.data_type)
        axes[constant.name] = len(constant.dims)
    return _Values(types, {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}, axes)


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(sorted(str(value) for value in values))
