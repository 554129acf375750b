"""Load: a checkpoint of any known dialect becomes canonical weights of the paper form, the oracle of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.stages.base import Produced
from swin_deploy.user_code import code_fingerprint
from swin_deploy.versions import installed

__all__ = ["Load"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Load:
    """Options that override what stands beside the checkpoint; see `load_checkpoint`."""

    dialect: str | None = None
    image_size: Size | None = None
    window: Size | None = None
    pretrained_window: tuple[Size, ...] | None = None
    task: str | None = None
    out_stages: tuple[int, ...] | None = None
    attention: str | None = None
    image_range: float | None = None
    ema: bool | None = None
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
        """See `Stage.tools`; an attention of the user's own by its content."""
        found = installed("torch", "safetensors")
        if self.attention and ":" in self.attention:
            found = {**found, "attention": code_fingerprint(self.attention.partition(":")[0])}
        return found

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        from swin_deploy.checkpoint.load import load_checkpoint
        from swin_deploy.model.forms import save_reference

        checkpoint = load_checkpoint(
            parent.path,
            dialect=self.dialect,
            image_size=self.image_size,
            window=self.window,
            pretrained_window=self.pretrained_window,
            task=self.task,
            out_stages=self.out_stages,
            attention=self.attention,
            image_range=self.image_range,
            ema=self.ema,
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
