"""A stage turns one artifact into one file. It never judges its own result: the pipeline does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from swin_deploy.artifact import Artifact, Format, Precision

__all__ = ["Produced", "Stage"]


@dataclass(frozen=True)
class Produced:
    """What a stage says of the file it wrote.

    Attributes:
        facts: JSON-ready figures for the manifest (node counts, kernels, ranges), never a verdict.
        notes: Sentences for the reader, e.g. that a fallback was taken.
        sidecar: JSON to stand beside the file under `<file>.json`, for a file that must be checked before it is opened.
        listing: What the builder listed of an engine's layers, to stand beside it; see `device.engine_listing`.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sidecar: Mapping[str, Any] | None = None
    listing: str = ""


class Stage(Protocol):
    """Implementations are frozen dataclasses: their fields are the whole configuration, and so the resume key."""

    @property
    def name(self) -> str:
        """The stage's kind, e.g. `fold`; the file that defines it has this name."""
        ...

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """The artifacts it can read."""
        ...

    @property
    def produces(self) -> tuple[Format, Precision]:
        """The artifact it writes."""
        ...

    @property
    def suffix(self) -> str:
        """The file name's ending, e.g. `.onnx`."""
        ...

    def tools(self) -> Mapping[str, str]:
        """Name and version of each tool whose change must make the stage run again."""
        ...

    def unavailable(self) -> str | None:
        """Why the stage cannot run on this machine (naming the package to install), or `None`."""
        ...

    def run(self, parent: Artifact, out: Path) -> Produced:
        """Read `parent.path`, write `out`, which is a temporary name in the run's folder.

        Raises:
            ExplainedError: a subclass with the exit status that fits.
        """
        ...
