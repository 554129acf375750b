"""Lower: a `strong` graph becomes one of the `trt86` profile: opset 17, FP32 tensors, FP32 Q/DQ, Erf instead of Gelu.

TensorRT 8.6 takes precision from builder flags, so the graph stays FP32 whatever the engine will compute in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Lower"]


@dataclass(frozen=True)
class Lower:
    """See `swin_deploy.onnx_graph.lowering`.

    Attributes:
        precision: `FP32`, or `INT8` for a graph with Q/DQ.
    """

    precision: Precision
    name: str = "lower"
    suffix: str = ".onnx"

    def __post_init__(self) -> None:
        """Refuse typed graphs: opset 17 has no FP16 Q/DQ, and TensorRT 8.6 takes precision from flags."""
        if self.precision not in (Precision.FP32, Precision.INT8):
            raise UsageFault(f"a graph of the trt86 profile in {self.precision.value}", needed="fp32 or int8")

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.ONNX, self.precision)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.ONNX, self.precision

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("onnx")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        import onnx

        from swin_deploy.onnx_graph.census import graph_facts
        from swin_deploy.onnx_graph.lowering import lower_to_opset17
        from swin_deploy.onnx_graph.names import set_metadata
        from swin_deploy.onnx_graph.quantization_audit import require_as_written

        model = lower_to_opset17(onnx.load(parent.path))
        set_metadata(model, profile="trt86")
        require_as_written(model)
        onnx.save(model, out)
        return Produced(graph_facts(model))
