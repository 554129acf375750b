"""The magnitude whose scale gives the least mean squared quantization error, rounding and clipping together."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from calib.histogram import MagnitudeHistogram

__all__ = ["squared_error_magnitude"]

# Candidates a factor of 2**(1/32) apart: the best one is within 1.1 % of the optimum, and the error is flat there.
# Eight octaves below the largest magnitude the histogram has 16 to 32 bins left.
_STEPS_AN_OCTAVE = 32
_OCTAVES = 8


def squared_error_magnitude(histogram: MagnitudeHistogram, largest: float = 127.0) -> float:
    """The clipping magnitude with the least expected squared error.

    Magnitudes are taken as evenly spread inside their bin, for which the mean of the squared error is a closed form:
    no bin is represented by one point, whose rounding error would be an accident of where it lies.

    The negative side is taken to end at -`largest`, though INT8 goes one step further, as magnitudes have no sign.

    Args:
        histogram: The tensor's magnitudes.
        largest: The code that the magnitude becomes: 127 for INT8, with whole steps in between.
    """
    counts, width = histogram.up_to_largest(histogram.bins)  # [bins]
    if not counts.size:
        return 0.0
    # The largest magnitude is 1, and the last bin is filled up to it and not beyond.
    upper = np.minimum(np.arange(1, len(counts) + 1, dtype=np.float64) * width / histogram.largest, 1.0)  # [bins]
    edges = np.concatenate([np.zeros(1), upper])  # [bins + 1]
    density = counts / np.diff(edges)  # [bins]
    steps = range(_OCTAVES * _STEPS_AN_OCTAVE + 1)
    candidates = [math.pow(2.0, -step / _STEPS_AN_OCTAVE) for step in steps]  # the widest first
    errors = [_squared_error(edges, density, candidate / largest, largest) for candidate in candidates]
    return candidates[int(np.argmin(errors))] * histogram.largest


def _squared_error(
    edges: npt.NDArray[np.float64], density: npt.NDArray[np.float64], step: float, largest: float
) -> float:
    """The sum over all values of (x - rounded x)**2 for a step.

    The integral of (u - round(u))**2 from 0 to n + r, with n a whole number and |r| <= 1/2, is n / 12 + r**3 / 3.
    With n held at the last code the same formula covers what is clipped.
    """
    scaled = edges / step  # [bins + 1]
    codes = np.minimum(np.rint(scaled), largest)
    integral = codes / 12 + (scaled - codes) ** 3 / 3  # [bins + 1]
    return float(np.diff(integral) @ density) * step**3
