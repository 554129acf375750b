"""What a plan is judged by: the noise at the network's outputs and the damage to its task, on one set of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from calib.errors import BadData

__all__ = ["Choice", "Figures", "PlanJudge", "TaskDamage"]

Choice = Mapping[str, str]
"""Which linears are quantized and how: module to the name of a variant (a precision, a clipping, whatever the judge
knows by that name). A module that is absent stays in float, so the empty choice is the float network."""

# What the parity measurements give for equal outputs, which have no noise: JSON has no infinity.
_EXACT_DB = 999.0


@dataclass(frozen=True)
class TaskDamage:
    """What a plan costs the task against the original network.

    Attributes:
        drop: The measured loss, in percentage points; below 0 for a gain.
        upper: Its one-sided upper confidence bound, in percentage points.
    """

    drop: float
    upper: float

    def __post_init__(self) -> None:
        """Refuse what no measurement gives.

        Raises:
            BadData: a figure is not finite, or the bound lies below the estimate.
        """
        if not (math.isfinite(self.drop) and math.isfinite(self.upper) and self.upper >= self.drop):
            raise BadData(
                f"a drop of {self.drop} with an upper bound of {self.upper}",
                needed="finite percentage points, the bound not below the drop",
            )


@dataclass(frozen=True)
class Figures:
    """One plan's measurement.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio at the outputs, in dB. It saturates: 999 dB stands for outputs that
            are equal, -999 dB for outputs that are not finite.
        task: The damage to the task; `None` without labels.
    """

    sqnr_db: float
    task: TaskDamage | None

    def __post_init__(self) -> None:
        """Refuse a ratio that compares with nothing.

        Raises:
            BadData: it is NaN or infinite.
        """
        if not math.isfinite(self.sqnr_db):
            raise BadData(f"an SQNR of {self.sqnr_db} dB", needed="a finite number; 999 for equal outputs")

    @property
    def noise(self) -> float:
        """Noise power by the outputs' power. Of independent noises it adds up, which decibels do not."""
        return 0.0 if self.sqnr_db >= _EXACT_DB else float(10 ** (-self.sqnr_db / 10))


class PlanJudge(Protocol):
    """Quantizes a network as a choice says and runs it on a fixed set of images.

    Both methods are asked about the same choice one after the other, so that one run can answer both.
    """

    def sqnr_db(self, choice: Choice) -> float:
        """The ratio at the outputs, in dB; 999 for equal outputs."""
        ...

    def task(self, choice: Choice) -> TaskDamage | None:
        """The damage to the task; `None` without labels, and then for every choice."""
        ...
