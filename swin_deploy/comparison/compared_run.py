"""The runs of a comparison: each a finished manifest, under a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import Manifest, read_manifest

__all__ = ["ComparedRun", "open_runs"]


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: Short, and its own.
        folder: Where it lies.
        manifest: What is known of it.
    """

    name: str
    folder: Path
    manifest: Manifest


def open_runs(folders: Sequence[Path]) -> tuple[ComparedRun, ...]:
    """Read the manifests.

    Raises:
        UsageFault: fewer than two folders, or one of them twice.
        BadInput: a folder holds no usable run, a run is not finished, or their networks have different tasks.
    """
    places = [folder.resolve() for folder in folders]
    if len(places) < 2:
        raise UsageFault("one run to compare" if places else "no run to compare", needed="at least two")
    twice = next((folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise UsageFault(f"the run {twice} is named twice", needed="at least two, each once")
    manifests = [read_manifest(folder) for folder in folders]
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest.status is None:
            raise BadInput(
                f"the run in {folder} is not finished",
                needed="runs that came to an end",
                do="Finish it with swin-deploy build --resume",
            )
    tasks = {manifest.task or "none" for manifest in manifests}
    if len(tasks) > 1:
        raise BadInput(f"the runs are of different tasks: {', '.join(sorted(tasks))}", needed="runs of one task")
    return tuple(map(ComparedRun, _names(places), folders, manifests))


def _names(places: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart."""
    for count in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-count:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names
