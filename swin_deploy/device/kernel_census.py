"""Count the kernels of an engine from its builder's verbose log, so that a graph can be judged with no GPU.

A builder with `ProfilingVerbosity.DETAILED` and a verbose logger prints every layer of the finished engine: TensorRT
for RTX and TensorRT 10 and later as `Name: ..., LayerType: kgen, Inputs: [...]`, TensorRT 8 as `Layer(Type): ...,
Tactic: ...`. The counts say what was fused and in which types; they are not latency.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["KernelCensus", "parse_census"]

# Bookkeeping that launches nothing: shape arithmetic on the host, and events between streams.
_NO_KERNEL = frozenset({"shape_call", "signal", "wait", "Constant", "NoOp", "ShapeHostToDevice", "DeviceToShapeHost"})
_GEMM = frozenset({"gemm", "runtime_fusion", "MatrixMultiply", "CaskGemmMatrixMultiply"})
_HEADING = re.compile(r"^(?:\[\w[\w.]*\] )*(?:Engine Layer Information|Layers):\s*$", re.MULTILINE)
_DETAILED = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<type>\w+), (?P<rest>.*)$", re.MULTILINE)
_CLASSIC = re.compile(r"^Layer\((?P<type>\w+)\): (?P<name>.*?), Tactic: (?P<rest>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class KernelCensus:
    """The layers of one engine.

    Attributes:
        kernels: Layers that launch a kernel.
        fused_attentions: Kernels that hold a whole attention (both products and the softmax).
        gemms: Matrix products, with or without a fused epilogue, outside fused attentions.
        int8_gemms: Those of `gemms` that read INT8.
        opaque: Layers that hide their kernels (TensorRT 8 prints a whole fused region as one `Myelin` layer); with
            any, `kernels` is a lower bound.
        by_type: Count by the builder's own layer type.
    """

    kernels: int
    fused_attentions: int
    gemms: int
    int8_gemms: int
    opaque: int
    by_type: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def parse_census(log_text: str) -> tuple[KernelCensus, ...]:
    """One census for each engine listing in `log_text`, in order; empty when the log has none.

    A plan for several GPU architectures usually has one listing, which holds for all of them.
    """
    starts = [found.end() for found in _HEADING.finditer(log_text)]
    ends = [*[found.start() for found in _HEADING.finditer(log_text)][1:], len(log_text)]
    sections = [log_text[start:end] for start, end in zip(starts, ends)]
    return tuple(census for census in map(_count, sections) if census.by_type)


def _count(section: str) -> KernelCensus:
    layers = [*_DETAILED.finditer(section), *_CLASSIC.finditer(section)]
    by_type = Counter(layer["type"] for layer in layers)
    launched = [layer for layer in layers if layer["type"] not in _NO_KERNEL]
    attentions = [layer for layer in launched if re.search(r"mha|fused_attention", layer["name"], re.IGNORECASE)]
    gemms = [layer for layer in launched if layer["type"] in _GEMM and layer not in attentions]
    return KernelCensus(
        kernels=len(launched),
        fused_attentions=len(attentions),
        gemms=len(gemms),
        int8_gemms=sum(_reads_int8(layer["rest"]) for layer in gemms),
        opaque=sum("ForeignNode" in layer["name"] or layer["type"] == "Myelin" for layer in launched),
        by_type=dict(sorted(by_type.items())),
    )


def _reads_int8(rest: str) -> bool:
    """Whether a layer's inputs hold INT8; what it writes does not count."""
    inputs = re.split(r"\], Constants: |\], Outputs: |\) -> ", rest, maxsplit=1)[0]
    return re.search(r"Datatype: [^,}]*\bInt8\b|\(Int8[\[(]", inputs) is not None
