"""Check that a Q/DQ graph is what was asked for: the chosen products read codes on both sides, and nothing else does.

Works on the FP32 graph, on the typed one, and on the lowered one of the `trt86` profile, whose weights are FP32 behind
a QuantizeLinear. A builder that meets a stray pair takes its products apart or leaves INT8 unused without a word, so
this is said before an engine is built.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["QuantizationAudit", "audit_quantization", "require_as_written", "require_clean"]

_SHOWN = 4
_BLOCK = re.compile(r"blocks\.\d+")


@dataclass(frozen=True)
class QuantizationAudit:
    """What a graph computes in codes.

    Attributes:
        linears: Quantized products with a constant weight, by block; by module where it is in no block.
        attention: Quantized products of two activations, likewise.
        stored: Type of the codes, such as `INT8`; empty where there are none.
        findings: One sentence a defect.
    """

    linears: Mapping[str, int]
    attention: Mapping[str, int]
    stored: str
    findings: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {"linears": dict(self.linears), "attention": dict(self.attention), "stored": self.stored}


def require_clean(
    model: ModelProto, chosen: Iterable[str], *, attention: bool | Collection[str] = False
) -> dict[str, Any]:
    """The facts of a graph without a finding; see `audit_quantization`.

    Raises:
        BadInput: there are findings.
    """
    audit = audit_quantization(model, chosen, attention=attention)
    if audit.findings:
        more = len(audit.findings) - _SHOWN
        raise BadInput(
            "the quantized graph is not what was asked for: "
            + "; ".join(audit.findings[:_SHOWN])
            + (f"; and {more} more" if more > 0 else ""),
            needed="codes on both sides of each chosen product, and nowhere else",
            do="Report the graph, with the options that it was made with",
        )
    return audit.facts()


def require_as_written(model: ModelProto) -> None:
    """Audit a graph that a later stage made of a quantized one, against what the quantize stage wrote into it.

    Raises:
        BadInput: there are findings. A graph that says nothing of a quantization has none.
    """
    stated = next((entry.value for entry in model.metadata_props if entry.key == "swin_deploy.quantization"), "")
    if stated:
        written = json.loads(stated)
        require_clean(model, written["linears"], attention=written["attention"])


def audit_quantization(
    model: ModelProto, chosen: Iterable[str], *, attention: bool | Collection[str] = False
) -> QuantizationAudit:
    """Look at every QuantizeLinear, DequantizeLinear and product.

    Args:
        model: The graph.
        chosen: Modules of the linears that were to be quantized, as `onnx_graph.linears` names them.
        attention: Whether the products of every attention were, too, or the modules of those whose were.
    """
    graph = _Graph(model)
    findings = [*graph.strays()]
    wanted, met = set(chosen), set()
    linears: Counter[str] = Counter()
    products: Counter[str] = Counter()
    for module, node, weighted in graph.products():
        left, right = (graph.dequantizer(name) for name in node.input)
        if weighted:
            met.add(module)
        of_attention = attention if isinstance(attention, bool) else module in attention
        asked = module in wanted if weighted else of_attention and graph.in_attention(node)
        if not asked:
            if left is not None or right is not None:
                findings.append(f"{module} ({node.name}) reads dequantized codes and was not chosen")
            continue
        for side, maker in (("left", left), ("right", right)):
            if maker is None:
                findings.append(f"{module} ({node.name}) reads no dequantized codes on its {side} side")
        if left is None or right is None:
            continue
        (linears if weighted else products)[_place(module)] += 1
        findings += graph.activation(left)
        findings += graph.weight(right, module) if weighted else graph.activation(right)
    findings += [f"the chosen linear {name} is not in the graph" for name in sorted(wanted - met)]
    if attention and not products:
        findings.append("no attention reads dequantized codes")
    stored = sorted(graph.stored)
    if len(stored) > 1:
        findings.append(f"the graph holds codes of {' and '.join(stored)}")
    return QuantizationAudit(dict(linears), dict(products), "+".join(stored), tuple(findings))


class _Graph:
    """A graph with what its names mean."""

    def __init__(self, model: ModelProto) -> None:
        from onnx import TensorProto

        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in model.graph.output}
        self.codes = {TensorProto.INT8: "INT8", TensorProto.FLOAT8E4M3FN: "FP8"}
        self.kinds = {number: name for name, number in TensorProto.DataType.items()}
        self.stored: set[str] = set()

    def products(self) -> Iterator[tuple[str, NodeProto, bool]]:
        """Each MatMul with its module, and whether a two-dimensional constant stands on its right, coded or not."""
        seen: set[str] = set()
        for node in self.nodes:
            if node.op_type != "MatMul":
                continue
            module, weight = node.name.rsplit("/", 1)[0], self.constant(node.input[1])
            weighted = weight is not None and len(self.tensors[weight].dims) == 2
            if weighted:  # the second of a module has a number behind it, as in onnx_graph/linears.py
                names = (module if number == 1 else f"{module}_{number}" for number in count(1))
                module = next(name for name in names if name not in seen)
                seen.add(module)
            yield module, node, weighted

    def constant(self, name: str) -> str | None:
        """The constant that `name` is, or is made of by Q and DQ alone."""
        while name not in self.tensors:
            maker = self.makers.get(name)
            if maker is None or maker.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                return None
            name = maker.input[0]
        return name

    def in_attention(self, node: NodeProto) -> bool:
        """Whether a product of two activations stands right behind a softmax, or before one."""
        above = self.makers.get(node.input[0])
        while above is not None and above.op_type in ("QuantizeLinear", "DequantizeLinear"):
            above = self.makers.get(above.input[0])
        if above is not None and above.op_type == "Softmax":
            return True
        behind = self.readers.get(node.output[0], [])
        while len(behind) == 1 and behind[0].op_type == "Add":
            behind = self.readers.get(behind[0].output[0], [])
        return len(behind) == 1 and behind[0].op_type == "Softmax"

    def dequantizer(self, name: str) -> NodeProto | None:
        """The DequantizeLinear that makes an operand, directly or before a transposition (a key's)."""
        maker = self.makers.get(name)
        if maker is not None and maker.op_type == "Transpose":
            maker = self.makers.get(maker.input[0])
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None

    def strays(self) -> Iterator[str]:
        """Q and DQ that make or read what they should not."""
        for node in self.nodes:
            if node.op_type == "DequantizeLinear":
                yield from self._source(node)
                if not self._fed(node.output[0]):
                    yield f"{node.name} feeds no product"
            elif node.op_type == "QuantizeLinear":
                maker = self.makers.get(node.input[0])
                if maker is not None and maker.op_type == "DequantizeLinear":
                    yield f"{node.name} quantizes again what {maker.name} dequantized"
                behind = self.readers.get(node.output[0], [])
                if not behind or any(reader.op_type != "DequantizeLinear" for reader in behind):
                    yield f"the codes of {node.name} are not read by a DequantizeLinear alone"

    def _source(self, node: NodeProto) -> Iterator[str]:
        """What a DequantizeLinear reads."""
        name = node.input[0]
        if name in self.tensors:
            kind = self.tensors[name].data_type
            if kind not in self.codes:
                yield f"{node.name} dequantizes a constant of {self.kinds[kind]}, {name}"
            return
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "QuantizeLinear":
            yield f"{node.name} has no QuantizeLinear before it"
        elif not all(self._same(a, b) for a, b in zip(maker.input[1:], node.input[1:], strict=False)):
            yield f"{node.name} has another step or zero point than {maker.name}"

    def _same(self, first: str, second: str) -> bool:
        if first == second:
            return True
        both = first in self.tensors and second in self.tensors
        return both and np.array_equal(self._values(first), self._values(second))

    def _fed(self, name: str) -> bool:
        """Whether all that reads `name` are products, maybe behind a transposition."""
        behind = self.readers.get(name, [])
        if not behind or name in self.outputs:
            return False
        return all(
            reader.op_type == "MatMul" or (reader.op_type == "Transpose" and self._fed(reader.output[0]))
            for reader in behind
        )

    def activation(self, node: NodeProto) -> Iterator[str]:
        """The step and the zero point of an activation: one positive number, and zero."""
        yield from self._numbers(node, expected=())
        maker = self.makers.get(node.input[0])
        if maker is not None and maker.op_type == "QuantizeLinear" and maker.input[0] in self.tensors:
            yield f"{node.name} is an activation's, and reads the constant {maker.input[0]}"

    def weight(self, node: NodeProto, module: str) -> Iterator[str]:
        """The steps and the zero points of a weight: one a column, positive, and zeros."""
        name = self.constant(node.input[0])
        if name is None:
            return
        columns = int(self.tensors[name].dims[1])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if axis not in (1, -1):
            yield f"the weight of {module} has its steps along axis {axis}, not along its outputs"
        yield from self._numbers(node, expected=(columns,))

    def _numbers(self, node: NodeProto, expected: tuple[int, ...]) -> Iterator[str]:
        for position, title in ((1, "step"), (2, "zero point")):
            name = node.input[position] if len(node.input) > position else ""
            if name not in self.tensors:
                yield f"the {title} of {node.name} is no constant"
                continue
            values = self._values(name)
            if values.shape != expected:
                yield f"the {title} of {node.name} has the shape {list(values.shape)}, not {list(expected)}"
            if title == "step" and not (np.isfinite(values).all() and (values > 0).all()):
                yield f"a step of {node.name} is not above 0, or not finite"
            if title == "zero point":
                kind = self.tensors[name].data_type
                if kind not in self.codes:
                    yield f"the zero point of {node.name} is of {self.kinds[kind]}"
                self.stored.add(self.codes.get(kind, self.kinds[kind]))
                if values.any():
                    yield f"a zero point of {node.name} is not 0"

    def _values(self, name: str) -> np.ndarray[Any, Any]:
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self.tensors[name])).astype(np.float64)


def _place(module: str) -> str:
    found = _BLOCK.match(module)
    return found[0] if found else module
