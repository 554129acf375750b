"""Time artifacts against each other: interleaved rounds in one process, so that drift hits all alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swin_deploy.backends.base import Session
from swin_deploy.errors import BadInput, Unavailable, UsageFault
from swin_deploy.plan import default_view
from swin_deploy.validation import artifact_of
from swin_deploy.versions import machine

__all__ = ["Benchmark", "Line", "bench"]


@dataclass(frozen=True)
class Line:
    """One artifact at one batch size. Times are milliseconds a call, host to host.

    Attributes:
        ratio: Median over the rounds of (first artifact's time / this one's); above 1 is faster than the first.
        ratio_low: Lower quartile of the same.
        ratio_high: Upper quartile of the same.
        variation: Standard deviation over mean of the times.
    """

    artifact: str
    backend: str
    batch: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    variation: float
    images_per_second: float
    ratio: float
    ratio_low: float
    ratio_high: float


@dataclass(frozen=True)
class Benchmark:
    """Results with the conditions they were taken under."""

    lines: tuple[Line, ...]
    rounds: int
    warmup: int
    threads: int
    machine: dict[str, str]

    def describe(self) -> str:
        """The conditions in one line."""
        return (
            f"{self.rounds} interleaved rounds after {self.warmup} calls of warm-up, {self.threads} threads, "
            f"{self.machine['processor']}; GPU: {self.machine['gpu']}; ratios are medians over rounds with quartiles"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema_version": 1, **asdict(self)}


def bench(
    paths: Sequence[Path], *, batches: Sequence[int], rounds: int, warmup: int, threads: int | None = None
) -> Benchmark:
    """Time every artifact at every batch size.

    Args:
        paths: Files of runs; they must take images of one size.
        batches: Batch sizes.
        rounds: How often each is called, in turn.
        warmup: Untimed calls of each at each batch size.
        threads: PyTorch's threads; by default one a core.

    Raises:
        Unavailable: an artifact cannot be executed here.
        BadInput: the artifacts take images of different sizes.
        UsageFault: a batch lies outside the profile that an artifact was built and judged for.
    """
    import os

    import torch

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    opened = [artifact_of(path) for path in paths]
    shapes = {
        tuple(int(manifest.evaluation["preprocess"][side]) for side in ("channels", "height", "width"))
        for _, _, manifest in opened
    }
    for artifact, _, manifest in opened:
        smallest, _, largest = manifest.recipe["batch"]
        outside = [batch for batch in batches if not smallest <= batch <= largest]
        if outside:
            raise UsageFault(
                f"--batch {outside[0]}",
                needed=f"a batch from {smallest} to {largest}, the profile that {artifact.path} was built for",
                do="Choose another batch, or build again with --batch",
            )
    if len(shapes) > 1:
        seen = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
        raise BadInput(f"the artifacts take images of {seen}", needed="one image size to compare at")
    (shape,) = shapes
    lines: list[Line] = []
    with ExitStack() as stack:
        sessions: list[tuple[str, str, Session]] = []
        for artifact, _, _ in opened:
            view = default_view(artifact)
            reason = view.backend.unavailable(artifact)
            if reason:
                raise Unavailable(f"{artifact.path} cannot be timed here: {reason}")
            session = stack.enter_context(_optimised(view.backend).open(artifact))
            sessions.append(
                (f"{artifact.path.parent.name}/{artifact.path.name}", _optimised(view.backend).name, session)
            )
        for batch in batches:
            images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
            times = _interleaved([session for _, _, session in sessions], images, rounds, warmup)
            for position, (name, backend, _) in enumerate(sessions):
                lines.append(_line(name, backend, batch, times[position], times[0]))
    return Benchmark(tuple(lines), rounds, warmup, torch.get_num_threads(), machine())


def _optimised(backend: Any) -> Any:
    """Literal Q/DQ is for judging; what would be deployed is the optimised session."""
    from swin_deploy.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime() if isinstance(backend, OnnxRuntime) else backend


def _interleaved(sessions: Sequence[Session], images: Any, rounds: int, warmup: int) -> Any:
    """Milliseconds, [sessions, rounds]."""
    for session in sessions:
        for _ in range(warmup):
            session.infer(images)
    times = np.empty((len(sessions), rounds))
    for turn in range(rounds):
        for place in range(len(sessions)):
            # Each round begins with another one, since whoever follows a heavy artifact finds cold caches.
            position = (turn + place) % len(sessions)
            session = sessions[position]
            started = time.perf_counter()
            session.infer(images)
            times[position, turn] = 1000 * (time.perf_counter() - started)
    return times


def _line(name: str, backend: str, batch: int, times: Any, first: Any) -> Line:
    p50, p90, p95, p99 = (float(value) for value in np.percentile(times, (50, 90, 95, 99)))
    low, middle, high = (float(value) for value in np.percentile(first / times, (25, 50, 75)))
    return Line(
        artifact=name,
        backend=backend,
        batch=batch,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        variation=float(times.std() / times.mean()),
        images_per_second=1000 * batch / p50,
        ratio=middle,
        ratio_low=low,
        ratio_high=high,
    )
