"""The gates: how close an artifact must be to the oracle. Data in one table, and the function that judges by it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from swin_deploy.artifact import Precision
from swin_deploy.device.closeness import PICTURE_SHARE, Closeness, Judgement, Verdict, judge_closeness, worst
from swin_deploy.device.distances import EXACT_DB, Distance
from swin_deploy.parity.paired_drop import PairedDrop
from swin_deploy.parity.psnr_drop import PsnrDrop
from swin_deploy.quantization.block_noise import most_noise
from swin_deploy.quantization.calibration_fit import LinearFit
from swin_deploy.quantization.measure import QuantizationMeasure

__all__ = [
    "FIT",
    "GATES",
    "GATE_OF_ENGINE",
    "GATE_OF_GRAPH",
    "GATE_OF_NUMERICS",
    "PICTURE_SHARE",
    "TASK_IMAGES",
    "TASK_PAIRS",
    "FitLimits",
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

# What rounding a picture to 8 bits costs: an error of 1/255 uniformly spread has the power (1/255)^2 / 12. 58.92 dB.
_ROUNDING_8_BIT = 10 * math.log10(12 * 255**2)
# An error of two grey levels in the mean (RMS): 42.11 dB.
_TWO_LEVELS = 20 * math.log10(255 / 2)


class GateName(enum.Enum):
    """Which row of the table judges a view of an artifact."""

    FP32 = "fp32"
    FP16_NUMERICS = "fp16-numerics"  # torch half: every operator rounds
    FP16_GRAPH = "fp16-graph"  # ONNX Runtime on a CPU: rounded weights, FP32 arithmetic
    FP16_ENGINE = "fp16-engine"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"


@dataclass(frozen=True)
class FitLimits:
    """The most that the steps of a Q/DQ graph may cost against better ones; see `swin_deploy.quantization`.

    Attributes:
        loss_db: One linear: noise of its input with the stored step, over the noise with the best for these images.
        broad_db: The same of so many linears at once as `broad_share` says.
        broad_share: Of all quantized linears; rounded up.
        weight_loss_db: One linear: noise at its output with the stored weights, over the noise with the float ones
            rounded to the nearest.
        idle: One linear: share of its channels whose codes leave half of the grid unused.
    """

    loss_db: float
    broad_db: float
    broad_share: float
    weight_loss_db: float
    idle: float


# Both CIFAR-10 models, 40 linears each, judged on 64 test images. Sound calibrations on 100 to 512 images (several
# seeds, range methods, tools) lose 7.9 dB at most in their worst linear and 3.7 in the fifth worst. With the default
# tools noise images lose 35 and 23 to 30, a wrong mean and std 19 to 34 and 14 to 30; without tools noise loses 13 and
# 7.4 at least. Swapped channels (BGR) lose 5 to 8 and 4 to 5, as 100 images do: they are hardly wrong. One step times
# or over 8 is 15 at least. With 32 images a sound one loses 11 to 15, and fails.
# Weights: 0.7 dB at most with every tool, in FP8 too; scales swapped between linears cost 19 at least.
FIT = FitLimits(loss_db=10.0, broad_db=6.0, broad_share=0.1, weight_loss_db=10.0, idle=0.1)


@dataclass(frozen=True)
class Gate(Closeness):
    """The least an artifact must reach: closeness to the oracle, and what only the build machine can judge.

    Attributes:
        task: Whether the drop is gated too: of top-1 with labels, of PSNR-Y with pictures.
        fit: Q/DQ graphs: what their steps may cost, where that was measured.
    """

    task: bool
    fit: FitLimits | None = None


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
        GateName.INT8: Gate(sqnr_db=25.0, dense_db=25.0, agreement=0.90, psnr_y_db=40.0, task=True, fit=FIT),
        GateName.FP8: Gate(sqnr_db=25.0, dense_db=25.0, agreement=0.90, psnr_y_db=40.0, task=True, fit=FIT),
    }
)

# The gate of each precision: as a graph whose operators may compute in FP32, as arithmetic that rounds, as an engine.
GATE_OF_GRAPH: Mapping[Precision, GateName] = MappingProxyType(
    {
        Precision.FP32: GateName.FP32,
        Precision.FP16: GateName.FP16_GRAPH,
        Precision.BF16: GateName.BF16,
        Precision.INT8: GateName.INT8,
        Precision.FP8: GateName.FP8,
    }
)
GATE_OF_NUMERICS: Mapping[Precision, GateName] = MappingProxyType(
    {**GATE_OF_GRAPH, Precision.FP16: GateName.FP16_NUMERICS}
)
GATE_OF_ENGINE: Mapping[Precision, GateName] = MappingProxyType({**GATE_OF_GRAPH, Precision.FP16: GateName.FP16_ENGINE})


def judge(
    gate: Gate,
    distances: Mapping[int, Distance],
    drop: PairedDrop | PsnrDrop | None,
    max_drop: float,
    quantization: QuantizationMeasure | None = None,
) -> tuple[Judgement, ...]:
    """Apply `gate` to what was measured.

    Args:
        gate: The thresholds.
        distances: Distance to the oracle at each batch size.
        drop: What the task loses, `None` where there is nothing to tell it by.
        max_drop: The margin for the drop: percentage points of top-1, or dB of PSNR-Y.
        quantization: What was measured inside a Q/DQ graph.

    Returns:
        One judgement a check. The drop is judged on `TASK_IMAGES` images or `TASK_PAIRS` pairs or more only, the fit of
        a calibration on images of its kind only.
    """
    found = [*judge_closeness(gate, distances)]
    if gate.task and isinstance(drop, PairedDrop) and drop.images >= TASK_IMAGES:
        found.append(_judge_drop(drop, max_drop))
    if gate.task and isinstance(drop, PsnrDrop) and drop.images >= TASK_PAIRS:
        found.append(_judge_psnr_drop(drop, max_drop))
    if gate.fit is not None and quantization is not None and quantization.linears:
        if quantization.representative:
            found.append(_judge_fit(quantization, gate.fit))
        found.append(_judge_weights(quantization, gate.fit))
    return tuple(found)


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


def _judge_fit(measured: QuantizationMeasure, limits: FitLimits) -> Judgement:
    """Whether the inputs' steps fit the images: one step far off, or many a little."""
    ranked = sorted(measured.linears, key=lambda linear: linear.loss_db, reverse=True)
    worst_one, many = ranked[0], math.ceil(limits.broad_share * len(ranked))
    far = [linear for linear in measured.linears if linear.loss_db > limits.loss_db]
    if far:
        # The first in the network's order: what comes behind it may suffer from it.
        others = f" ({len(far) - 1} others behind it more than {limits.loss_db:g})" if len(far) > 1 else ""
        detail = (
            f"{_place(far[0])} loses {far[0].loss_db:.1f} dB against the best step for these images{others}, gate "
            f"{limits.loss_db:g} dB{_where(measured)}"
        )
        return Judgement("calibration-fit", Verdict.FAIL, detail)
    wide = [linear for linear in measured.linears if linear.loss_db > limits.broad_db]
    if len(wide) >= many:
        detail = (
            f"{len(wide)} of {len(ranked)} linears lose more than {limits.broad_db:g} dB against the best steps for "
            f"these images, gate {many - 1} linears, the worst {_place(worst_one)} with {worst_one.loss_db:.1f} dB: it "
            f"was calibrated on other images or through another preprocessing{_where(measured)}"
        )
        return Judgement("calibration-fit", Verdict.FAIL, detail)
    detail = (
        f"at most {worst_one.loss_db:.1f} dB lost against the best step for these images, at {worst_one.module}, gate "
        f"{limits.loss_db:g} dB"
    )
    return Judgement("calibration-fit", Verdict.PASS, detail)


