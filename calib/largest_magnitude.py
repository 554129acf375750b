"""The largest magnitude of a tensor, and the refusal of values that have none."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from calib.errors import BadData

__all__ = ["LargestMagnitude", "largest_magnitude"]


def largest_magnitude(name: str, values: npt.NDArray[np.float32]) -> float:
    """The largest absolute value.

    Args:
        name: The tensor's name, for errors.
        values: Of any shape, at least one.

    Raises:
        BadData: a value is NaN or infinite, or `values` are not floating-point numbers.
    """
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


class LargestMagnitude:
    """The largest magnitude of one tensor over all batches.

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

    @property
    def seen(self) -> int:
        """How many values came, zeros included."""
        return self._seen

    @property
    def largest(self) -> float:
        """The largest magnitude, in the tensor's own unit."""
        return self._largest

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values, of any shape.

        Raises:
            BadData: as `largest_magnitude`.
        """
        self._take(values)

    def _take(self, values: npt.NDArray[np.float32]) -> float | None:
        """Count a batch in; returns its own largest magnitude, `None` where it has no values."""
        if not values.size:
            return None
        largest = largest_magnitude(self._name, values)
        self._largest = max(self._largest, largest)
        self._seen += values.size
        return largest
