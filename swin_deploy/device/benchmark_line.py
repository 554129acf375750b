"""One row of a benchmark: what one contestant did at one batch size, or why it did nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device.latency import Latency, summarised
from swin_deploy.device.timed_call import TimedCall

if TYPE_CHECKING:
    import numpy.typing as npt  # not in the NumPy that JetPack 5 brings

__all__ = ["Line", "Ratio", "Skipped", "latency_of", "phase_medians", "ratio_to", "turn_times"]


@dataclass(frozen=True)
class Ratio:
    """How fast against the first line: above 1 is faster.

    Attributes:
        middle: Median over the rounds of (first's median time / own median time), both of the same round.
        low: Lower quartile of the same.
        high: Upper quartile of the same.
    """

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One contestant at one batch size. Times are milliseconds a call, host to host, where nothing else is said.

    Attributes:
        artifact: `<run's folder>/<file>`, or the peer's name.
        backend: The runtime that executed it.
        batch: Images a call.
        precision: What it was asked to compute in: `fp32`, `fp16`, `bf16`, `int8` or `fp8`.
        cuda_graph: Whether the work on the GPU was replayed as a CUDA graph.
        latency: Of all its calls.
        ratio: Against the first line of this batch size.
        copy_in_ms: Median GPU time of the copy to the device; `None` where the session does not tell.
        compute_ms: Median GPU time of the network alone, or `None`.
        copy_out_ms: Median GPU time of the copy back, or `None`.
        device_bytes: GPU memory that it holds; `None` where not known or there is no GPU.
        host_bytes: Peak resident memory of a process that only opens it and infers; `None` where not measured.
        roofline_share: The roofline's time over the time measured; `None` where the device's ceilings are not known.
        joules_per_image: Energy of the board or GPU for an image; `None` where nothing tells the power.
    """

    artifact: str
    backend: str
    batch: int
    precision: str
    cuda_graph: bool
    latency: Latency
    ratio: Ratio
    copy_in_ms: float | None = None
    compute_ms: float | None = None
    copy_out_ms: float | None = None
    device_bytes: int | None = None
    host_bytes: int | None = None
    roofline_share: float | None = None
    joules_per_image: float | None = None

    @property
    def images_per_second(self) -> float:
        """Throughput of calls one behind the other, at the median."""
        return 1000 * self.batch / self.latency.p50_ms

    def facts(self) -> dict[str, Any]:
        """JSON-ready and flat, as the schema has it."""
        latency, ratio = self.latency.facts(), self.ratio
        own = {key: value for key, value in asdict(self).items() if key not in ("latency", "ratio")}
        rates = {"images_per_second": self.images_per_second, "ratio": ratio.middle}
        return {**own, **latency, **rates, "ratio_low": ratio.low, "ratio_high": ratio.high}


@dataclass(frozen=True)
class Skipped:
    """A contestant that was asked for and did not run.

    Attributes:
        artifact: As in `Line`.
        backend: As in `Line`.
        precision: As in `Line`.
        reason: Why, in a sentence.
    """

    artifact: str
    backend: str
    precision: str
    reason: str


def ratio_to(first: npt.NDArray[np.float64], own: npt.NDArray[np.float64]) -> Ratio:
    """Compare two contestants' times, [rounds, calls a round], round by round."""
    ratios = np.median(first, axis=1) / np.median(own, axis=1)
    low, middle, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
    return Ratio(middle, low, high)


def turn_times(turns: Sequence[Sequence[TimedCall]]) -> npt.NDArray[np.float64]:
    """Milliseconds of one contestant's calls, [rounds, calls a round]."""
    return np.asarray([[call.total_ms for call in turn] for turn in turns], dtype=np.float64)


def phase_medians(calls: Sequence[TimedCall]) -> tuple[float | None, float | None, float | None]:
    """Medians of copy in, compute and copy out; all `None` where no call tells them."""
    known = [(call.copy_in_ms, call.compute_ms, call.copy_out_ms) for call in calls if call.on_gpu]
    if not known:
        return None, None, None
    copy_in, compute, copy_out = (float(value) for value in np.median(np.asarray(known, dtype=float), axis=0))
    return copy_in, compute, copy_out


def latency_of(calls: Sequence[TimedCall], warmup_calls: int, steady: bool) -> Latency:
    """The percentiles of the host's times."""
    return summarised([call.total_ms for call in calls], warmup_calls, steady)
