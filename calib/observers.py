"""The ways to choose a tensor's range: what each of them watches over the batches, and how it chooses in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from calib.entropy import entropy_magnitude
from calib.errors import BadData
from calib.histogram import MagnitudeHistogram
from calib.largest_magnitude import LargestMagnitude
from calib.moving_average import MovingAverage
from calib.percentile import percentile_magnitude
from calib.squared_error import squared_error_magnitude

__all__ = ["OBSERVERS", "Method", "Observer", "Statistic"]


class Statistic(Protocol):
    """Watches one tensor over all batches, in memory that does not grow with them."""

    @property
    def name(self) -> str:
        """The tensor's name, for errors."""
        ...

    @property
    def seen(self) -> int:
        """How many values came."""
        ...

    @property
    def largest(self) -> float:
        """The largest magnitude, in the tensor's own unit."""
        ...

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values, of any shape.

        Raises:
            BadData: a value is NaN or infinite.
        """
        ...


S = TypeVar("S", bound=Statistic)


@dataclass(frozen=True)
class Observer(Generic[S]):
    """Proposes the magnitude that INT8 127 shall stand for, of one tensor.

    Attributes:
        statistic: What is watched; observers whose methods watch the same may share one, which is then fed once.
        choose: From the statistic to the magnitude.
    """

    statistic: S
    choose: Callable[[S], float]

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.statistic.name

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values; see `Statistic.update`."""
        self.statistic.update(values)

    def amax(self) -> float:
        """The proposed magnitude, in the tensor's own unit: at most the largest one; 0 if all values were 0.

        Raises:
            BadData: there were no values.
        """
        if not self.statistic.seen:
            raise BadData(
                f"tensor {self.name} has no values", needed="at least one calibration batch in which it is computed"
            )
        return min(self.choose(self.statistic), self.statistic.largest)


@dataclass(frozen=True)
class Method(Generic[S]):
    """How to observe. Called with a tensor's name it makes an observer.

    Attributes:
        watch: Makes the statistic of a tensor from its name. Methods with the same one share the statistic.
        choose: From the statistic to the magnitude. Give options with `functools.partial`.
    """

    watch: Callable[[str], S]
    choose: Callable[[S], float]

    def __call__(self, name: str) -> Observer[S]:
        """An observer of the tensor `name`, with a statistic of its own."""
        return Observer(self.watch(name), self.choose)


def _largest(statistic: LargestMagnitude) -> float:
    return statistic.largest


def _average(statistic: MovingAverage) -> float:
    return statistic.average


OBSERVERS: Mapping[str, Method[Any]] = MappingProxyType(
    {
        "min-max": Method(LargestMagnitude, _largest),
        "moving-average": Method(MovingAverage, _average),
        "percentile": Method(MagnitudeHistogram, percentile_magnitude),
        "entropy": Method(MagnitudeHistogram, entropy_magnitude),
        "mse": Method(MagnitudeHistogram, squared_error_magnitude),
    }
)
"""How to observe, by the method's name; each entry makes an observer from a tensor's name."""
