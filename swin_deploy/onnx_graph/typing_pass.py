"""Give a simplified FP32 graph its arithmetic: FP16 or BF16 tensors, with FP32 where half precision is not safe.

Strongly typed TensorRT takes precision from the graph's own types, so this pass decides what the engine computes in.
Inputs and outputs stay FP32. LayerNormalization keeps its statistics in FP32 by its `stash_type` attribute, and
TensorRT's and PyTorch's softmax accumulate in FP32; the cosine attention's norm has no such promise and stays FP32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.move_inputs import EXPLICIT_SUFFIX
from swin_deploy.onnx_graph.rebuild import replace_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["FP32_ISLAND", "WeightBeyondType", "stays_fp32", "type_graph"]

# The pieces of V2's normalize: squares overflow FP16 from |q| = 256 on, and its epsilon 1e-12 is zero there.
FP32_ISLAND = frozenset({"ReduceL2", "Clip", "Div", "Mul"})

# Their other inputs say how much, and are FP32 by ONNX's own definition (the scales of a Resize).
_FIRST_ONLY = frozenset({"Resize"})

# The largest finite number and the name of BF16 and of FP16.
_LIMITS = ((float(np.uint32(0x7F7F0000).view(np.float32)), "BF16"), (65504.0, "FP16"))


class WeightBeyondType(BadInput):
    """A weight that the type has no number for; its node would have to stay in FP32."""


def type_graph(model: ModelProto, *, half: str, keep: Collection[str] = ()) -> ModelProto:
    """A typed copy of `model`.

    Args:
        model: FP32, without Constant nodes or Casts (simplified); Q/DQ allowed.
        half: `fp16` or `bf16`.
        keep: Names of nodes that go on computing in FP32, their weights unrounded.

    Raises:
        WeightBeyondType: a weight is outside the type's range.
        BadInput: the graph holds what the pass does not know.
    """
    from onnx import ModelProto, TensorProto, helper, shape_inference

    target = TensorProto.FLOAT16 if half == "fp16" else TensorProto.BFLOAT16
    floats = _float_values(shape_inference.infer_shapes(model, data_prop=True))
    typed = ModelProto()
    typed.CopyFrom(model)
    graph = typed.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    produced = {value.name: TensorProto.FLOAT for value in graph.input}
    casts: dict[tuple[str, int], str] = {}
    nodes: list[NodeProto] = []

    named: Counter[str] = Counter()

    def wanted(name: str, kind: int, reader: NodeProto) -> str:
        """The name under which `name` is available as `kind`, adding a typed weight or a Cast when needed."""
        if name not in floats or produced.get(name) == kind:
            return name
        if (name, kind) not in casts:
            suffix = "fp32" if kind == TensorProto.FLOAT else half
            casts[name, kind] = f"{name}.{suffix}"
            if name in weights:
                graph.initializer.append(_converted(weights[name], casts[name, kind], kind))
            else:
                # After the module that first reads it, as in onnx_graph/names.py.
                title = f"{reader.name.rsplit('/', 1)[0]}/Cast_{suffix}"
                named[title] += 1
                title = title if named[title] == 1 else f"{title}_{named[title]}"
                nodes.append(helper.make_node("Cast", [name], [casts[name, kind]], title, to=kind))
        return casts[name, kind]

    for node in graph.node:
        if node.op_type in ("Cast", "Constant"):
            raise BadInput(f"the graph holds a {node.op_type} node, {node.name}", needed="a simplified FP32 graph")
        kind = TensorProto.FLOAT if stays_fp32(node, weights) or node.name in keep else target
        for position, name in enumerate(node.input):
            if position == 0 or node.op_type not in _FIRST_ONLY:
                node.input[position] = wanted(name, kind, node)
        for name in node.output:
            if name in floats:
                produced[name] = kind
        nodes.append(node)
    for value in graph.output:
        if value.name in floats and produced.get(value.name) != TensorProto.FLOAT:
            inner = f"{value.name}.{half}"
            for node in nodes:
                _rename(node.input, value.name, inner)
                _rename(node.output, value.name, inner)
            nodes.append(helper.make_node("Cast", [inner], [value.name], f"{value.name}/Cast", to=TensorProto.FLOAT))
    if half == "bf16":
        # Conv admits BF16 from opset 22 on; what else changed since 20 for these operators is admitted types only.
        for entry in typed.opset_import:
            entry.version = max(entry.version, 22) if entry.domain == "" else entry.version
    replace_nodes(typed, nodes)
    return typed


def stays_fp32(node: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether a node computes in FP32 whatever its neighbours do; `weights` are the graph's constants by name."""
    return node.op_type in FP32_ISLAND and not _zeroes_padding(node, weights) and not _moves_input(node)


def _zeroes_padding(node: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    """Whether a node multiplies with nothing but zeros and ones, which is exact in any type: padded tokens."""
    from onnx import numpy_helper

    if node.op_type != "Mul":
        return False
    factors = [numpy_helper.to_array(weights[name]) for name in node.input if name in weights]
    return any(bool(np.isin(factor, (0.0, 1.0)).all()) and factor.size > 1 for factor in factors)


def _moves_input(node: NodeProto) -> bool:
    """Whether a node scales a linear's input before it is quantized, by constants that FP16 holds."""
    return node.name.rsplit("/", 1)[0].endswith(EXPLICIT_SUFFIX)


def _rename(names: Any, old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new


def _float_values(model: ModelProto) -> frozenset[str]:
    """Every FP32 value of the graph: inputs, outputs, intermediates and weights."""
    from onnx import TensorProto

    graph = model.graph
    values = [*graph.input, *graph.output, *graph.value_info]
    known = {value.name: value.type.tensor_type.elem_type for value in values}
    known.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    unknown = [name for node in graph.node for name in node.output if name and name not in known]
    if unknown:
        raise BadInput(
            f"the type of {unknown[0]} is not known after shape inference", needed="operators of the standard domain"
        )
    return frozenset(name for name, kind in known.items() if kind == TensorProto.FLOAT)


def _converted(tensor: TensorProto, name: str, kind: int) -> TensorProto:
    """`tensor` as `kind` under a new name, rounded to nearest even."""
    from onnx import TensorProto, helper, numpy_helper

    values = numpy_helper.to_array(tensor)
    if kind == TensorProto.FLOAT:
        return numpy_helper.from_array(values, name)
    limit, title = _LIMITS[kind == TensorProto.FLOAT16]
    largest = float(np.abs(values).max(initial=0.0))
    if largest > limit:
        raise WeightBeyondType(
            f"weight {tensor.name} reaches {largest:.5g}, beyond {title}'s {limit:.5g}",
            needed=f"weights within {title}'s range",
            do="Build with --bf16, which has FP32's range" if title == "FP16" else "",
        )
    if kind == TensorProto.FLOAT16:
        return numpy_helper.from_array(values.astype(np.float16), name)
    rounded = helper.make_tensor(name, kind, values.shape, _bf16_bits(values).tobytes(), raw=True)
    return rounded


def _bf16_bits(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """BF16 bit patterns of finite FP32 values, rounded to nearest even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
