"""The gates: how close an artifact must be to the oracle. Data in one table, and the function that judges by it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from swin_deploy.parity.distances import Distance
from swin_deploy.parity.paired_drop import PairedDrop
from swin_deploy.parity.psnr_drop import PsnrDrop
from swin_deploy.parity.score_interval import wilson

__all__ = [
    "GATES",
    "PICTURE_SHARE",
    "TASK_IMAGES",
    "TASK_PAIRS",
    "Gate",
    "GateName",
    "Judgement",
    "Verdict",
    "judge",
    "worst",
]

# Fewer labelled images cannot resolve a drop of a point: 2,000 give about +-0.8 where one image in twenty is decided
# differently (1.645 * sqrt(100) / 2000; see paired_drop).
TASK_IMAGES = 2000
# The smallest benchmark of super-resolution, Set5; fewer leave Student's t too few degrees of freedom to show anything.
TASK_PAIRS = 5
# PSNR-Y is judged where at least this share of the oracle's values lies within 0..1. The outputs of random weights are
# no pictures: clamped to that range they would show nothing, or one error times their size.
PICTURE_SHARE = 0.5

# What rounding a picture to 8 bits costs: an error of 1/255 uniformly spread has the power (1/255)^2 / 12. 58.92 dB.
_ROUNDING_8_BIT = 10 * math.log10(12 * 255**2)
# An error of two grey levels in the mean (RMS): 42.11 dB.
_TWO_LEVELS = 20 * math.log10(255 / 2)


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
        sqnr_db: Classifiers: signal-to-noise ratio of the logits, in dB, at every batch.
        dense_db: The same of every feature map or picture of a dense network.
        agreement: Classifiers: share of images with the oracle's top-1 class.
        psnr_y_db: Restoration: PSNR-Y of every image against the oracle's, in dB, at every batch.
        task: Whether the drop is gated too: of top-1 with labels, of PSNR-Y with pictures.
    """

    sqnr_db: float
    dense_db: float
    agreement: float
    psnr_y_db: float
    task: bool


# PSNR-Y, from what can be seen: an FP16 picture differs from the oracle's by no more than its own rounding to 8 bits.
# BF16 has 3 bits less, and stays within two grey levels; INT8's 40 dB are 2.55 levels, where differences of natural
# pictures begin to be seen. For FP32 the SQNR gate's own number: the power of a picture is at most 1, so that its PSNR
# is no smaller than its SQNR.
# Feature maps have no mean over tokens to take noise away: sound FP16 gives 57 to 64 dB at the stages of a Swin-T where
# the logits of the same weights have 62 (PyTorch half, random weights), so that dense networks have the engine's 50.
GATES: Mapping[GateName, Gate] = MappingProxyType(
    {
        GateName.FP32: Gate(sqnr_db=100.0, dense_db=100.0, agreement=0.999, psnr_y_db=100.0, task=True),
        GateName.FP16_NUMERICS: Gate(sqnr_db=60.0, dense_db=50.0, agreement=0.98, psnr_y_db=_ROUNDING_8_BIT, task=True),
        GateName.FP16_GRAPH: Gate(sqnr_db=60.0, dense_db=50.0, agreement=0.98, psnr_y_db=_ROUNDING_8_BIT, task=True),
        GateName.FP16_ENGINE: Gate(sqnr_db=50.0, dense_db=50.0, agreement=0.98, psnr_y_db=_ROUNDING_8_BIT, task=True),
        GateName.BF16: Gate(sqnr_db=35.0, dense_db=35.0, agreement=0.95, psnr_y_db=_TWO_LEVELS, task=True),
        GateName.INT8: Gate(sqnr_db=25.0, dense_db=25.0, agreement=0.90, psnr_y_db=40.0, task=True),
    }
)


