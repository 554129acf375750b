"""What a benchmark found, with the conditions it was found under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from swin_deploy.device.benchmark_line import Line, Skipped
from swin_deploy.device.timed_call import TimedCall

__all__ = ["SCHEMA_VERSION", "Benchmark"]

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Benchmark:
    """Results with their conditions.

    Attributes:
        lines: One for each contestant and batch size that ran.
        skipped: Those that did not, with the reason.
        rounds: How often each had its turn.
        warmup: Calls in a window of warm-up, at least; see `device.latency.warm_up`.
        threads: CPU threads of PyTorch and ONNX Runtime.
        machine: See `versions.machine`.
        flags: Everything else that a time depends on, by name.
        roofline: Ceilings that the shares were taken of, by device; empty where there were none.
        telemetry: `Telemetry.facts()` over the timed rounds; `None` where nothing could be read.
        calls: The calls behind each line, in the lines' order; they are for `--export-times` and not in the JSON.
    """

    lines: tuple[Line, ...]
    skipped: tuple[Skipped, ...]
    rounds: int
    warmup: int
    threads: int
    machine: Mapping[str, str]
    flags: Mapping[str, Any] = field(default_factory=dict)
    roofline: Mapping[str, Any] = field(default_factory=dict)
    telemetry: Mapping[str, Any] | None = None
    calls: tuple[tuple[TimedCall, ...], ...] = ()

    def describe(self) -> str:
        """The conditions in one line."""
        return (
            f"{self.rounds} interleaved rounds after a warm-up, {self.threads} threads, "
            f"{self.machine['processor']}; GPU: {self.machine['gpu']}; speed-ups are medians over rounds with quartiles"
        )

    def remarks(self) -> tuple[str, ...]:
        """What a reader must know before believing a line: one sentence each."""
        unsteady = [f"{line.artifact} at batch {line.batch}" for line in self.lines if not line.latency.steady]
        found = [f"Still getting faster when the warm-up's time ran out: {'; '.join(unsteady)}."] if unsteady else []
        throttled = (self.telemetry or {}).get("throttled", ())
        return (*found, *(f"WARNING: {sentence}" for sentence in throttled))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema_version": SCHEMA_VERSION,
            "lines": [line.facts() for line in self.lines],
            "skipped": [asdict(entry) for entry in self.skipped],
            "rounds": self.rounds,
            "warmup": self.warmup,
            "threads": self.threads,
            "machine": dict(self.machine),
            "flags": dict(self.flags),
            "roofline": dict(self.roofline),
            "telemetry": None if self.telemetry is None else dict(self.telemetry),
        }
