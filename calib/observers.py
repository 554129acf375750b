"""Streaming observers: what range a tensor takes over many batches, in memory that does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from calib.errors import BadData

__all__ = ["OBSERVERS", "MinMaxObserver", "Observer", "PercentileObserver"]

_BLOCK = 1 << 20  # elements that the histogram takes at a time, so that its float64 copies stay at a few MiB


class Observer(Protocol):
    """Watches one tensor over all batches and proposes the magnitude that INT8 127 shall stand for."""

    @property
    def name(self) -> str:
        """The tensor's name, for errors."""
        ...

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values, of any shape.

        Raises:
            BadData: a value is NaN or infinite.
        """
        ...

    def amax(self) -> float:
        """The proposed magnitude, in the tensor's own unit; 0 if all values were 0.

        Raises:
            BadData: there were no values.
        """
        ...


class MinMaxObserver:
    """Proposes the largest magnitude seen, so that nothing is clipped.

    Args:
        name: The tensor's name, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen = 0
        self._largest = 0.0

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self._name

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values; see `Observer.update`."""
        if values.size:
            self._largest = max(self._largest, _largest_magnitude(self._name, values))
            self._seen += values.size

    def amax(self) -> float:
        """The largest magnitude; see `Observer.amax`."""
        _require_values(self._name, self._seen)
        return self._largest


class PercentileObserver:
    """Proposes the magnitude that a percentage of all values, zeros included, does not exceed.

    Clipping the rarest magnitudes buys finer steps for all others. The magnitudes are counted in a histogram whose
    range starts at the first batch's largest one. When a larger one comes, the range doubles, as often as needed, and
    the bins merge in pairs. Each bin holds its upper edge and not its lower one, so merged bins are exactly the bins
    that the wider range would have counted into: no count is ever re-estimated. The proposal is the upper edge of the
    bin in which the percentage is reached (at most the largest magnitude), so it is too large by less than one bin,
    which is 2 / `bins` of the largest magnitude at worst. A tensor with so many zeros that they alone make up the
    percentage keeps its largest magnitude.

    Args:
        name: The tensor's name, for errors.
        percentile: Above 0, at most 100. The default is the one that the INT8 tools in the field use most.
        bins: Even number of bins.

    Raises:
        BadData: `percentile` is out of range.
    """

    def __init__(self, name: str, percentile: float = 99.99, bins: int = 8192) -> None:
        if not 0 < percentile <= 100:
            raise BadData(f"a percentile of {percentile}", needed="more than 0 and at most 100")
        assert bins > 0 and bins % 2 == 0, "bins merge in pairs"
        self._name = name
        self._percentile = percentile
        self._counts = np.zeros(bins, np.int64)  # [bins]; bin i holds i * width < magnitude <= (i + 1) * width
        self._zeros = 0
        self._largest = 0.0
        self._range = 0.0  # 0 until a magnitude above 0 was seen

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self._name

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values; see `Observer.update`."""
        if not values.size:
            return
        largest = _largest_magnitude(self._name, values)
        self._largest = max(self._largest, largest)
        if self._range == 0.0:
            self._range = largest
        while self._range < largest:
            self._range *= 2
            half = len(self._counts) // 2
            self._counts[:half] = self._counts[0::2] + self._counts[1::2]
            self._counts[half:] = 0
        flat = values.reshape(-1)  # [elements]
        for start in range(0, flat.size, _BLOCK):
            self._count(np.abs(flat[start : start + _BLOCK]))

    def _count(self, magnitudes: npt.NDArray[np.float32]) -> None:
        positive = magnitudes[magnitudes > 0].astype(np.float64)
        self._zeros += magnitudes.size - positive.size
        if positive.size:
            # Halving the quotient is exact in binary, which is what makes counting and merging commute.
            bins = len(self._counts)
            index = np.ceil(positive / (self._range / bins)).astype(np.int64) - 1
            self._counts += np.bincount(np.minimum(index, bins - 1), minlength=bins)

    def amax(self) -> float:
        """The magnitude at the percentile; see `Observer.amax`."""
        total = self._zeros + int(self._counts.sum())
        _require_values(self._name, total)
        wanted = math.ceil(total * self._percentile / 100)
        if wanted <= self._zeros:
            # Magnitudes above 0 are rarer than what is to be clipped. Clipping them all would leave no tensor, and the
            # percentage says nothing about where among them to clip.
            return self._largest
        index = int(np.searchsorted(np.cumsum(self._counts) + self._zeros, wanted))
        return min((index + 1) * (self._range / len(self._counts)), self._largest)


def _largest_magnitude(name: str, values: npt.NDArray[np.float32]) -> float:
    if values.dtype.kind != "f":
        raise BadData(f"tensor {name} holds {values.dtype}", needed="floating-point activations")
    # Two reductions need no temporary of the tensor's size; NaN passes through both.
    largest = max(abs(float(values.min())), abs(float(values.max())))
    if not math.isfinite(largest):
        kind = "NaN" if bool(np.isnan(values).any()) else "infinite"
        raise BadData(
            f"tensor {name} holds {kind} values",
            needed="finite activations",
            do="Look for an overflow before this tensor, or a broken checkpoint or image",
        )
    return largest


def _require_values(name: str, count: int) -> None:
    if not count:
        raise BadData(f"tensor {name} has no values", needed="at least one calibration batch in which it is computed")


OBSERVERS: Mapping[str, Callable[[str], Observer]] = MappingProxyType(
    {"min-max": MinMaxObserver, "percentile": PercentileObserver}
)
"""How to observe, by the method's name; each entry makes an observer from a tensor's name."""
