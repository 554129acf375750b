"""PyTorch with `torch.compile`: the deployment form as one graph, compiled when it is opened."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.torch_session import TorchSession, torch_device
from swin_deploy.errors import Unavailable

__all__ = ["TorchCompile", "no_cpp_compiler"]


def no_cpp_compiler() -> str | None:
    """Why Inductor cannot compile for the CPU, or `None` when a C++ compiler is there."""
    # Inductor looks for g++ and for no other name, unless the user names one to it.
    if shutil.which("g++"):
        return None
    return "no C++ compiler was found: install the package g++ (apt install g++)"


@dataclass(frozen=True)
class TorchCompile:
    """Opens `DEPLOYMENT` and `CAPTURED` artifacts; a graph break is an error, since the form is made to have none."""

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return "torch.compile"

    def unavailable(self, artifact: Artifact) -> str | None:
        """See `Backend.unavailable`."""
        if artifact.format not in (Format.DEPLOYMENT, Format.CAPTURED):
            return f"torch.compile does not open {artifact.format.value} files"
        return no_cpp_compiler()

    def open(self, artifact: Artifact) -> TorchSession:
        """See `Backend.open`."""
        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        import torch

        from swin_deploy.model.network import open_network
        from swin_deploy.torch_versions import quiet_inductor

        quiet_inductor()
        device = torch_device()
        network = open_network(artifact, device)
        return TorchSession(torch.compile(network.module, fullgraph=True, dynamic=True), device, network.outputs)
