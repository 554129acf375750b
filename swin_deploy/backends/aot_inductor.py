"""AOTInductor: compile a deployment form into a `.pt2` package, and run one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.torch_compile import no_cpp_compiler
from swin_deploy.backends.torch_session import TorchSession, torch_device
from swin_deploy.errors import BadInput, Unavailable

__all__ = ["AotInductor", "CompiledFor", "compile_deployment"]


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


@dataclass(frozen=True)
class CompiledFor:
    """What a package was compiled from, and for what.

    Attributes:
        device: The device kind, `cpu` or `cuda`.
        unfused: Why it is of the network as it is, empty where it is of its fused form.
    """

    device: str
    unfused: str


def compile_deployment(deployment: Artifact, out: Path, largest_batch: int, *, fused: bool = True) -> CompiledFor:
    """Compile a deployment form or a captured network for this machine's device; on a GPU the fused form of it.

    Args:
        deployment: What to compile.
        out: The package.
        largest_batch: Upper end of the batch axis.
        fused: Whether the fused form is wanted where there is one.

    Raises:
        Unavailable: no C++ compiler.
    """
    reason = no_cpp_compiler()
    if reason:
        raise Unavailable(reason)
    from swin_deploy.model.cpu_form import rewire_for_cpu
    from swin_deploy.model.network import fused_network, open_network, without_fused_form
    from swin_deploy.torch_versions import compile_package

    device = torch_device()
    network = open_network(deployment, device)
    unfused = "" if fused else "as asked"
    if device == "cpu":
        unfused = "its kernels are for GPUs"
        if deployment.precision is Precision.FP32:
            rewire_for_cpu(network.module)
    unfused = unfused or without_fused_form(network) or ""
    if not unfused:
        network = fused_network(network)
    compile_package(network.program(largest_batch), out, network.outputs)
    return CompiledFor(device, unfused)