def _judge_weights(measured: QuantizationMeasure, limits: FitLimits) -> Judgement:
    """Whether the codes and scales stand for the float graph's weights; the first linear that does not is named."""
    for linear in measured.linears:
        wrong = ""
        if linear.weight_loss_db is not None and linear.weight_loss_db > limits.weight_loss_db:
            loss = f"{linear.weight_loss_db:.1f} dB against the float graph's rounded to the nearest"
            wrong = f"lose {loss}, gate {limits.weight_loss_db:g} dB"
        elif linear.idle > limits.idle:
            share = f"{100 * linear.idle:.0f} % of its channels"
            wrong = f"leave half of the grid unused in {share}, gate {100 * limits.idle:g} %"
        if wrong:
            detail = f"{_place(linear)}: its weights {wrong}{_where(measured)}"
            return Judgement("weight-scales", Verdict.FAIL, detail)
        if linear.loss_db > limits.loss_db:
            # Behind a wrong step inputs are not what they ought to be, which is no doing of the weights there.
            break
    known = [linear.weight_loss_db for linear in measured.linears if linear.weight_loss_db is not None]
    detail = "codes fill their grid"
    if known:
        detail = f"at most {max(known):.1f} dB lost by the weights of one linear, gate {limits.weight_loss_db:g} dB"
    return Judgement("weight-scales", Verdict.PASS, detail)


def _place(linear: LinearFit) -> str:
    return f"{linear.module} (block {linear.block})" if linear.block else linear.module


def _where(measured: QuantizationMeasure) -> str:
    """Where damage begins, as the end of a sentence."""
    found = most_noise(measured.blocks)
    if found is None:
        return ""
    block, before, behind = found
    ratio = f"{behind:.1f} dB behind it" + (f", {before:.1f} before" if before < EXACT_DB else "")
    return f"; most noise enters at {block}: SQNR {ratio}"
