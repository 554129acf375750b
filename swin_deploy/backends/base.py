"""A backend opens an artifact and answers NumPy images with NumPy outputs: open, infer, close, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from swin_deploy.artifact import Artifact

__all__ = ["Backend", "Outputs", "Session"]

Outputs = Mapping[str, npt.NDArray[np.float32]]


class Session(Protocol):
    """An opened artifact. Use it as a context manager."""

    def infer(self, images: npt.NDArray[np.float32]) -> Outputs:
        """Run preprocessed `images` [B, channels, H, W] in FP32; every output, by its name, has B as its first axis."""
        ...

    def close(self) -> None:
        """Give back what the session holds."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Backend(Protocol):
    """One runtime. Implementations are frozen dataclasses: their fields are the runtime's configuration."""

    @property
    def name(self) -> str:
        """As shown in reports, e.g. `onnxruntime`."""
        ...

    def unavailable(self, artifact: Artifact) -> str | None:
        """Why this machine cannot execute `artifact`, or `None` when it can. Must not raise."""
        ...

    def open(self, artifact: Artifact) -> Session:
        """Load `artifact`.

        Raises:
            Unavailable: this machine cannot execute it.
            BadInput: the file is damaged.
        """
        ...
