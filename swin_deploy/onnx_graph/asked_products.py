"""Count what a graph asks an engine to compute in which type: what the engine's audit compares with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from swin_deploy.artifact import Precision

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["AskedProducts", "asked_products"]

_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
# What may stand between a Q/DQ pair or a softmax and its product.
_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Cast", *_QDQ})


@dataclass(frozen=True)
class AskedProducts:
    """What an engine is to run.

    Attributes:
        linears: Products with constant weights in the precision that was asked for: with codes on both sides for INT8
            and FP8 (what the quantize stage wrote down, where it did), of that type otherwise.
        attentions: Softmaxes that a product reads.
        fp32_products: Products and convolutions that stay in FP32.
    """

    linears: int
    attentions: int
    fp32_products: int

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def asked_products(model: ModelProto, precision: Precision, *, by_flags: bool = False) -> AskedProducts:
    """Count.

    Args:
        model: The graph that the engine is built from.
        precision: What was asked for.
        by_flags: The graph is FP32 (`trt86`, `trt85`), and builder flags ask for the precision.
    """
    graph = _Graph(model)
    linears: Counter[str] = Counter()
    fp32 = attentions = 0
    for node in model.graph.node:
        if node.op_type in _PRODUCTS:
            kind = graph.kind(node)
            fp32 += kind == "fp32"
            if not node.op_type.startswith("Conv") and graph.weighted(node):
                linears[kind] += 1
        attentions += node.op_type == "Softmax" and graph.feeds_product(node.output[0])
    if precision.quantized:
        asked = max(linears[precision.value], _stated(model))
    else:
        asked = linears["fp32" if by_flags else precision.value]
    return AskedProducts(asked, attentions, 0 if by_flags and precision is not Precision.FP32 else fp32)


def _stated(model: ModelProto) -> int:
    """How many linears the quantize stage wrote down; what became of its Q/DQ since is not asked."""
    stated = next((entry.value for entry in model.metadata_props if entry.key == "swin_deploy.quantization"), "")
    return len(json.loads(stated)["linears"]) if stated else 0


class _Graph:
    """Who makes and who reads each value."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import TensorProto

        self._names: Mapping[int, str] = {
            TensorProto.FLOAT: "fp32",
            TensorProto.FLOAT16: "fp16",
            TensorProto.BFLOAT16: "bf16",
            TensorProto.INT8: "int8",
            TensorProto.FLOAT8E4M3FN: "fp8",
        }
        self._types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self._types.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
        self._constants = {tensor.name for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def kind(self, node: NodeProto) -> str:
        """The type that a product computes in: that of the codes where both sides have some."""
        codes = {self._codes(name) for name in node.input[:2]}
        if len(codes) == 1 and "" not in codes:
            return codes.pop()
        return self._names.get(self._type(node.input[0]), "")

    def weighted(self, node: NodeProto) -> bool:
        """Whether one side is a constant, coded or not."""
        return any(self._constant(name) for name in node.input[:2])

    def feeds_product(self, name: str) -> bool:
        """Whether a product of two activations reads it, maybe behind Q/DQ, a copy or a cast."""
        for reader in self._readers.get(name, []):
            if reader.op_type == "MatMul" and not self.weighted(reader):
                return True
            if reader.op_type in _MOVES and self.feeds_product(reader.output[0]):
                return True
        return False

    def _constant(self, name: str) -> bool:
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in (*_QDQ, "Transpose", "Cast"):
            name = maker.input[0]
            maker = self._makers.get(name)
        return name in self._constants or (maker is not None and maker.op_type == "Constant")

    def _codes(self, name: str) -> str:
        """The type of the codes that an operand was dequantized from, or nothing."""
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in _MOVES - _QDQ:
            maker = self._makers.get(maker.input[0])
        if maker is None or maker.op_type != "DequantizeLinear":
            return ""
        # The zero point has the codes' type, and where there is none the codes are constants.
        codes = maker.input[2] if len(maker.input) > 2 else maker.input[0]
        kind = self._names.get(self._type(codes), "")
        return kind if kind in ("int8", "fp8") else ""

    def _type(self, name: str) -> int:
        """An element type, found upstream: every operator of these graphs passes on the type of a float operand."""
        while name not in self._types:
            maker = self._makers.get(name)
            if maker is None:
                return 0
            if maker.op_type == "Cast":
                return int(next(attribute.i for attribute in maker.attribute if attribute.name == "to"))
            if maker.op_type == "Constant":
                return int(next(attribute.t.data_type for attribute in maker.attribute if attribute.name == "value"))
            # A step tells the float's type that codes become; a condition tells nothing.
            position = 1 if maker.op_type in ("DequantizeLinear", "Where") else 0
            name = maker.input[position]
        return int(self._types[name])
