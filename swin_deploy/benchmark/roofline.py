"""The roofline of a network on a device: the time that its arithmetic and its memory traffic alone would take.

    time = sum over its operations of max(FLOP / rate, bytes / bandwidth)

after Williams, Waterman and Patterson, CACM 52(4), 2009, applied to each operation by itself, since one cannot begin
before the one before it has ended. `operations` says what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from swin_deploy.benchmark.operations import Operation

__all__ = ["Ceilings", "roofline_ms", "share_of"]


@dataclass(frozen=True)
class Ceilings:
    """The most that a device does.

    Attributes:
        device: Its name.
        source: `measured`, or the published document that the figures are from.
        bandwidth: Bytes a second to and from memory, reads and writes together.
        rates: Operations a second by precision; one that is missing is not known.
    """

    device: str
    source: str
    bandwidth: float
    rates: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse what no device has."""
        for value in (self.bandwidth, *self.rates.values()):
            assert math.isfinite(value) and value > 0, f"a ceiling of {value}"

    def best_with(self, other: Ceilings) -> Ceilings:
        """The higher of each figure of two measurements: what held one back need not have held the other."""
        rates = {key: max(rate, other.rates.get(key, rate)) for key, rate in self.rates.items()}
        return replace(self, bandwidth=max(self.bandwidth, other.bandwidth), rates={**other.rates, **rates})

    def facts(self) -> dict[str, Any]:
        """JSON-ready, under the names of the fields."""
        return {**asdict(self), "rates": dict(self.rates)}


def roofline_ms(operations: Iterable[Operation], ceilings: Ceilings) -> float | None:
    """Milliseconds; `None` where the rate of an operation's precision is not known."""
    seconds = 0.0
    for operation in operations:
        rate = ceilings.rates.get(operation.precision)
        if rate is None:
            return None
        seconds += max(operation.flop / rate, operation.bytes / ceilings.bandwidth)
    return 1000 * seconds


def share_of(operations: Iterable[Operation], ceilings: Ceilings | None, measured_ms: float) -> float | None:
    """The roofline's time over the time measured, 1 at best; `None` without ceilings."""
    floor = None if ceilings is None else roofline_ms(operations, ceilings)
    return None if floor is None else floor / measured_ms