@dataclass(frozen=True)
class Judgement:
    """One check of one gate.

    Attributes:
        check: `finite`, `sqnr`, `agreement` or `psnr-y`, `top1-drop` or `psnr-y-drop`.
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
    gate: Gate, distances: Mapping[int, Distance], drop: PairedDrop | PsnrDrop | None, max_drop: float
) -> tuple[Judgement, ...]:
    """Apply `gate` to what was measured.

    Args:
        gate: The thresholds.
        distances: Distance to the oracle at each batch size.
        drop: What the task loses, `None` where there is nothing to tell it by.
        max_drop: The margin for the drop: percentage points of top-1, or dB of PSNR-Y.

    Returns:
        One judgement a check. The drop is judged on `TASK_IMAGES` images or `TASK_PAIRS` pairs or more only.
    """
    found = []
    broken = [batch for batch, entry in distances.items() if not entry.finite]
    found.append(
        Judgement("finite", Verdict.FAIL, f"NaN or Inf at batch {', '.join(map(str, broken))}")
        if broken
        else Judgement("finite", Verdict.PASS, "no NaN, no Inf")
    )
    batch, lowest = min(distances.items(), key=lambda entry: entry[1].sqnr_db)
    needed = gate.dense_db if lowest.agreement is None else gate.sqnr_db
    output = f", output {lowest.worst_output}" if lowest.worst_output else ""
    found.append(
        Judgement(
            "sqnr",
            Verdict.PASS if lowest.sqnr_db >= needed else Verdict.FAIL,
            f"{lowest.sqnr_db:.1f} dB at batch {batch}{output}, gate {needed:g} dB",
        )
    )
    # The largest set gives the share its meaning; a single image decided differently at batch 1 does not.
    largest = max(distances.values(), key=lambda entry: entry.images)
    if largest.agreement is not None:
        found.append(
            Judgement(
                "agreement",
                _share_verdict(largest.agreement, largest.images, gate.agreement),
                f"{100 * largest.agreement:.2f} % of {largest.images} images, gate {100 * gate.agreement:g} %",
            )
        )
    found.extend(_judge_pictures(distances, gate.psnr_y_db))
    if gate.task and isinstance(drop, PairedDrop) and drop.images >= TASK_IMAGES:
        found.append(_judge_drop(drop, max_drop))
    if gate.task and isinstance(drop, PsnrDrop) and drop.images >= TASK_PAIRS:
        found.append(_judge_psnr_drop(drop, max_drop))
    return tuple(found)


def _share_verdict(seen: float, images: int, needed: float) -> Verdict:
    """A share below the gate fails only where chance does not explain it: one image of 64 is 1.6 %."""
    if seen >= needed:
        return Verdict.PASS
    return Verdict.FAIL if wilson(seen, images)[1] < needed else Verdict.INCONCLUSIVE


def _judge_pictures(distances: Mapping[int, Distance], needed: float) -> tuple[Judgement, ...]:
    """PSNR-Y against the oracle, where its outputs are pictures."""
    seen = {batch: entry.psnr_y_db for batch, entry in distances.items() if entry.psnr_y_db is not None}
    shares = [entry.picture_share for entry in distances.values() if entry.picture_share is not None]
    if not seen or min(shares) < PICTURE_SHARE:
        return ()
    batch, lowest = min(seen.items(), key=lambda entry: entry[1])
    verdict = Verdict.PASS if lowest >= needed else Verdict.FAIL
    return (
        Judgement("psnr-y", verdict, f"{lowest:.2f} dB for the worst image, at batch {batch}, gate {needed:.2f} dB"),
    )


def _judge_drop(drop: PairedDrop, margin: float) -> Judgement:
    detail = (
        f"{drop.drop:+.2f} points, one-sided 95 % bounds {drop.lower:+.2f} and {drop.upper:+.2f}, margin {margin:g}"
    )
    return Judgement("top1-drop", _bounds_verdict(drop.lower, drop.upper, margin), detail)


def _judge_psnr_drop(drop: PsnrDrop, margin: float) -> Judgement:
    assert drop.lower is not None and drop.upper is not None
    bounds = f"one-sided 95 % bounds {drop.lower:+.3f} and {drop.upper:+.3f}"
    if drop.spread == 0.0:
        bounds = f"the same for each of {drop.images} images, which bounds nothing for others"
    detail = f"{drop.drop:+.3f} dB, {bounds}, margin {margin:g} dB"
    return Judgement("psnr-y-drop", _bounds_verdict(drop.lower, drop.upper, margin), detail)


def _bounds_verdict(lower: float, upper: float, margin: float) -> Verdict:
    if upper <= margin:
        return Verdict.PASS
    return Verdict.FAIL if lower > margin else Verdict.INCONCLUSIVE


def worst(judgements: tuple[Judgement, ...]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS."""
    verdicts = {judgement.verdict for judgement in judgements}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
