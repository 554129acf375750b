"""Load: a checkpoint of any known dialect becomes canonical weights of the paper form, the oracle of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Load"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Load:
    """Options that override what stands beside the checkpoint; see `load_checkpoint`."""

    image_size: Size | None = None
    window: Size | None = None
    pretrained_window: Size | None = None
    name: str = "load"
    suffix: str = ".safetensors"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.SOURCE, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.CHECKPOINT, Precision.FP32

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`."""
        return installed("torch", "safetensors")

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        from swin_deploy.checkpoint.load import load_checkpoint, save_reference

        checkpoint = load_checkpoint(
            parent.path, image_size=self.image_size, window=self.window, pretrained_window=self.pretrained_window
        )
        save_reference(checkpoint.reference(), out)
        spec = checkpoint.reading.spec
        parameters = sum(tensor.numel() for tensor in checkpoint.reading.tensors.values())
        return Produced(
            {
                "dialect": checkpoint.dialect,
                "architecture": spec.describe(),
                "parameters": parameters,
                "evidence": list(checkpoint.reading.evidence),
            }
        )
