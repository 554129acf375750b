"""Capture: a user's own network with the checkpoint's weights becomes a graph, the oracle of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

__all__ = ["Capture"]


@dataclass(frozen=True)
class Capture:
    """See `swin_deploy.model.capture`.

    Attributes:
        model: `package.module:function` that makes the network.
        image_size: Height and width in pixels.
        largest_batch: Upper end of the batch axis.
        ema: See `load_checkpoint`.
    """

    model: str
    image_size: tuple[int, int]
    largest_batch: int
    ema: bool | None = None
    name: str = "capture"
    suffix: str = ".pt2"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """See `Stage.accepts`."""
        return frozenset({(Format.SOURCE, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """See `Stage.produces`."""
        return Format.CAPTURED, Precision.FP32

    def tools(self) -> Mapping[str, str]:
        """See `Stage.tools`; the user's code by its content, since a change of it changes the network."""
        from swin_deploy.user_code import code_fingerprint

        return {**installed("torch"), "model": code_fingerprint(self.model.partition(":")[0])}

    def unavailable(self) -> str | None:
        """See `Stage.unavailable`."""
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        """See `Stage.run`."""
        from swin_deploy.checkpoint.own_model import open_own_model
        from swin_deploy.model.capture import capture, save_program
        from swin_deploy.torch_versions import count_operators

        found = open_own_model(parent.path, self.model, image_size=self.image_size, ema=self.ema)
        program = capture(found.network, self.image_size, found.channels, self.largest_batch)
        save_program(program, found.outputs, out)
        return Produced(
            {
                "dialect": "own model",
                "architecture": f"{self.model}, image {self.image_size[0]}x{self.image_size[1]}",
                "outputs": list(found.outputs),
                "operators": count_operators(program),
                "evidence": list(found.evidence),
            }
        )
