"""A moving average of each batch's largest magnitude: one odd batch does not set the range alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calib.largest_magnitude import LargestMagnitude

__all__ = ["MovingAverage"]


class MovingAverage(LargestMagnitude):
    """The exponentially weighted mean of the batches' largest magnitudes.

    A batch counts `momentum` times as much as the one after it, and the weights add up to 1. Without that last part
    (PyTorch's and ONNX Runtime's averages start at the first batch's value and take in 1 % of each further one) the
    first batch would hold most of the weight, since calibration has tens of batches and not thousands.

    The result depends on the batches' size and order, which is this method's nature.

    Source: Jacob et al., arXiv 1712.05877, section 3.1, for the average; PaddlePaddle's `moving_average_abs_max` for
    the momentum and for weights that add up to 1 (`accum / state`).

    Args:
        name: The tensor's name, for errors.
        momentum: At least 0 and below 1.
    """

    def __init__(self, name: str, momentum: float = 0.9) -> None:
        assert 0 <= momentum < 1, "a weight that falls with age"
        super().__init__(name)
        self._momentum = momentum
        self._sum = 0.0
        self._weight = 0.0

    @property
    def average(self) -> float:
        """The average, in the tensor's own unit; 0 before the first batch."""
        return self._sum / self._weight if self._weight else 0.0

    def update(self, values: npt.NDArray[np.float32]) -> None:
        """Take in one batch's values, of any shape; one without values is no batch.

        Raises:
            BadData: as `largest_magnitude`.
        """
        largest = self._take(values)
        if largest is None:
            return
        self._sum = self._momentum * self._sum + largest
        self._weight = self._momentum * self._weight + 1
