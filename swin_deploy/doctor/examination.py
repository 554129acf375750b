"""Everything the doctor looks at, in the order in which it says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin_deploy.device.build_job import BatchProfile
from swin_deploy.device.tensorrt_versions import FLAVORS
from swin_deploy.doctor.attention_rules import attention_lines
from swin_deploy.doctor.board_power import power_lines
from swin_deploy.doctor.dla import dla_line
from swin_deploy.doctor.fp16_range import range_lines
from swin_deploy.doctor.gpu import gpu_lines
from swin_deploy.doctor.line import Line, Verdict, exit_status
from swin_deploy.doctor.machine import Machine
from swin_deploy.doctor.memory_estimate import estimate
from swin_deploy.doctor.network_facts import network_lines, parameters_of
from swin_deploy.doctor.packages import package_lines
from swin_deploy.doctor.room import disk_line, memory_lines
from swin_deploy.doctor.window_fit import window_lines
from swin_deploy.errors import ExplainedError

if TYPE_CHECKING:
    from swin_deploy.checkpoint.load import Checkpoint

__all__ = ["Examination", "Request", "examine"]

SCHEMA = 1
# Enough to see growth with depth; a run in FP32 on a CPU takes about a second each for Swin-T.
_IMAGES = 4
_SEED = 0


@dataclass(frozen=True)
class Request:
    """What is to be examined.

    Attributes:
        checkpoint: The file; `None` for the machine alone.
        options: Keyword arguments of `load_checkpoint`.
        data: Images for the range of activations; `None` for made-up ones.
        images: How many of them.
        batch: Smallest, usual and largest batch of a deployment.
    """

    checkpoint: Path | None = None
    options: dict[str, Any] | None = None
    data: str | None = None
    images: int = _IMAGES
    batch: tuple[int, int, int] = (1, 8, 32)

    def __post_init__(self) -> None:
        """Refuse batches out of order, as a build would."""
        BatchProfile(*self.batch)


@dataclass(frozen=True)
class Examination:
    """What was found."""

    lines: tuple[Line, ...]

    @property
    def status(self) -> int:
        """The exit status that it stands for."""
        return exit_status(self.lines)

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema_version": SCHEMA,
            "kind": "doctor",
            "status": self.status,
            "lines": [line.facts() for line in self.lines],
        }


def examine(machine: Machine, request: Request) -> Examination:
    """Look at `machine`, and at the checkpoint where there is one.

    Raises:
        ExplainedError: the images cannot be used. A checkpoint that cannot be used is a line, not an error.
    """
    lines = [*package_lines(machine), *gpu_lines(machine), *power_lines(machine)]
    if request.checkpoint is None:
        return Examination((*lines, disk_line(machine, None)))
    from swin_deploy.checkpoint.load import load_checkpoint

    try:
        checkpoint = load_checkpoint(request.checkpoint, **(request.options or {}))
    except ExplainedError as error:
        refused = Line(
            "checkpoint", "architecture", Verdict.FAIL, error.seen, error.do or error.needed or "Try another"
        )
        return Examination((*lines, disk_line(machine, None), refused))
    spec = checkpoint.reading.spec
    package = next((flavor for flavor in reversed(FLAVORS) if flavor in machine.packages), FLAVORS[0])
    needed = estimate(spec, parameters_of(checkpoint), request.batch[2], package)
    return Examination(
        (
            *lines,
            *memory_lines(machine, needed),
            disk_line(machine, needed),
            *network_lines(checkpoint),
            *window_lines(spec),
            *attention_lines(spec),
            *_ranges(checkpoint, request),
            dla_line(spec),
        )
    )


def _ranges(checkpoint: Checkpoint, request: Request) -> tuple[Line, ...]:
    from swin_deploy.model.activation_range import largest_activations, largest_weights
    from swin_deploy.model.fold import fold
    from swin_deploy.recipe import Recipe
    from swin_deploy.request import judged_images, preprocessing

    recipe = Recipe(str(checkpoint.path))
    images = judged_images(
        request.data,
        request.images,
        _SEED,
        preprocessing(recipe, checkpoint, real_images=request.data is not None),
        task=checkpoint.task,
        classes=checkpoint.sidecar.classes,
        bytes_each=checkpoint.output_bytes,
        batch=(1, 1, 1),
        option="--images",
    )
    network = fold(checkpoint.reference())
    shown = f"{len(images)} {'made-up images' if images.synthetic else 'images of yours'}"
    return tuple(range_lines(largest_activations(network, images.batches(1)), largest_weights(network), shown))
