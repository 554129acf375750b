"""Lower: a `strong` graph becomes one of the `trt86` or the `trt85` profile, for TensorRT 8.6 or 8.5, or of `cpu`.

TensorRT 8 takes precision from builder flags, so the graph stays FP32 whatever the engine will compute in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import UsageFault
from swin_deploy.onnx_graph.profiles import WRITTEN
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Lower"]


@dataclass(frozen=True)
class Lower:
    """See `swin_deploy.onnx_graph.profiles`.

    Attributes:
        precision: `FP32`, or `INT8` for a graph with Q/DQ.
        profile: `trt86`, `trt85` or `cpu`.
    """

    precision: Precision
    profile: str
    name: str = "lower"
    suffix: str = ".onnx"

    def __post_init__(self) -> None:
        """Refuse typed graphs: opset 17 has no FP16 Q/DQ, and TensorRT 8 takes precision from flags."""
        if self.profile not in WRITTEN:
            raise UsageFault(f"a graph lowered to the profile {self.profile}", needed="one of " + ", ".join(WRITTEN))
        if self.precision not in (Precision.FP32, Precision.INT8):
            raise UsageFault(f"a graph of the {self.profile} profile in {self.precision.value}", needed="fp32 or int8")

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
        from swin_deploy.onnx_graph.profiles import in_profile

        model = in_profile(onnx.load(parent.path), self.profile)
        onnx.save(model, out)
        return Produced(graph_facts(model))
