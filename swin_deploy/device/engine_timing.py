"""Time finished engines against each other: interleaved calls at each batch size, so that drift hits all alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device.benchmark_line import Line, latency_of, phase_medians, ratio_to
from swin_deploy.device.latency import timed_calls, warm_up
from swin_deploy.device.rounds import interleaved
from swin_deploy.device.telemetry.sampler import sampled
from swin_deploy.device.telemetry.telemetry import Telemetry, energy_per_image
from swin_deploy.device.timed_call import TimedCall, timed_call

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["TimedEngine", "Timing", "time_engines"]

# About so long is each engine timed at each batch size: in 20 turns, where its calls are quick enough for that.
_SECONDS, _ROUNDS, _LEAST_ROUNDS, _MOST_CALLS = 2.0, 20, 5, 100
# Power is sampled ten times a second: two seconds of one engine alone give some twenty samples of it.
_WATCHED_SECONDS = 2.0


@dataclass(frozen=True)
class TimedEngine:
    """One engine to time.

    Attributes:
        name: As shown.
        precision: What it computes in.
        backend: The runtime's name.
        session: Opened. One that starts its work through CUDA graphs says so by a true `cuda_graph`.
    """

    name: str
    precision: str
    backend: str
    session: Any


@dataclass(frozen=True)
class Timing:
    """What one engine took.

    Attributes:
        lines: One a batch size.
        calls: The calls behind each line.
        telemetry: What the board's sensors said while this engine ran alone at the usual batch.
    """

    lines: tuple[Line, ...]
    calls: tuple[tuple[TimedCall, ...], ...]
    telemetry: Telemetry


def time_engines(
    engines: tuple[TimedEngine, ...],
    images: npt.NDArray[np.float32],
    batches: tuple[int, int, int],
) -> Mapping[str, Timing]:
    """Time every engine at each batch size, in turns; ratios are against the first engine.

    Args:
        engines: Opened, of one input shape.
        images: [images, channels, H, W], at least as many as the largest batch.
        batches: Smallest, usual and largest batch.
    """
    lines: dict[str, list[Line]] = {engine.name: [] for engine in engines}
    behind: dict[str, list[tuple[TimedCall, ...]]] = {engine.name: [] for engine in engines}
    watched: dict[str, Telemetry] = {}
    joules: dict[str, float | None] = {}
    for batch in sorted(set(batches)):
        some = np.ascontiguousarray(images[:batch])
        warm = [_warm(engine.session, some) for engine in engines]
        if batch == batches[1]:
            for engine in engines:
                watched[engine.name], joules[engine.name] = _watched(engine.session, some)
        slowest = max(timed_call(engine.session, some).total_ms for engine in engines) / 1000
        rounds, calls = _schedule(slowest)
        found = interleaved([engine.session for engine in engines], some, rounds=rounds, calls=calls)
        times = np.array([[[call.total_ms for call in turn] for turn in own] for own in found])
        for place, engine in enumerate(engines):
            flat = tuple(call for turn in found[place] for call in turn)
            copy_in, compute, copy_out = phase_medians(flat)
            made, steady = warm[place]
            line = Line(
                artifact=engine.name,
                backend=engine.backend,
                batch=batch,
                precision=engine.precision,
                cuda_graph=bool(getattr(engine.session, "cuda_graph", False)),
                latency=latency_of(flat, made, steady),
                ratio=ratio_to(times[0], times[place]),
                copy_in_ms=copy_in,
                compute_ms=compute,
                copy_out_ms=copy_out,
                device_bytes=engine.session.device_bytes() if hasattr(engine.session, "device_bytes") else None,
                joules_per_image=joules[engine.name] if batch == batches[1] else None,
            )
            lines[engine.name].append(line)
            behind[engine.name].append(flat)
    return {
        engine.name: Timing(tuple(lines[engine.name]), tuple(behind[engine.name]), watched[engine.name])
        for engine in engines
    }


def _schedule(seconds: float) -> tuple[int, int]:
    """Turns of each engine and calls of a turn, for calls of so many seconds."""
    rounds = int(min(max(_SECONDS / max(seconds, 1e-6), _LEAST_ROUNDS), _ROUNDS))
    return rounds, int(min(max(_SECONDS / (rounds * max(seconds, 1e-6)), 1), _MOST_CALLS))


def _warm(session: Any, images: npt.NDArray[np.float32]) -> tuple[int, bool]:
    return warm_up(lambda: timed_call(session, images))


def _watched(session: Any, images: npt.NDArray[np.float32]) -> tuple[Telemetry, float | None]:
    """Run one engine alone and watch the board; joules an image."""
    with sampled() as sampler:
        # Without a sensor there is nothing to wait for.
        seconds = 0.0 if sampler.telemetry().source == "none" else _WATCHED_SECONDS
        made = len(timed_calls(lambda: session.infer(images), least_calls=1, least_seconds=seconds))
    telemetry = sampler.telemetry()
    return telemetry, energy_per_image(telemetry, made * len(images))
