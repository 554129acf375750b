"""Compile: AOTInductor turns the deployment form, on a GPU fused, into a `.pt2` package that torch alone can load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed, machine

__all__ = ["Compile"]


@dataclass(frozen=True)
class Compile:
    """Compile for this machine's own device.

    Attributes:
        precision: Arithmetic of the deployment artifact.
        largest_batch: Upper end of the batch axis.
        fused: On a GPU: compile the fused form, with our kernels in the package.
    """

    precision: Precision
    largest_batch: int
    fused: bool = True
    name: str = "compile"
    suffix: str = ".pt2"

    def __post_init__(self) -> None:
        """Refuse a precision that no deployment form has, and an empty batch axis."""
        if self.precision.quantized:
            raise UsageFault("INT8 through AOTInductor", needed="fp32, fp16 or bf16", do="INT8 takes the ONNX route")
        if self.largest_batch < 1:
            raise UsageFault(f"a largest batch of {self.largest_batch}", needed="at least 1")

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.DEPLOYMENT, self.precision), (Format.CAPTURED, self.precision)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.AOTINDUCTOR, self.precision

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        here = machine()
        # Machine code for this very device: a run resumed elsewhere must compile again.
        return {**installed("torch", "triton"), "processor": here["processor"], "gpu": here["gpu"]}

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        from swin_deploy.backends.torch_compile import no_cpp_compiler

        return no_cpp_compiler()

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        from swin_deploy.backends.aot_inductor import compile_deployment

        made = compile_deployment(parent, out, self.largest_batch, fused=self.fused)
        notes = [f"bound to this torch version and to {made.device} devices"]
        if made.device != "cpu":
            notes.append(f"not fused: {made.unfused}" if made.unfused else "fused, its kernels inside")
        return Produced({"device": made.device, "fused": not made.unfused}, tuple(notes))
