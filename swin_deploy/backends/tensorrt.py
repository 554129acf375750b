"""The backend of TensorRT for RTX and TensorRT: whether a plan can run here, and its session."""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.artifact import Artifact, Format
from swin_deploy.device import cuda_memory
from swin_deploy.device.plan_sidecar import read_sidecar
from swin_deploy.device.tensorrt_session import TensorRTSession
from swin_deploy.device.tensorrt_versions import FLAVORS, import_flavor, package_unavailable
from swin_deploy.errors import BadInput, ExplainedError, Unavailable, UsageFault

__all__ = ["TensorRTBackend"]

_FORMATS = {"tensorrt_rtx": Format.RTX_PLAN, "tensorrt": Format.TENSORRT_PLAN}


@dataclass(frozen=True)
class TensorRTBackend:
    """The runtime of one package.

    Attributes:
        flavor: `tensorrt_rtx` or `tensorrt`.
        device: Which GPU, in the driver's numbering.
    """

    flavor: str
    device: int = 0

    def __post_init__(self) -> None:
        if self.flavor not in FLAVORS:
            raise UsageFault(f"the flavor {self.flavor!r} is unknown", needed=" or ".join(FLAVORS))

    @property
    def name(self) -> str:
        """The package's name."""
        return self.flavor

    def unavailable(self, artifact: Artifact) -> str | None:
        """Why this machine cannot execute `artifact`, or `None`. A damaged file is not a reason: `open` names it."""
        if artifact.format is not _FORMATS[self.flavor]:
            return f"{self.flavor} does not open {artifact.format.value}"
        reason = package_unavailable(self.flavor) or cuda_memory.unavailable(self.device)
        if reason is not None:
            return reason
        try:
            trt, traits = import_flavor(self.flavor)
            capability = cuda_memory.compute_capability(self.device)
            gpu = f"the GPU here ({cuda_memory.device_name(self.device)}) has compute capability {capability}"
        except ExplainedError as error:
            return str(error)
        family = dict(traits.refused_capabilities).get(capability)
        if family is not None:
            return f"{gpu}: {self.flavor} does not run on {family}."
        try:
            sidecar = read_sidecar(artifact.path, check_hash=False)
        except BadInput:
            return None
        if capability not in sidecar.targets:
            return f"{gpu}; the plan was built for {', '.join(sidecar.targets)}."
        if (sidecar.package, sidecar.version) != (self.flavor, str(trt.__version__)):
            return (
                f"the plan was built with {sidecar.package} {sidecar.version}, and {self.flavor} {trt.__version__} is"
                " installed: a plan loads in the version that built it."
            )
        return None

    def open(self, artifact: Artifact) -> TensorRTSession:
        """Check the side-car, then load the plan.

        Raises:
            Unavailable: this machine cannot execute it.
            BadInput: the plan or its side-car is damaged or missing.
            EnvironmentFault: the GPU is out of memory or faulted.
        """
        reason = self.unavailable(artifact)
        if reason is not None:
            raise Unavailable(f"{artifact.path.name} cannot be executed here: {reason}")
        sidecar = read_sidecar(artifact.path, check_hash=True)
        trt, _ = import_flavor(self.flavor)
        device = cuda_memory.Device(self.device)
        try:
            return TensorRTSession(trt, artifact.path, sidecar, device)
        except BaseException:
            device.close()
            raise
