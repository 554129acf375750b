"""The gates: how close an artifact must be to the oracle. Data in one table, and the function that judges by it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from swin_deploy.parity.distances import Distance
from swin_deploy.parity.paired_drop import PairedDrop
from swin_deploy.parity.score_interval import wilson

__all__ = ["GATES", "TASK_IMAGES", "Gate", "GateName", "Judgement", "Verdict", "judge", "worst"]

# Fewer labelled images cannot resolve a drop of a point: 2,000 give about +-0.8 where one image in twenty is decided
# differently (1.645 * sqrt(100) / 2000; see paired_drop).
TASK_IMAGES = 2000


class Verdict(enum.Enum):
    """What was found of one artifact."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"  # the margin lies inside the interval: more images would tell
    SKIPPED = "SKIPPED"  # not executed, so nothing is known
    INFO = "INFO"  # executed and shown, not gated


class GateName(enum.Enum):
    """Which row of the table judges a view of an artifact."""

    FP32 = "fp32"
    FP16_NUMERICS = "fp16-numerics"  # torch half: every operator rounds
    FP16_GRAPH = "fp16-graph"  # ONNX Runtime on a CPU: rounded weights, FP32 arithmetic
    FP16_ENGINE = "fp16-engine"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True)
class Gate:
    """The least an artifact must reach.

    Attributes:
        sqnr_db: Signal-to-noise ratio at the outputs, in dB, at every batch.
        agreement: Share of images with the oracle's top-1 class.
        task: Whether the top-1 drop is gated too, where there are labels.
    """

    sqnr_db: float
    agreement: float
    task: bool


GATES: Mapping[GateName, Gate] = MappingProxyType(
    {
        GateName.FP32: Gate(sqnr_db=100.0, agreement=0.999, task=True),
        GateName.FP16_NUMERICS: Gate(sqnr_db=60.0, agreement=0.98, task=True),
        GateName.FP16_GRAPH: Gate(sqnr_db=60.0, agreement=0.98, task=True),
        GateName.FP16_ENGINE: Gate(sqnr_db=50.0, agreement=0.98, task=True),
        GateName.BF16: Gate(sqnr_db=35.0, agreement=0.95, task=True),
        GateName.INT8: Gate(sqnr_db=25.0, agreement=0.90, task=True),
    }
)


@dataclass(frozen=True)
class Judgement:
    """One check of one gate.

    Attributes:
        check: `finite`, `sqnr`, `agreement` or `top1-drop`.
        verdict: PASS, FAIL or INCONCLUSIVE.
        detail: What was seen and what was needed.
    """

    check: str
    verdict: Verdict
    detail: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {"check": self.check, "verdict": self.verdict.value, "detail": self.detail}


def judge(
    gate: Gate, distances: Mapping[int, Distance], drop: PairedDrop | None, max_drop: float
) -> tuple[Judgement, ...]:
    """Apply `gate` to what was measured.

    Args:
        gate: The thresholds.
        distances: Distance to the oracle at each batch size.
        drop: Paired top-1 drop, `None` without labels.
        max_drop: The margin for the drop, in percentage points.

    Returns:
        One judgement a check. The drop is judged on `TASK_IMAGES` images or more only.
    """
    found = []
    broken = [batch for batch, entry in distances.items() if not entry.finite]
    found.append(
        Judgement("finite", Verdict.FAIL, f"NaN or Inf at batch {', '.join(map(str, broken))}")
        if broken
        else Judgement("finite", Verdict.PASS, "no NaN, no Inf")
    )
    batch, lowest = min(distances.items(), key=lambda entry: entry[1].sqnr_db)
    found.append(
        Judgement(
            "sqnr",
            Verdict.PASS if lowest.sqnr_db >= gate.sqnr_db else Verdict.FAIL,
            f"{lowest.sqnr_db:.1f} dB at batch {batch}, gate {gate.sqnr_db:g} dB",
        )
    )
    # The largest set gives the share its meaning; a single image decided differently at batch 1 does not.
    largest = max(distances.values(), key=lambda entry: entry.images)
    found.append(
        Judgement(
            "agreement",
            _share_verdict(largest, gate.agreement),
            f"{100 * largest.agreement:.2f} % of {largest.images} images, gate {100 * gate.agreement:g} %",
        )
    )
    if gate.task and drop is not None and drop.images >= TASK_IMAGES:
        found.append(_judge_drop(drop, max_drop))
    return tuple(found)


def _share_verdict(seen: Distance, needed: float) -> Verdict:
    """A share below the gate fails only where chance does not explain it: one image of 64 is 1.6 %."""
    if seen.agreement >= needed:
        return Verdict.PASS
    return Verdict.FAIL if wilson(seen.agreement, seen.images)[1] < needed else Verdict.INCONCLUSIVE


def _judge_drop(drop: PairedDrop, margin: float) -> Judgement:
    if drop.upper <= margin:
        verdict = Verdict.PASS
    elif drop.lower > margin:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
    detail = (
        f"{drop.drop:+.2f} points, one-sided 95 % bounds {drop.lower:+.2f} and {drop.upper:+.2f}, margin {margin:g}"
    )
    return Judgement("top1-drop", verdict, detail)


def worst(judgements: tuple[Judgement, ...]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS."""
    verdicts = {judgement.verdict for judgement in judgements}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
