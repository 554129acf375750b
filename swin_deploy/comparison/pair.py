"""One artifact of two runs, image by image, where both were shown the same images and kept their outputs.

Paired figures see differences that two separate accuracies hide: the images' own difficulty is the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.checkpoint.task import Restoration, task_from_json
from swin_deploy.comparison.compared_run import ComparedRun
from swin_deploy.device.distances import decisions
from swin_deploy.manifest import Row
from swin_deploy.parity.measure import Arrays
from swin_deploy.parity.paired_drop import PairedDrop, paired_drop
from swin_deploy.parity.psnr import border_of, psnr_y_against_picture
from swin_deploy.parity.psnr_drop import PsnrDrop, psnr_drop
from swin_deploy.parity.stored_outputs import read_outputs
from swin_deploy.parity.truth import Truth, read_truth

__all__ = ["Pair", "pairs"]

_OUTPUTS = "outputs"


@dataclass(frozen=True)
class Pair:
    """The second run's artifact against the first's.

    Attributes:
        first: Name of the run that is compared with.
        second: Name of the other.
        artifact: Its name, in both.
        label: How it was measured, in both.
        images: On how many images they were compared; 0 where they could not be.
        agreement: Share of these with the same top-1 class; `None` where the outputs are no classes.
        drop: What the second loses against the first; `None` where there is nothing to tell it by.
        reason: Why something is missing, or empty.
    """

    first: str
    second: str
    artifact: str
    label: str
    images: int
    agreement: float | None
    drop: PairedDrop | PsnrDrop | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `swin-deploy compare --json` prints it."""
        return {**self.__dict__, "drop": None if self.drop is None else self.drop.to_json()}


def pairs(first: ComparedRun, second: ComparedRun) -> tuple[Pair, ...]:
    """Everything that both measured, in the first run's order."""
    theirs = {(step.artifact, row.label): row for step in second.manifest.steps for row in step.rows}
    same = first.manifest.evaluation["fingerprint"] == second.manifest.evaluation["fingerprint"]
    truth = _truth(first, second) if same else None
    found = []
    for step in first.manifest.steps:
        for row in step.rows:
            other = theirs.get((step.artifact, row.label))
            if other is None or row.measurement is None or other.measurement is None:
                continue
            names = (first.name, second.name, step.artifact, row.label)
            if not same:
                found.append(Pair(*names, 0, None, None, "they were judged on other images"))
                continue
            outputs = _outputs(first, row), _outputs(second, other)
            if outputs[0] is None or outputs[1] is None or outputs[0].keys() != outputs[1].keys():
                found.append(Pair(*names, 0, None, None, "their outputs were not kept, or are not what was measured"))
                continue
            found.append(_pair(first, names, outputs[0], outputs[1], truth))
    return tuple(found)


def _pair(
    run: ComparedRun, names: tuple[str, str, str, str], first: Arrays, second: Arrays, truth: Truth | None
) -> Pair:
    name = next(iter(first))
    count = min(len(first[name]), len(second[name]))
    ours, theirs = first[name][:count], second[name][:count]  # [images, ...]
    if ours.shape != theirs.shape:
        return Pair(*names, 0, None, None, f"their outputs have the shapes {ours.shape} and {theirs.shape}")
    agreement = None
    if run.manifest.task == "classifier":
        agreement = float((decisions(ours) == decisions(theirs)).mean())
    if truth is None:
        told = run.manifest.evaluation["labelled"] or run.manifest.evaluation["pictures"]
        kept = "neither run kept what the images truly are: build either again with --resume"
        reason = kept if told else "nothing is known of the images to judge by"
        return Pair(*names, count, agreement, None, reason)
    if truth.labels is not None:
        return Pair(*names, count, agreement, paired_drop(theirs, ours, truth.labels[:count]))
    task = task_from_json(run.manifest.evaluation["task"])
    assert isinstance(task, Restoration) and truth.pictures is not None, "pictures of no restoration"
    border = border_of(task.scale)
    against = [
        [psnr_y_against_picture(image, picture, border) for image, picture in zip(images, truth.pictures, strict=False)]
        for images in (theirs, ours)
    ]
    return Pair(*names, count, None, psnr_drop(*against))


def _truth(*runs: ComparedRun) -> Truth | None:
    found = (read_truth(run.folder / _OUTPUTS, str(run.manifest.evaluation["fingerprint"])) for run in runs)
    return next((truth for truth in found if truth is not None), None)


def _outputs(run: ComparedRun, row: Row) -> Arrays | None:
    """At the usual batch, which has seen all images."""
    if not row.outputs:
        return None
    # A manifest is a file that anybody may have written: only names within the run's folder are followed.
    stored = read_outputs(run.folder / _OUTPUTS / Path(row.outputs).name, row.key)
    return None if stored is None else stored.get(int(run.manifest.recipe["batch"][1]))
