"""From a checkpoint file to the paper form: detect the dialect, infer the architecture, read the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.architecture import read_swin
from swin_deploy.checkpoint.dialect import Dialect, Reading
from swin_deploy.checkpoint.foreign import refuse_foreign
from swin_deploy.checkpoint.huggingface import HuggingFace
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.microsoft import Microsoft
from swin_deploy.checkpoint.openmmlab import OpenMMLab
from swin_deploy.checkpoint.restoration import HuggingFaceSwin2SR, Swin2SR, SwinIR
from swin_deploy.checkpoint.sidecar import Sidecar, read_sidecar
from swin_deploy.checkpoint.task import Classifier, Restoration, Task
from swin_deploy.checkpoint.tensors import read_checkpoint_file
from swin_deploy.checkpoint.timm import Timm
from swin_deploy.checkpoint.torchvision import Torchvision
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DIALECTS", "Checkpoint", "load_checkpoint"]

Size = tuple[int, int]

# In the order they are asked; a new dialect is a new file and a line here.
DIALECTS: tuple[Dialect, ...] = (
    Microsoft(),
    Timm(),
    OpenMMLab(),
    Torchvision(),
    HuggingFace(),
    SwinIR(),
    Swin2SR(),
    HuggingFaceSwin2SR(),
)


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

    @property
    def image_size(self) -> Size:
        """Height and width in pixels."""
        return self.reading.spec.image_size

    @property
    def channels(self) -> int:
        """Of the images."""
        return self.reading.spec.channels

    @property
    def task(self) -> Task:
        """What the network is for."""
        return self.reading.spec.task

    @property
    def output_bytes(self) -> int:
        """Bytes of one image's outputs in FP32."""
        return self.reading.spec.output_bytes

    def reference(self) -> nn.Module:
        """The paper form with these weights, FP32, in evaluation mode."""
        from swin_deploy.model.forms import build_reference

        model = build_reference(self.reading.spec)
        try:
            model.load_state_dict(dict(self.reading.tensors))
        except RuntimeError as error:  # only an attention that nothing is known of has tensors of other names or shapes
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:3])
            raise BadInput(
                f"{self.path}: its weights do not fit the attention {self.reading.spec.attention}: {reason}",
                needed="the weights of this very attention, under the block's own attention",
                do="Check --attention, and the names and shapes in its class",
            ) from error
        return model.eval()


def load_checkpoint(
    path: Path,
    *,
    dialect: str | None = None,
    image_size: Size | None = None,
    window: Size | None = None,
    pretrained_window: tuple[Size, ...] | None = None,
    task: str | None = None,
    out_stages: tuple[int, ...] | None = None,
    attention: str | None = None,
    ema: bool | None = None,
    image_range: float | None = None,
) -> Checkpoint:
    """Read `path` and what stands beside it.

    Args:
        path: The checkpoint.
        dialect: Name of the layout; detected without.
        image_size: Overrides the side-car: height and width in pixels to run at.
        window: Overrides the side-car; a V1's bias tables are interpolated to it as the code base itself does.
        pretrained_window: Overrides the side-car (Swin V2): one entry, or one a stage.
        task: `classification`, `backbone` or `restoration`, where it is not left to the keys.
        out_stages: Stages whose features a backbone gives.
        attention: Another attention than the window's: see `swin_deploy.model.variants.registry`.
        ema: Take the averaged weights (`True`) or the plain ones (`False`) of a file that holds both.
        image_range: Overrides the side-car: restoration's factor on the input, 1 or 255.

    Raises:
        BadInput: the file is unusable, of no known dialect, or a fact about it is missing.
    """
    contents = read_checkpoint_file(path, ema=ema)  # first, since it tells a file from a folder
    tensors = contents.tensors
    sidecar = read_sidecar(path)
    hints = sidecar.hints.overridden(
        image_size=image_size,
        window=window,
        pretrained_window=pretrained_window,
        task=task,
        out_stages=out_stages,
        attention=attention,
        image_range=image_range,
    )
    if hints.attention != "window":
        from swin_deploy.model.variants.registry import find_variant

        find_variant(hints.attention)  # now, so that a name that is not there ends a dry run too
    table = KeyTable(str(path), {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    chosen, why = _dialect(table, dialect)
    layout = chosen.layout(table, hints)
    reading = (layout.read or read_swin)(table, layout, tensors, hints)
    _refuse_contradictions(reading, sidecar)
    _refuse_unheeded(reading, path, pretrained_window=pretrained_window, image_range=image_range)
    evidence = (why, *contents.evidence, *reading.evidence)
    return Checkpoint(path, chosen.name, Reading(reading.spec, reading.tensors, evidence), sidecar)


def _refuse_unheeded(reading: Reading, path: Path, **options: object) -> None:
    """An option that this kind of network has no use for was meant for another checkpoint.

    Raises:
        BadInput: naming the option.
    """
    spec = reading.spec
    heeded = {"pretrained_window": spec.family == "v2", "image_range": isinstance(spec.task, Restoration)}
    kind = {"pretrained_window": "Swin V2", "image_range": "restoration network"}
    for name, value in options.items():
        if value is not None and not heeded[name]:
            option = "--" + name.replace("_", "-")
            raise BadInput(
                f"{path}: {option} with {spec.describe()}",
                needed=f"a {kind[name]}, which alone has it",
                do=f"Leave {option} out, or check that this is the checkpoint you mean",
            )


def _dialect(table: KeyTable, name: str | None) -> tuple[Dialect, str]:
    """The dialect of a checkpoint, and why."""
    if name is not None:
        named = next((dialect for dialect in DIALECTS if dialect.name == name), None)
        if named is None:
            raise BadInput(f"--dialect {name}", needed="one of " + ", ".join(dialect.name for dialect in DIALECTS))
        return named, f"dialect {name}: --dialect"
    refuse_foreign(table)
    for dialect in DIALECTS:
        sign = dialect.recognises(table)
        if sign is not None:
            return dialect, f"dialect {dialect.name}: {sign}"
    shown = ", ".join(list(table.shapes)[:4])
    raise BadInput(
        f"{table.origin}: the keys are of no known Swin layout (they begin with {shown})",
        needed="a Swin with the keys of: " + ", ".join(dialect.name for dialect in DIALECTS),
        do="Check that the file is a Swin, name its layout with --dialect, or bring the model itself with --model",
    )


def _refuse_contradictions(reading: Reading, sidecar: Sidecar) -> None:
    """The weights and what stands beside them must speak of one model.

    Raises:
        BadInput: another number of classes or of blocks is stated than the weights have.
    """
    spec = reading.spec
    depths = tuple(stage.depth for stage in spec.stages)
    heads = tuple(stage.heads for stage in spec.stages)
    classes = spec.task.classes if isinstance(spec.task, Classifier) else None
    for stated, found, what in (
        (sidecar.classes and len(sidecar.classes), classes, "classes"),
        (sidecar.depths, depths, "blocks a stage"),
        (sidecar.hints.heads, heads, "heads a stage"),
    ):
        if stated and found and stated != found:
            raise BadInput(
                f"{sidecar.path} speaks of {stated} {what}, the weights have {found}",
                needed="a side-car that belongs to the checkpoint",
                do="Check that the checkpoint is complete and that the JSON beside it is its own",
            )
