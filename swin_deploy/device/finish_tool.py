"""What makes and runs a bundle's engines: TensorRT or our kernels on a device, ONNX Runtime for the bundle's proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from swin_deploy.device.bundle_file import BundleEngine, BundleProgram
from swin_deploy.device.closeness import Closeness, Judgement, Verdict

__all__ = ["FinishTool", "Made"]

Engine = TypeVar("Engine", BundleEngine, BundleProgram)


@dataclass(frozen=True)
class Made:
    """An engine that can be opened, or could be elsewhere.

    Attributes:
        path: Its file.
        build: How it was made, for `finish.json`; `None` where nothing is built.
        checks: What its audit says.
        audit: Figures of the audit.
    """

    path: Path
    build: Mapping[str, Any] | None = None
    checks: tuple[Judgement, ...] = field(default=())
    audit: Mapping[str, Any] | None = None


class FinishTool(Protocol[Engine]):
    """Implementations are frozen dataclasses."""

    @property
    def backend(self) -> str:
        """The runtime's name as reports show it."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """Package and version."""
        ...

    def engines(self) -> tuple[Engine, ...]:
        """The bundle's engines that this tool takes.

        Raises:
            BadInput: there is none.
        """
        ...

    def gate(self, engine: Engine) -> Closeness:
        """What an engine must reach here."""
        ...

    def not_executable(self, engine: Engine) -> str | None:
        """Why this machine cannot execute the engine, though it may build it; `None` when it can."""
        ...

    def make(self, engine: Engine) -> Made:
        """Build the engine.

        Raises:
            ExplainedError: it could not be built.
        """
        ...

    def open(self, made: Made, engine: Engine) -> Any:
        """A session with `infer` and `close`, a context manager.

        Raises:
            ExplainedError: it could not be opened.
        """
        ...

    def name(self, made: Made, engine: Engine, verdict: Verdict) -> Path | None:
        """Give the engine the name that its verdict allows; `None` where it allows none."""
        ...

    def finished(self, engine: Engine) -> Made:
        """An engine that an earlier call finished.

        Raises:
            BadInput: there is none.
        """
        ...
