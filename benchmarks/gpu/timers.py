"""How long a call takes on the device: by events on a GPU's stream, by the clock on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

__all__ = ["CpuTimer", "CudaTimer", "Timer"]

Call = Callable[[], object]
_IN_A_ROW = 10


class Timer(Protocol):
    """One device's way of timing."""

    device: str
    turn_ms: float  # how long a turn should last
    warm_seconds: float  # how long to wait at most until calls no longer get faster

    def turn(self, call: Call, calls: int) -> list[float]:
        """Milliseconds of each of `calls` calls one behind the other, after two that do not count."""
        ...

    def seconds(self, call: Call) -> float:
        """Of a call that may be shorter than it takes to start it: a quick measurement, to choose by."""
        ...

    def captured(self, call: Call) -> Call:
        """`call` as a CUDA graph: what it returns then overwrites what it returned. On a CPU `call` itself."""
        ...

    def wait(self) -> None:
        """Until all that was begun has ended."""
        ...


class CudaTimer:
    """See `Timer`.

    An event stands behind each call, and calls are queued without waiting, so that a time is what a call adds to a busy
    stream: of a CUDA graph the GPU's own time, of a call whose kernels are started slower than they end the host's.
    """

    device, turn_ms, warm_seconds = "cuda", 40.0, 3.0

    def turn(self, call: Call, calls: int) -> list[float]:
        """See `Timer.turn`."""
        import torch

        event: Any = torch.cuda.Event  # it has no types
        marks = [event(enable_timing=True) for _ in range(calls + 1)]
        call()
        call()
        marks[0].record()
        for mark in marks[1:]:
            call()
            mark.record()
        marks[-1].synchronize()
        return [float(start.elapsed_time(end)) for start, end in pairwise(marks)]

    def seconds(self, call: Call) -> float:
        """See `Timer.seconds`."""

        def together() -> None:
            for _ in range(_IN_A_ROW):
                call()

        return median(self.turn(self.captured(together), _IN_A_ROW)) / 1000 / _IN_A_ROW

    def captured(self, call: Call) -> Call:
        """See `Timer.captured`. Called on a stream of its own first, which compiles and chooses algorithms."""
        import torch

        new_stream: Any = torch.cuda.Stream  # it has no types
        stream = new_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = call()

        def replay() -> object:
            graph.replay()
            return output

        return replay

    def wait(self) -> None:
        """See `Timer.wait`."""
        import torch

        torch.cuda.synchronize()


class CpuTimer:
    """See `Timer`; for rehearsals."""

    device, turn_ms, warm_seconds = "cpu", 0.0, 0.0

    def turn(self, call: Call, calls: int) -> list[float]:
        """See `Timer.turn`."""
        times = []
        for _ in range(calls):
            before = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - before))
        return times

    def seconds(self, call: Call) -> float:
        """See `Timer.seconds`."""
        before = time.perf_counter()
        call()
        return time.perf_counter() - before

    def captured(self, call: Call) -> Call:
        """See `Timer.captured`."""
        return call

    def wait(self) -> None:
        """See `Timer.wait`: a CPU's calls return when they have ended."""
