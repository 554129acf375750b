"""Whether a checkpoint's numbers stay within FP16, from a run of its deployment form in FP32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from swin_deploy.doctor.line import Line, Verdict

if TYPE_CHECKING:
    from swin_deploy.model.activation_range import Peak

__all__ = ["range_lines"]

# Other images than those that were looked at have larger activations: less room than this is not enough to be sure.
_ROOM = 8.0
_NAMED = 5


def range_lines(peaks: Sequence[Peak], weights: Sequence[Peak], images: str) -> Iterator[Line]:
    """One line on activations, one on weights, and one with the largest of each kind.

    Args:
        peaks: Of activations, in the order in which they are computed.
        weights: Of weights and constants, likewise.
        images: What was shown, in words.
    """
    yield _fp16("FP16 range", peaks, f"activations on {images}")
    yield _fp16("FP16 weights", weights, "weights and constants")
    largest: dict[str, Peak] = {}
    for peak in sorted(peaks, key=lambda peak: -peak.largest):
        largest.setdefault(peak.kind, peak)
    listed = "; ".join(f"{kind} {_said(peak)}" for kind, peak in largest.items())
    yield Line("checkpoint", "magnitudes", Verdict.OK, f"largest by kind: {listed}")


def _fp16(check: str, peaks: Sequence[Peak], what: str) -> Line:
    from swin_deploy.model.activation_range import FP16_LARGEST

    beyond = [peak for peak in peaks if not peak.fits_fp16]
    if beyond:
        # The first ones: behind them the stream is large whatever the later layers do.
        named = ", ".join(f"{_said(peak)} ({peak.kind})" for peak in beyond[:_NAMED])
        more = f" and {len(beyond) - _NAMED} more behind" if len(beyond) > _NAMED else ""
        return Line(
            "checkpoint",
            check,
            Verdict.FAIL,
            f"{what} go beyond FP16's {FP16_LARGEST:.0f}, first {named}{more}",
            "Build with --bf16, which has FP32's range (and 8 bits of precision, so look at its gate), or keep these "
            "layers in FP32: `swin-deploy bisect` finds how few",
        )
    worst = max(peaks, key=lambda peak: peak.largest)
    seen = f"{what} reach {_said(worst)}"
    room = FP16_LARGEST / worst.largest if worst.largest else float("inf")
    if room < _ROOM:
        return Line(
            "checkpoint",
            check,
            Verdict.WARN,
            f"{seen}: FP16's {FP16_LARGEST:.0f} is only {room:.1f} times that",
            "Look again with --data and images of your own, and prefer --bf16 if they come closer",
        )
    return Line("checkpoint", check, Verdict.OK, f"{seen}; FP16 ends at {FP16_LARGEST:.0f}")


def _said(peak: Peak) -> str:
    number = "infinity or NaN" if peak.largest == float("inf") else f"{peak.largest:.4g}"
    return f"{number} in {peak.layer or 'the network itself'}"
