"""Energy from power samples that are not evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["energy_joules"]


def energy_joules(seconds: Sequence[float], watts: Sequence[float], begin: float, end: float) -> float:
    """Integrate power over [begin, end] with the trapezoid rule.

    Samples outside the interval count through the straight line to their neighbour within; before the first and behind
    the last sample power is taken to stay as it was there.

    Args:
        seconds: When each sample was taken, rising.
        watts: What it said.
        begin: Where the interval begins, seconds of the same clock.
        end: Where it ends, not before `begin`.
    """
    assert len(seconds) == len(watts) >= 1 and begin <= end, "energy of no samples, or of a time that runs backwards"
    times = [begin, *(moment for moment in seconds if begin < moment < end), end]
    powers = [_power_at(moment, seconds, watts) for moment in times]
    pieces = zip(times, times[1:], powers, powers[1:])
    return sum((right - left) * (before + after) / 2 for left, right, before, after in pieces)


def _power_at(moment: float, seconds: Sequence[float], watts: Sequence[float]) -> float:
    if moment <= seconds[0]:
        return watts[0]
    for left, right, before, after in zip(seconds, seconds[1:], watts, watts[1:]):
        if left <= moment <= right:
            return after if right == left else before + (after - before) * (moment - left) / (right - left)
    return watts[-1]
