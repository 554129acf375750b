"""Interleaved rounds: every contestant has its turn in every round, so that a drifting machine drifts for all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from swin_deploy.device.timed_call import TimedCall, timed_call

__all__ = ["interleaved"]


def interleaved(
    sessions: Sequence[Any], images: Any, *, rounds: int, calls: int, clock: Callable[[], float] = time.perf_counter
) -> list[list[list[TimedCall]]]:
    """Time warm sessions.

    Args:
        sessions: Opened, and already called with these images.
        images: [B, channels, H, W].
        rounds: How often each has its turn.
        calls: Calls of a turn, one behind the other. The first finds caches that another one filled; a round is judged
            by the median of its turn.
        clock: Seconds, rising.

    Returns:
        Calls as [sessions][rounds][calls].
    """
    found: list[list[list[TimedCall]]] = [[] for _ in sessions]
    for turn in range(rounds):
        for place in range(len(sessions)):
            # Each round begins with another one, since whoever follows a heavy artifact finds cold caches.
            position = (turn + place) % len(sessions)
            found[position].append([timed_call(sessions[position], images, clock) for _ in range(calls)])
    return found
