"""Half: the deployment form's weights and constants in FP16 or BF16, for PyTorch and for Torch-TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Half"]


@dataclass(frozen=True)
class Half:
    """Round the folded weights once.

    Attributes:
        precision: `FP16` or `BF16`.
    """

    precision: Precision
    name: str = "half"
    suffix: str = ".safetensors"

    def __post_init__(self) -> None:
        """Refuse a precision that is no half precision."""
        if self.precision not in (Precision.FP16, Precision.BF16):
            raise UsageFault(f"half precision as {self.precision.value}", needed="fp16 or bf16")

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.DEPLOYMENT, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.DEPLOYMENT, self.precision

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("torch", "safetensors")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`.

        Raises:
            BadInput: a weight is outside FP16's range.
        """
        import torch

        from swin_deploy.model.forms import open_deployment, save_deployment

        dtype = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}[self.precision]
        model = open_deployment(parent.path).to(dtype)
        for name, tensor in model.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise BadInput(
                    f"{name} has a weight beyond {self.precision.value}'s range",
                    needed=f"weights up to {torch.finfo(dtype).max:.5g}",
                    do="Build with --bf16, which has FP32's range" if dtype is torch.float16 else "",
                )
        save_deployment(model, out)
        return Produced()
