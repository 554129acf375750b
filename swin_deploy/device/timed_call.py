"""One call of a session with its times: by the host's clock, and on the GPU where the session tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["TimedCall", "timed_call"]


@dataclass(frozen=True)
class TimedCall:
    """The times of one call, in milliseconds.

    Attributes:
        start_ms: When it began, by the clock that all calls of a run share.
        total_ms: From images in host memory to outputs in host memory, as the caller sees it.
        copy_in_ms: GPU time of the copy to the device; `None` where the session does not tell, as on a CPU.
        compute_ms: GPU time of the network alone, or `None`.
        copy_out_ms: GPU time of the copy back, or `None`.
    """

    start_ms: float
    total_ms: float
    copy_in_ms: float | None = None
    compute_ms: float | None = None
    copy_out_ms: float | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether the three phases are known."""
        return self.compute_ms is not None


def timed_call(session: Any, images: Any, clock: Callable[[], float] = time.perf_counter) -> TimedCall:
    """Call `session` once.

    A session with a method `timed` is asked for its phases: it returns its outputs and an object with `copy_in`,
    `compute` and `copy_out` in milliseconds, or `None` in that object's place. Any other is timed by the host alone.

    Args:
        session: An opened artifact.
        images: What it takes, [B, channels, H, W].
        clock: Seconds, rising.
    """
    timed = getattr(session, "timed", None)
    before = clock()
    phases = None
    if timed is None:
        session.infer(images)
    else:
        _, phases = timed(images)
    total = 1000 * (clock() - before)
    if phases is None:
        return TimedCall(1000 * before, total)
    return TimedCall(1000 * before, total, phases.copy_in, phases.compute, phases.copy_out)
