"""From a checkpoint file to the paper form: detect the dialect, infer the architecture, read the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.dialect import Dialect, Reading
from swin_deploy.checkpoint.form_file import read_form, write_form
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.sidecar import Sidecar, read_sidecar
from swin_deploy.checkpoint.tensors import read_tensors
from swin_deploy.checkpoint.timm import Timm
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from swin_deploy.model.reference import ReferenceSwin

__all__ = ["DIALECTS", "Checkpoint", "load_checkpoint", "open_reference", "save_reference"]

Size = tuple[int, int]

# In the order they are asked; a new dialect is a new file and a line here.
DIALECTS: tuple[Dialect, ...] = (Timm(),)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was understood.

    Attributes:
        path: The file.
        dialect: Name of the layout, e.g. `timm`.
        reading: Architecture, canonical weights and the evidence for them.
        sidecar: What stood beside the file.
    """

    path: Path
    dialect: str
    reading: Reading
    sidecar: Sidecar

    def reference(self) -> ReferenceSwin:
        """The paper form with these weights, FP32, in evaluation mode."""
        from swin_deploy.model.reference import ReferenceSwin

        model = ReferenceSwin(self.reading.spec)
        model.load_state_dict(dict(self.reading.tensors))
        return model.eval()


def load_checkpoint(
    path: Path,
    *,
    image_size: Size | None = None,
    window: Size | None = None,
    pretrained_window: Size | None = None,
) -> Checkpoint:
    """Read `path` and what stands beside it.

    Args:
        path: The checkpoint.
        image_size: Overrides the side-car: height and width in pixels.
        window: Overrides the side-car (Swin V2).
        pretrained_window: Overrides the side-car (Swin V2).

    Raises:
        BadInput: the file is unusable, of no known dialect, or a fact about it is missing.
    """
    tensors = read_tensors(path)  # first, since it tells a file from a folder
    sidecar = read_sidecar(path)
    hints = sidecar.hints.overridden(image_size=image_size, window=window, pretrained_window=pretrained_window)
    table = KeyTable(str(path), {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for dialect in DIALECTS:
        sign = dialect.recognises(table)
        if sign is not None:
            reading = dialect.read(table, tensors, hints)
            _refuse_contradictions(reading, sidecar)
            found = Reading(reading.spec, reading.tensors, (f"dialect {dialect.name}: {sign}", *reading.evidence))
            return Checkpoint(path, dialect.name, found, sidecar)
    shown = ", ".join(list(tensors)[:4])
    raise BadInput(
        f"{path}: the keys are of no known Swin layout (they begin with {shown})",
        needed="a Swin classifier with the keys of: " + ", ".join(dialect.name for dialect in DIALECTS),
        do="Check that the file is a Swin classifier, or convert its keys to timm's",
    )


def _refuse_contradictions(reading: Reading, sidecar: Sidecar) -> None:
    """The weights and what stands beside them must speak of one model.

    Raises:
        BadInput: another number of classes or of blocks is stated than the weights have.
    """
    spec = reading.spec
    depths = tuple(stage.depth for stage in spec.stages)
    for stated, found, what in (
        (sidecar.classes and len(sidecar.classes), spec.classes, "classes"),
        (sidecar.depths, depths, "blocks a stage"),
    ):
        if stated and stated != found:
            raise BadInput(
                f"{sidecar.path} speaks of {stated} {what}, the weights have {found}",
                needed="a side-car that belongs to the checkpoint",
                do="Check that the checkpoint is complete and that the JSON beside it is its own",
            )


def save_reference(model: ReferenceSwin, path: Path) -> None:
    """Write canonical weights as safetensors, with the spec in the header."""
    write_form(model, model.spec, "reference", path)


def open_reference(path: Path) -> ReferenceSwin:
    """Read what `save_reference` wrote, in evaluation mode.

    Raises:
        BadInput: the file is no such artifact or is damaged.
    """
    from swin_deploy.model.reference import ReferenceSwin

    return read_form(ReferenceSwin, "reference", path)
