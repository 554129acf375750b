"""What every source of samples can do."""

from __future__ import annotations

from typing import Protocol

from swin_deploy.device.telemetry.sample import Sample

__all__ = ["Source"]


class Source(Protocol):
    """Something that gives samples until it is closed."""

    @property
    def name(self) -> str:
        """How the telemetry names it."""

    @property
    def paces_itself(self) -> bool:
        """Whether `read` waits for the next sample, rather than looking at once."""

    def read(self) -> Sample | None:
        """The next sample, or `None` once there are no more."""

    def close(self) -> None:
        """End it; a `read` that waits then returns."""
