"""PyTorch, eager: the oracle (paper form) and the deployment form in FP32, FP16 or BF16."""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.torch_session import TorchSession, torch_device
from swin_deploy.errors import Unavailable

__all__ = ["TorchEager"]


@dataclass(frozen=True)
class TorchEager:
    """Opens `CHECKPOINT` (paper form), `DEPLOYMENT` and `CAPTURED` artifacts.

    Attributes:
        device: `cpu`, `cuda`, or `None` for whatever there is. Half precision on a CPU does round after each operator,
            so it is a check of numerics, not only of the graph.
    """

    device: str | None = None

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return "torch"

    def unavailable(self, artifact: Artifact) -> str | None:
        """See `Backend.unavailable`."""
        if artifact.format not in (Format.CHECKPOINT, Format.DEPLOYMENT, Format.CAPTURED):
            return f"PyTorch does not open {artifact.format.value} files"
        return None

    def open(self, artifact: Artifact) -> TorchSession:
        """See `Backend.open`."""
        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        from swin_deploy.model.network import open_network

        device = self.device or torch_device()
        network = open_network(artifact, device, paper=True)
        return TorchSession(network.module, device, network.outputs)
