"""What `finish` found of each engine and of the whole bundle, and the exit status that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_deploy.device.bundle_file import Bundle, BundleEngine, BundleProgram
from swin_deploy.device.closeness import Judgement, Verdict
from swin_deploy.device.engine_timing import Timing
from swin_deploy.device.fixture_replay import Replay
from swin_deploy.errors import ExplainedError

__all__ = ["EngineResult", "FinishResult", "conclude"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class EngineResult:
    """One engine.

    Attributes:
        engine: What was asked for.
        verdict: PASS: every gate; FAIL: one of them, or it could not be made; SKIPPED: not executed here.
        file: The engine's file in the folder `finished`, `None` where there is none.
        judgements: One a check, those of the audit included.
        replay: Distances to the oracle; `None` where it was not executed.
        build: How it was built: seconds, versions, limits, whether it was taken from an earlier call.
        audit: What the builder's log says of its kernels; `None` where it says nothing.
        timing: Latency and telemetry; `None` where it was not timed.
        reason: Why it was skipped, or empty.
        error: What stopped it, or `None`.
        beside: Whether it was finished beside the engines that were asked for, so that nothing requires it to run.
    """

    engine: BundleEngine | BundleProgram
    verdict: Verdict
    file: str | None = None
    judgements: tuple[Judgement, ...] = ()
    replay: Replay | None = None
    build: Mapping[str, Any] | None = None
    audit: Mapping[str, Any] | None = None
    timing: Timing | None = None
    reason: str = ""
    error: ExplainedError | None = None
    beside: bool = False

    def facts(self) -> dict[str, Any]:
        """As it stands in `finish.json`."""
        error = self.error
        return {
            "name": self.engine.name,
            "precision": self.engine.precision.value,
            "profile": self.engine.profile,
            "file": self.file,
            "verdict": self.verdict.value,
            "checks": [judgement.to_json() for judgement in self.judgements],
            "batches": None if self.replay is None else self.replay.facts(),
            "build": None if self.build is None else dict(self.build),
            "audit": None if self.audit is None else dict(self.audit),
            "latency": [] if self.timing is None else [line.facts() for line in self.timing.lines],
            "telemetry": None if self.timing is None else dict(self.timing.telemetry.facts()),
            "reason": self.reason,
            "error": None if error is None else {"message": str(error), "status": error.exit_code},
        }


@dataclass(frozen=True)
class FinishResult:
    """All engines of one call.

    Attributes:
        bundle: What was finished.
        device: The machine, by name.
        tool: Package and version that made the engines.
        engines: In the bundle's order.
        require_engine: Whether an engine that was not executed is a failure.
        seconds: Of the whole call.
        complete: Whether the call has come to its end.
    """

    bundle: Bundle
    device: Mapping[str, Any]
    tool: Mapping[str, str]
    engines: tuple[EngineResult, ...] = ()
    require_engine: bool = False
    seconds: float = 0.0
    complete: bool = False

    def facts(self) -> dict[str, Any]:
        """`finish.json`."""
        status, verdict = conclude(self)
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "finish",
            "bundle": {"name": self.bundle.name, "target": self.bundle.target, "sha256": self.bundle.sha256},
            "device": dict(self.device),
            "tool": dict(self.tool),
            "engines": [engine.facts() for engine in self.engines],
            "seconds": round(self.seconds, 3),
            "status": status,
            "verdict": verdict,
        }


def conclude(result: FinishResult) -> tuple[int | None, str]:
    """The exit status, `None` while the call goes on, and the sentence that explains it."""
    if not result.complete:
        return None, "not finished"
    failed = [entry for entry in result.engines if entry.verdict is Verdict.FAIL]
    gated = [entry for entry in failed if entry.error is None]
    broken = [entry for entry in failed if entry.error is not None]
    skipped = [entry for entry in result.engines if entry.verdict is Verdict.SKIPPED]
    unclear = [entry.engine.name for entry in result.engines if entry.verdict is Verdict.INCONCLUSIVE]
    passed = [entry.engine.name for entry in result.engines if entry.verdict is Verdict.PASS]
    timed = [entry.engine.name for entry in result.engines if entry.verdict is Verdict.INFO]
    graphs_only = result.tool["package"] == "onnxruntime"
    parts = []
    if gated:
        names = ", ".join(entry.engine.name for entry in gated)
        named = ", and stands under a name ending in .rejected" if any(entry.file for entry in gated) else ""
        parts.append(f"FAIL: {names} did not pass the gates{named}")
    if broken:
        parts.append("FAIL: " + "; ".join(f"{entry.engine.name} was not finished: {entry.error}" for entry in broken))
    if passed:
        parts.append(f"PASS: {', '.join(passed)}")
    if unclear:
        parts.append(f"INCONCLUSIVE: {', '.join(unclear)}")
    if skipped:
        parts.append(f"SKIPPED: {', '.join(entry.engine.name for entry in skipped)} not executed, so not proven")
    if timed:
        parts.append(f"timed again: {', '.join(timed)}")
    if graphs_only and result.require_engine:
        parts.append("SKIPPED: ONNX Runtime ran the graphs, and no engine")
    status = 0
    if gated:
        status = 4
    elif broken:
        status = max(entry.error.exit_code for entry in broken if entry.error is not None)
    elif result.require_engine and (graphs_only or any(not entry.beside for entry in skipped)):
        status = 3
    return status, "; ".join(parts) or "nothing was finished"
