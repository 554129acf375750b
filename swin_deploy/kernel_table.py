"""Every kernel of an engine as a line: its block, what it is, which types it reads and writes, and what it fuses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from swin_deploy.device.engine_listing import LayerTensor
from swin_deploy.device.kernel_census import Kernel

__all__ = ["KernelLine", "kernel_lines"]

_BLOCK = re.compile(r"^(?P<place>.*(?:blocks?|layers?|stages?)[._]\d+)(?P<rest>.*)$")
_DIGITS = re.compile(r"\d+")
_SHORT = {"QuantizeLinear": "Q", "DequantizeLinear": "DQ", "LayerNormalization": "LayerNorm"}
_NUMBER = re.compile(r"_myl\d+_\d+$")


@dataclass(frozen=True)
class KernelLine:
    """One kernel.

    Attributes:
        block: Where it works: `blocks.3`; `blocks.3 > blocks.4` for one that does the end of a block and the beginning
            of the next; the module's first name outside of blocks.
        kind: See `device.kernel_census.Kernel`.
        types: What it reads and writes, `fp16+int8 > fp16`.
        kernel: The builder's name of it, without its running number.
        fuses: Nodes of the graph it holds, those of one module together: `attn.qkv: MatMul, Add`.
        detail: Everything, for JSON.
    """

    block: str
    kind: str
    types: str
    kernel: str
    fuses: str
    detail: dict[str, Any]


def kernel_lines(kernels: Iterable[Kernel]) -> tuple[KernelLine, ...]:
    """A line for each layer that launches a kernel, in the order of execution."""
    return tuple(_line(kernel) for kernel in kernels if kernel.launches)


def _line(kernel: Kernel) -> KernelLine:
    layer = kernel.layer
    places = [_place(name) for name in layer.onnx]
    blocks = _in_order([block for block, _, _ in places])
    fuses: dict[str, list[str]] = {}
    for block, module, operator in places:
        short = module if len(blocks) == 1 or not module else f"{block}.{module}"
        fuses.setdefault(short or (block if len(blocks) > 1 else ""), []).append(operator)
    shown = "; ".join((f"{module}: " if module else "") + _counted(names) for module, names in fuses.items())
    types = f"{_types(layer.inputs)} > {_types(layer.outputs)}"
    detail = {
        "name": layer.name,
        "type": layer.type,
        "kind": kernel.kind,
        "products": kernel.products,
        "reads": kernel.type,
        "block": " > ".join(blocks),
        "inputs": [tensor.type for tensor in layer.inputs],
        "constants": [tensor.type for tensor in layer.constants],
        "outputs": [tensor.type for tensor in layer.outputs],
        "tactic": layer.tactic,
        "onnx": list(layer.onnx),
    }
    return KernelLine(" > ".join(blocks) or "-", kernel.kind, types, _NUMBER.sub("", layer.name), shown, detail)


def _place(name: str) -> tuple[str, str, str]:
    """Block, module within it and operator of a node's name, `blocks.3.attn.qkv/MatMul_2`."""
    path, _, operator = name.rpartition("/")
    operator = re.sub(r"_\d+$", "", operator)
    if operator in _SHORT:
        # What stands around a linear's operands belongs to the linear.
        path = re.sub(r"\.(input|weight)$", "", path)
    operator = _SHORT.get(operator, operator)
    found = _BLOCK.match(path)
    if found:
        return found["place"], found["rest"].lstrip("./"), operator
    first, _, rest = path.lstrip("/").partition(".")
    return first or "graph", rest, operator


def _in_order(names: Sequence[str]) -> list[str]:
    """Each once, blocks by their numbers; what is outside of them goes before or behind, as it is named."""
    once = list(dict.fromkeys(names))
    blocks = sorted(
        (name for name in once if _BLOCK.match(name)), key=lambda name: list(map(int, _DIGITS.findall(name)))
    )
    if not blocks:
        return once
    first = min(map(once.index, blocks))
    others = [name for name in once if name not in blocks]
    before = [name for name in others if once.index(name) < first]
    return [*before, *blocks, *(name for name in others if name not in before)]


def _counted(names: Sequence[str]) -> str:
    return ", ".join(name if count == 1 else f"{name} x{count}" for name, count in Counter(names).items())


def _types(tensors: Iterable[LayerTensor]) -> str:
    kinds = [tensor.type for tensor in tensors if tensor.type not in ("other", "unknown")]
    return "+".join(dict.fromkeys(kinds)) or "?"
