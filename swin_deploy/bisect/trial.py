"""What one mixture of precisions was measured to be, and what it has to be."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swin_deploy.device.distances import EXACT_DB, Distance
from swin_deploy.errors import UsageFault
from swin_deploy.parity.gates import Gate

__all__ = ["Metric", "Need", "Trial"]


@dataclass(frozen=True)
class Trial:
    """One measurement.

    Attributes:
        finite: Whether the outputs hold neither NaN nor Inf.
        sqnr_db: Against the oracle, in dB, the lowest of all batches and outputs; -`EXACT_DB` where not finite.
        agreement: Share of images with the oracle's class; `None` where the outputs are no classes.
        reason: Why it could not be run at all, or empty.
    """

    finite: bool
    sqnr_db: float
    agreement: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a ratio that compares with nothing; the distances never have one."""
        assert math.isfinite(self.sqnr_db), "SQNR saturates, and is never NaN"

    @classmethod
    def of(cls, distances: Mapping[int, Distance]) -> Trial:
        """From the distances to the oracle at each batch size."""
        largest = max(distances.values(), key=lambda entry: entry.images)
        finite = all(entry.finite for entry in distances.values())
        return cls(finite, min(entry.sqnr_db for entry in distances.values()), largest.agreement)

    @classmethod
    def impossible(cls, reason: str, *, classes: bool) -> Trial:
        """Of a graph that cannot be written."""
        return cls(False, -EXACT_DB, 0.0 if classes else None, reason)

    @property
    def noise(self) -> float:
        """Noise power by the outputs' power; infinite where the outputs are not finite."""
        if not self.finite:
            return math.inf
        return 0.0 if self.sqnr_db >= EXACT_DB else 10 ** (-self.sqnr_db / 10)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the log."""
        return dict(self.__dict__)


class Metric(enum.Enum):
    """What a mixture is judged by. Each wants finite outputs."""

    SQNR = "sqnr"
    AGREEMENT = "agreement"
    FINITE = "finite"


@dataclass(frozen=True)
class Need:
    """The gate that is to be passed.

    Attributes:
        metric: What is measured.
        least: dB for `SQNR`, a share of images for `AGREEMENT`; of no account for `FINITE`.
    """

    metric: Metric
    least: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what nothing can be compared with.

        Raises:
            UsageFault: the value is not finite, or no share.
        """
        share = self.metric is Metric.AGREEMENT
        if not math.isfinite(self.least) or (share and not 0 < self.least <= 1):
            raise UsageFault(
                f"--need {self.least:g} with --metric {self.metric.value}",
                needed="a share of the images, above 0 and up to 1" if share else "a finite number of dB",
            )

    @classmethod
    def of(cls, metric: Metric, value: float | None, gate: Gate, *, dense: bool) -> Need:
        """`value`, or the gate's own where none is given.

        Raises:
            UsageFault: a value for `FINITE`, or the agreement of outputs that are no classes.
        """
        if metric is Metric.FINITE:
            if value is not None:
                raise UsageFault("--need with --metric finite", needed="no value: outputs are finite or are not")
            return cls(metric)
        if metric is Metric.AGREEMENT:
            if dense:
                raise UsageFault(
                    "--metric agreement for a network without classes", needed="sqnr or finite", do="Use --metric sqnr"
                )
            return cls(metric, gate.agreement if value is None else value)
        return cls(metric, (gate.dense_db if dense else gate.sqnr_db) if value is None else value)

    def met(self, trial: Trial) -> bool:
        """Whether a measurement passes."""
        if not trial.finite:
            return False
        if self.metric is Metric.AGREEMENT:
            assert trial.agreement is not None, "refused for networks without classes"
            return trial.agreement >= self.least
        return self.metric is Metric.FINITE or trial.sqnr_db >= self.least

    def merit(self, trial: Trial) -> tuple[float, float]:
        """A larger one is better."""
        agreement = trial.agreement if self.metric is Metric.AGREEMENT else None
        return (agreement or 0.0, trial.sqnr_db)

    def words(self) -> str:
        """The gate in words."""
        if self.metric is Metric.FINITE:
            return "finite outputs"
        if self.metric is Metric.AGREEMENT:
            return f"agreement of {100 * self.least:g} %"
        return f"SQNR of {self.least:g} dB"

    def figure(self, trial: Trial) -> str:
        """A measurement in the metric's words."""
        if not trial.finite:
            return "not representable" if trial.reason else "NaN or Inf"
        if self.metric is Metric.AGREEMENT:
            assert trial.agreement is not None
            return f"{100 * trial.agreement:.2f} %"
        return "equal" if trial.sqnr_db >= EXACT_DB else f"{trial.sqnr_db:.1f} dB"
