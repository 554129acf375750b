"""The backend of TensorRT for RTX and TensorRT: whether a plan can run here, and its session."""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.artifact import Artifact, Format
from swin_deploy.device.plan_check import check_plan
from swin_deploy.device.tensorrt_session import TensorRTSession, open_plan
from swin_deploy.device.tensorrt_versions import FLAVORS
from swin_deploy.errors import BadInput, ExplainedError, UsageFault

__all__ = ["TensorRTBackend"]

_FORMATS = {"tensorrt_rtx": Format.RTX_PLAN, "tensorrt": Format.TENSORRT_PLAN}


@dataclass(frozen=True)
class TensorRTBackend:
    """The runtime of one package.

    Attributes:
        flavor: `tensorrt_rtx` or `tensorrt`.
        device: Which GPU, in the driver's numbering.
        cuda_graph: Start the engine through a CUDA graph.
    """

    flavor: str
    device: int = 0
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        if self.flavor not in FLAVORS:
            raise UsageFault(f"the flavor {self.flavor!r} is unknown", needed=" or ".join(FLAVORS))

    @property
    def name(self) -> str:
        """The package's name."""
        return self.flavor

    def unavailable(self, artifact: Artifact) -> str | None:
        """Why this machine cannot execute `artifact`, or `None`. A bad file is not a reason: `open` names it."""
        if artifact.format is not _FORMATS[self.flavor]:
            return f"{self.flavor} does not open {artifact.format.value}"
        try:
            check_plan(artifact.path, flavor=self.flavor, device=self.device, check_hash=False)
        except BadInput:
            return None
        except ExplainedError as error:
            return str(error)
        return None

    def open(self, artifact: Artifact) -> TensorRTSession:
        """Check the side-car, then load the plan.

        Raises:
            ExplainedError: see `open_plan`.
        """
        return open_plan(artifact.path, flavor=self.flavor, device=self.device, cuda_graph=self.cuda_graph)
