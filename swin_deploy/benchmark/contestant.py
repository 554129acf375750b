"""What a benchmark times: something that opens into a session, with the words to show it by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.base import Backend, Session
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.backends.torch_session import torch_device
from swin_deploy.device.tensorrt_session import open_plan
from swin_deploy.plan import default_view

__all__ = ["PLANS", "ArtifactContestant", "Contestant"]

PLANS = {Format.RTX_PLAN: "tensorrt_rtx", Format.TENSORRT_PLAN: "tensorrt"}
"""The plans that a CUDA graph can be made of, and whose they are."""


class Contestant(Protocol):
    """Implementations are frozen dataclasses that can be pickled: memory is measured in a process of its own."""

    @property
    def name(self) -> str:
        """As shown: `<run's folder>/<file>`, or the peer's name."""
        ...

    @property
    def backend(self) -> str:
        """As shown: the runtime's name."""
        ...

    @property
    def precision(self) -> str:
        """What it was asked to compute in."""
        ...

    @property
    def cuda_graph(self) -> bool:
        """Whether its work on the GPU is replayed as a CUDA graph."""
        ...

    @property
    def device(self) -> str:
        """Where it computes: `cpu` or `cuda`."""
        ...

    @property
    def floats(self) -> str:
        """What it computes in where it does not compute in INT8 or FP8: `fp32`, `fp16` or `bf16`."""
        ...

    def unavailable(self) -> str | None:
        """Why it cannot run here, or `None`."""
        ...

    def open(self) -> Session:
        """Load it.

        Raises:
            ExplainedError: as the backend's `open`.
        """
        ...


@dataclass(frozen=True)
class ArtifactContestant:
    """A file that a backend opens.

    Attributes:
        artifact: The file.
        threads: CPU threads.
        label: Shown in place of folder and file.
        cuda_graph: For plans: replay a CUDA graph.
    """

    artifact: Artifact
    threads: int
    label: str = ""
    cuda_graph: bool = False

    @property
    def name(self) -> str:
        """See `Contestant.name`."""
        return self.label or f"{self.artifact.path.parent.name}/{self.artifact.path.name}"

    @property
    def backend(self) -> str:
        """See `Contestant.backend`."""
        return self._runtime.name

    @property
    def precision(self) -> str:
        """See `Contestant.precision`."""
        return self.artifact.precision.value

    @property
    def device(self) -> str:
        """See `Contestant.device`."""
        if isinstance(self._runtime, OnnxRuntime):
            return "cpu"
        return "cuda" if self.artifact.format.value.endswith("-plan") else torch_device()

    @property
    def floats(self) -> str:
        """See `Contestant.floats`. ONNX Runtime's CPU provider computes half precision in FP32."""
        if self.precision == "fp32" or isinstance(self._runtime, OnnxRuntime):
            return "fp32"
        return self.precision if self.precision in ("fp16", "bf16") else "fp16"

    def unavailable(self) -> str | None:
        """See `Contestant.unavailable`."""
        return self._runtime.unavailable(self.artifact)

    def open(self) -> Session:
        """See `Contestant.open`."""
        flavor = PLANS.get(self.artifact.format)
        if flavor is not None:
            return open_plan(self.artifact.path, flavor=flavor, cuda_graph=self.cuda_graph)
        if not isinstance(self._runtime, OnnxRuntime):
            import torch

            torch.set_num_threads(self.threads)
        return self._runtime.open(self.artifact)

    @property
    def _runtime(self) -> Backend:
        """Literal Q/DQ is for judging; what would be deployed is the optimised session."""
        backend = default_view(self.artifact).backend
        return replace(backend, literal=False, threads=self.threads) if isinstance(backend, OnnxRuntime) else backend
