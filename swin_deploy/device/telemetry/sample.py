"""What one look at a board's sensors gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Sample"]


@dataclass(frozen=True)
class Sample:
    """One reading of every sensor that answered; one that did not is not in here.

    Attributes:
        power_w: Watts by rail.
        temperatures_c: Degrees Celsius by sensor.
        clocks_mhz: MHz by unit: `gpu`, `cpu` (mean of the cores that are on), `memory`.
        throttled: What this reading says of clocks that are held back, as whole sentences.
    """

    power_w: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    throttled: tuple[str, ...] = ()
