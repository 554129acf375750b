"""Contestants in one race: opened, warmed up, timed in turns, and compared with FP32 through the very call timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.record import Row
from benchmarks.gpu.timers import CpuTimer, Timer
from swin_deploy.device.benchmark_line import ratio_to
from swin_deploy.device.distances import distance
from swin_deploy.device.latency import summarised, warm_up
from swin_deploy.errors import EnvironmentFault, ExplainedError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Contestant", "Lane", "as_graph", "compared", "enter", "raced", "said"]

_ROUNDS = 15
_FEWEST_CALLS, _MOST_CALLS = 3, 100


@dataclass(frozen=True)
class Contestant:
    """Someone to be timed.

    Attributes:
        name: As in the table.
        precision: What it multiplies in.
        make: From the images that all share, on the device, to a call that gives their logits. It reads the images
            anew each time it is called. One that has a method `turn` of its own, like a timer's, is timed by that.
        graph: Whether its kernels are started as one CUDA graph.
        missing: Why it cannot take part, or `None`.
    """

    name: str
    precision: str
    make: Callable[[Tensor], Callable[[], Any]]
    graph: bool = True
    missing: str | None = None


@dataclass
class Lane:
    """A contestant that opened.

    Attributes:
        row: What is known of it.
        call: Makes the logits of the shared images.
    """

    row: Row
    call: Callable[[], Any]

    def turn(self, timer: Timer, calls: int) -> list[float]:
        """Milliseconds of each of some calls one behind the other."""
        own = getattr(self.call, "turn", None)
        return timer.turn(self.call, calls) if own is None else list(own(calls))


def enter(contestant: Contestant, images: Tensor, timer: Timer) -> Lane | Row:
    """Open and compile; a row with the reason where that fails, since that one fails is a finding and no end."""
    row = Row(contestant.name, contestant.precision)
    if contestant.missing is not None:
        return replace(row, missing=contestant.missing)
    try:
        call = contestant.make(images)
        call()
        timer.wait()
        if contestant.graph:
            call = timer.captured(call)
        call()
        timer.wait()
    except Exception as error:  # compilers have kinds of their own
        _check_alive(contestant.name, timer, error)
        return replace(row, missing=said(error))
    return Lane(row, call)


def as_graph(lane: Lane, name: str, timer: Timer) -> Lane | Row:
    """The same call as a CUDA graph, under another name; a row with the reason where it cannot be captured."""
    row = replace(lane.row, name=name)
    try:
        return Lane(row, timer.captured(lane.call))
    except Exception as error:  # as in `enter`
        _check_alive(name, timer, error)
        return replace(row, missing=said(error))


def raced(lanes: Sequence[Lane], timer: Timer, *, against: str, rounds: int = _ROUNDS) -> list[Row]:
    """Time all in turns; each round begins with another one, so that what drifts drifts for all alike.

    Args:
        lanes: Who takes part.
        timer: Of their device.
        against: The name of the one that ratios are told to; there are none if it does not take part.
        rounds: How often each has its turn.

    Returns:
        Their rows with times; of a rehearsal without, since a CPU's times say nothing here.
    """
    warm, calls = [], []
    for lane in lanes:
        warm.append(warm_up(partial(lane.turn, timer, 1), most_seconds=timer.warm_seconds))
        once = float(np.median(lane.turn(timer, _FEWEST_CALLS)))
        calls.append(min(_MOST_CALLS, max(_FEWEST_CALLS, round(timer.turn_ms / max(once, 1e-3)))))
    times: list[list[list[float]]] = [[] for _ in lanes]
    for turn in range(rounds):
        for place in range(len(lanes)):
            position = (turn + place) % len(lanes)
            times[position].append(lanes[position].turn(timer, calls[position]))
    if isinstance(timer, CpuTimer):
        return [lane.row for lane in lanes]
    first = [np.asarray(own) for lane, own in zip(lanes, times, strict=True) if lane.row.name == against]
    rows = []
    for lane, own, (warmup_calls, steady) in zip(lanes, times, warm, strict=True):
        found = summarised([ms for turn_ms in own for ms in turn_ms], warmup_calls, steady)
        ratio = ratio_to(first[0], np.asarray(own)) if first else None
        rows.append(
            replace(
                lane.row,
                ms=found.p50_ms,
                p10_ms=found.quantiles_ms[10],
                p90_ms=found.p90_ms,
                calls=found.calls,
                steady=steady,
                ratio=None if ratio is None else ratio.middle,
                ratio_low=None if ratio is None else ratio.low,
                ratio_high=None if ratio is None else ratio.high,
            )
        )
    return rows


def compared(lanes: Sequence[Lane], images: Tensor, oracle: Callable[[Tensor], Tensor], timer: Timer) -> list[Lane]:
    """Each lane with its distance to FP32 on images that it has not seen, through the call that is timed.

    Args:
        lanes: Who takes part.
        images: Those that all share; they are drawn anew.
        oracle: From images to FP32 logits.
        timer: Of their device.
    """
    import torch

    generator = torch.Generator(images.device).manual_seed(1)
    images.normal_(generator=generator)
    wanted = oracle(images.float()).float().cpu().numpy()
    found = []
    for lane in lanes:
        got = lane.call()
        timer.wait()
        apart = distance(got.float().cpu().numpy(), wanted)
        error = 10 ** (-apart.sqnr_db / 20) if apart.finite else None
        row = replace(lane.row, relative_error=error, agreement=apart.agreement, finite=apart.finite)
        found.append(replace(lane, row=row))
    return found


def _check_alive(name: str, timer: Timer, error: Exception) -> None:
    """After some faults a GPU answers nothing in this process any more: what followed would all look like failures."""
    try:
        timer.wait()
    except Exception:
        raise EnvironmentFault(
            f"the GPU faulted in {name!r}: {said(error)}",
            needed="a GPU that goes on",
            do="Leave it out with --skip and call again",
        ) from error


def said(error: Exception) -> str:
    """What a row says of an error."""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    return text if isinstance(error, ExplainedError) else f"{type(error).__name__}: {text}"
