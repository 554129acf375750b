"""How long calls take: warm up until they stop getting faster, time them one by one, say it in percentiles.

A mean hides what a user feels (the slow calls) and a first call hides everything (clocks that rise, kernels that load,
memory that is touched first), so both are kept apart here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Latency", "summarised", "timed_calls", "warm_up"]

# A warm-up window lasts at least this long, so that two of them are the 200 ms that trtexec warms up by default.
_WINDOW_SECONDS = 0.1
# A window that is faster than every earlier one by less is not faster: medians of a few calls move by so much anyway.
_STILL_FALLING = 0.02


@dataclass(frozen=True)
class Latency:
    """The times of many calls, in milliseconds a call.

    Attributes:
        calls: How many were timed.
        warmup_calls: How many came before, untimed.
        steady: Whether the warm-up ended because calls no longer got faster; else its time ran out.
        mean_ms: Arithmetic mean.
        p50_ms: Median.
        p90_ms: 90th percentile; linear between the two nearest calls, as NumPy has it.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        variation: Coefficient of variation: standard deviation (of the population) over mean.
        quantiles_ms: 101 values, the 0th to the 100th percentile.
    """

    calls: int
    warmup_calls: int
    steady: bool
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    variation: float
    quantiles_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        assert self.calls >= 1 and self.warmup_calls >= 0, "times of no calls"
        assert len(self.quantiles_ms) == 101, "101 percentiles"
        assert all(low <= high for low, high in zip(self.quantiles_ms, self.quantiles_ms[1:])), "unordered percentiles"

    def facts(self) -> dict[str, Any]:
        """JSON-ready, under the names of the fields."""
        return {**asdict(self), "quantiles_ms": list(self.quantiles_ms)}


def summarised(samples_ms: Sequence[float], warmup_calls: int = 0, steady: bool = True) -> Latency:
    """The percentiles of timed calls.

    Args:
        samples_ms: Milliseconds of each call, at least one.
        warmup_calls: How many untimed calls came before.
        steady: What `warm_up` found.
    """
    times = np.asarray(samples_ms, dtype=np.float64)
    assert times.ndim == 1 and times.size and np.isfinite(times).all() and (times >= 0).all(), "no times of calls"
    # Interpolation may be off by the last digit, and percentiles never fall.
    rising = np.maximum.accumulate(np.percentile(times, np.arange(101)))
    quantiles = tuple(float(value) for value in rising)
    mean = float(times.mean())
    return Latency(
        calls=int(times.size),
        warmup_calls=warmup_calls,
        steady=steady,
        mean_ms=mean,
        p50_ms=quantiles[50],
        p90_ms=quantiles[90],
        p95_ms=quantiles[95],
        p99_ms=quantiles[99],
        variation=float(times.std()) / mean if mean else 0.0,
        quantiles_ms=quantiles,
    )


def warm_up(
    call: Callable[[], object],
    *,
    least_calls: int = 5,
    most_seconds: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, bool]:
    """Call until calls stop getting faster.

    Calls are taken in windows of at least `least_calls` calls and 0.1 s. Once the median of a window is no more than
    2 % below the lowest median before it, the calls are steady. Calls that get slower count as steady: that is a
    machine that throttles, which is to be measured and not waited out.

    Args:
        call: What is to be timed, with everything that is timed.
        least_calls: Calls in a window; so many are made in any case.
        most_seconds: Give up after so long.
        clock: Seconds, rising.

    Returns:
        How many calls were made, and whether they became steady.
    """
    started = clock()
    lowest = float("inf")
    made = 0
    while True:
        window: list[float] = []
        while len(window) < least_calls or sum(window) < _WINDOW_SECONDS:
            before = clock()
            call()
            after = clock()
            window.append(after - before)
            made += 1
            if made >= least_calls and after - started >= most_seconds:
                return made, False
        median = float(np.median(window))
        if median >= (1 - _STILL_FALLING) * lowest:
            return made, True
        lowest = min(lowest, median)


def timed_calls(
    call: Callable[[], object],
    *,
    least_calls: int = 50,
    least_seconds: float = 1.0,
    most_seconds: float = 20.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Milliseconds of call after call.

    Args:
        call: What is timed; it returns when its work is done.
        least_calls: Go on for so many calls.
        least_seconds: And for so long.
        most_seconds: But stop after so long, though never without one call.
        clock: Seconds, rising.
    """
    started = clock()
    times: list[float] = []
    while True:
        before = clock()
        call()
        after = clock()
        times.append(1000 * (after - before))
        enough = len(times) >= least_calls and after - started >= least_seconds
        if enough or after - started >= most_seconds:
            return times
