"""AOTInductor: compile a deployment form into a `.pt2` package, and run one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.torch_compile import no_cpp_compiler
from swin_deploy.backends.torch_session import TorchSession, torch_device
from swin_deploy.errors import BadInput, Unavailable

__all__ = ["AotInductor", "compile_deployment"]


@dataclass(frozen=True)
class AotInductor:
    """Opens `.pt2` packages. A package holds machine code: open only what you trust.

    It is bound to the kind of device and to the torch version that compiled it.
    """

    @property
    def name(self) -> str:
        """See `Backend.name`."""
        return "aotinductor"

    def unavailable(self, artifact: Artifact) -> str | None:
        """See `Backend.unavailable`."""
        if artifact.format is not Format.AOTINDUCTOR:
            return f"AOTInductor does not open {artifact.format.value} files"
        return None

    def open(self, artifact: Artifact) -> TorchSession:
        """See `Backend.open`."""
        from swin_deploy.torch_versions import load_package

        reason = self.unavailable(artifact)
        if reason:
            raise Unavailable(reason)
        try:
            function, outputs = load_package(artifact.path)
            return TorchSession(function, torch_device(), outputs)
        except RuntimeError as error:
            raise BadInput(
                f"{artifact.path} cannot be loaded: {error}",
                needed="a .pt2 package compiled for this kind of device by this torch version",
                do="Compile it again on this machine with swin-deploy build",
            ) from error


def compile_deployment(deployment: Artifact, out: Path, largest_batch: int) -> str:
    """Compile a deployment form or a captured network for this machine's device.

    Returns:
        The device kind, `cpu` or `cuda`.

    Raises:
        Unavailable: no C++ compiler.
    """
    reason = no_cpp_compiler()
    if reason:
        raise Unavailable(reason)
    from swin_deploy.model.network import open_network
    from swin_deploy.torch_versions import compile_package

    device = torch_device()
    network = open_network(deployment, device)
    compile_package(network.program(largest_batch), out, network.outputs)
    return device
