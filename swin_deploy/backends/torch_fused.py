"""PyTorch with the fused form: the kernels on a GPU, and on a CPU their twins, which round where the kernels round."""

from __future__ import annotations

from dataclasses import dataclass

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.torch_session import TorchSession, torch_device
from swin_deploy.errors import Unavailable

__all__ = ["TorchFused"]


@dataclass(frozen=True)
class TorchFused:
    """Opens `DEPLOYMENT` artifacts in FP32, FP16 or BF16, and computes them in the fused form of the same type.

    Attributes:
        device: `cpu`, `cuda`, or `None` for whatever there is.
    """

    device: str | None = None

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return "torch, fused"

    def unavailable(self, artifact: Artifact) -> str | None:
        """See `Backend.unavailable`."""
        if artifact.format is not Format.DEPLOYMENT:
            return f"the fused form does not open {artifact.format.value} files"
        return None

    def open(self, artifact: Artifact) -> TorchSession:
        """See `Backend.open`."""
        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        from swin_deploy.model.network import fused_network, open_network, without_fused_form

        device = self.device or torch_device()
        network = open_network(artifact, device)
        reason = without_fused_form(network)
        if reason:
            raise Unavailable(reason)
        return TorchSession(fused_network(network).module, device, network.outputs)
