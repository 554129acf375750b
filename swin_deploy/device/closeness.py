"""How close outputs must be to the oracle's, and the judgement: the same on the build machine and on the device."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device.distances import Distance, distance, worst_of
from swin_deploy.device.psnr_y import psnr_y
from swin_deploy.device.score_interval import wilson

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.float32]]

__all__ = ["PICTURE_SHARE", "Closeness", "Judgement", "Verdict", "judge_closeness", "outputs_distance", "worst"]

# PSNR-Y is judged where at least this share of the oracle's values lies within 0..1. The outputs of random weights are
# no pictures: clamped to that range they would show nothing, or one error times their size.
PICTURE_SHARE = 0.5


class Verdict(enum.Enum):
    """What was found of one artifact."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"  # the margin lies inside the interval: more images would tell
    SKIPPED = "SKIPPED"  # not executed, so nothing is known
    INFO = "INFO"  # executed and shown, not gated


@dataclass(frozen=True)
class Judgement:
    """One check of one gate.

    Attributes:
        check: `finite`, `sqnr`, `agreement` or `psnr-y`, `top1-drop` or `psnr-y-drop`, `calibration-fit`,
            `weight-scales`; on a device also `slots` and those of the audit.
        verdict: What was found.
        detail: What was seen and what was needed.
    """

    check: str
    verdict: Verdict
    detail: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest and in `finish.json`."""
        return {"check": self.check, "verdict": self.verdict.value, "detail": self.detail}


@dataclass(frozen=True)
class Closeness:
    """The least that outputs must reach against the oracle's.

    Attributes:
        sqnr_db: Classifiers: signal-to-noise ratio of the logits, in dB, at every batch.
        dense_db: The same of every feature map or picture of a dense network.
        agreement: Classifiers: share of images with the oracle's top-1 class.
        psnr_y_db: Restoration: PSNR-Y of every image against the oracle's, in dB, at every batch.
    """

    sqnr_db: float
    dense_db: float
    agreement: float
    psnr_y_db: float

    def facts(self) -> dict[str, float]:
        """As a bundle carries it: these four numbers, of a subclass too."""
        return {name: float(value) for name, value in asdict(self).items() if name in Closeness.__dataclass_fields__}


def outputs_distance(candidate: Arrays, reference: Arrays, *, classes: bool, pictures: bool) -> Distance:
    """Compare all outputs of a network on the same images; several are judged by the worst.

    Args:
        candidate: Outputs by name, each [images, ...].
        reference: The oracle's, of the same names and shapes.
        classes: Whether the outputs are logits.
        pictures: Whether the one output is a restored image [images, C, H, W].

    Raises:
        ValueError: names or shapes differ.
    """
    if candidate.keys() != reference.keys():
        raise ValueError(f"the outputs {list(candidate)} and {list(reference)} cannot be compared")
    found = worst_of({name: distance(candidate[name], reference[name], classes=classes) for name in reference})
    if not pictures:
        return found
    (name,) = reference
    inside = [float(np.mean((image >= 0) & (image <= 1))) for image in reference[name]]
    lowest = min(psnr_y(seen, wanted) for seen, wanted in zip(candidate[name], reference[name]))
    return replace(found, psnr_y_db=lowest, picture_share=float(np.mean(inside)))


def judge_closeness(gate: Closeness, distances: Mapping[int, Distance]) -> tuple[Judgement, ...]:
    """Apply `gate` to the distance to the oracle at each batch size; one judgement a check."""
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


def worst(judgements: tuple[Judgement, ...]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS."""
    verdicts = {judgement.verdict for judgement in judgements}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
