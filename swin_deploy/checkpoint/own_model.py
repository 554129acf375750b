"""A checkpoint of a user's own network, which `--model` names: what stands beside it, and what the network is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.sidecar import Sidecar, read_sidecar
from swin_deploy.checkpoint.task import Captured, Classifier
from swin_deploy.checkpoint.tensors import read_checkpoint_file
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OwnModel", "open_own_model"]

Size = tuple[int, int]


@dataclass(frozen=True)
class OwnModel:
    """A network of the user's with the checkpoint's weights.

    Attributes:
        path: The checkpoint.
        network: In evaluation mode.
        image_size: Height and width in pixels.
        channels: Of the images.
        task: A classifier, if its one output is [B, classes]; else whatever it gives.
        sidecar: What stood beside the file.
        evidence: One sentence a fact.
    """

    path: Path
    network: nn.Module
    image_size: Size
    channels: int
    task: Captured | Classifier
    sidecar: Sidecar
    evidence: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return self.task.output_names

    @property
    def output_bytes(self) -> int:
        """Bytes of one image's outputs in FP32."""
        return 4 * self.task.classes if isinstance(self.task, Classifier) else self.task.bytes_each


def open_own_model(path: Path, model: str, *, image_size: Size | None = None, ema: bool | None = None) -> OwnModel:
    """Make the network that `model` names, with the weights of `path`, and run it once.

    Args:
        path: The checkpoint, in any wrapper.
        model: `package.module:function`.
        image_size: Overrides the side-car.
        ema: See `load_checkpoint`.

    Raises:
        BadInput: the checkpoint is unusable, the network cannot be made or run, or the image size is not stated.
    """
    from swin_deploy.model.capture import give_weights, import_model, probe

    network = import_model(model)
    contents = read_checkpoint_file(path, ema=ema, wanted=network.state_dict().keys())
    sidecar = read_sidecar(path)
    size = image_size or sidecar.hints.image_size
    if size is None:
        raise BadInput(
            f"{path}: the image size is in no option, and {sidecar.hints.unstated}",
            needed="the image size the network is to run at",
            do="Give --image-size N or HxW",
        )
    network = give_weights(network, model, contents.tensors)
    task = probe(network, size, 3)
    evidence = (*contents.evidence, f"network: --model {model}", f"outputs: {', '.join(task.output_names)}")
    return OwnModel(path, network, size, 3, task, sidecar, evidence)
