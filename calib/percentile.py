"""The magnitude that a percentage of a tensor's values does not exceed."""

from __future__ import annotations

import math

import numpy as np

from calib.errors import BadData
from calib.histogram import MagnitudeHistogram

__all__ = ["percentile_magnitude"]


def percentile_magnitude(histogram: MagnitudeHistogram, percentile: float = 99.99) -> float:
    """The magnitude at a percentage of all values, zeros included.

    Clipping the rarest magnitudes buys finer steps for all others. The answer is the upper edge of the bin in which the
    percentage is reached (at most the largest magnitude), so it is too large by less than one bin, which is 2 / bins of
    the largest magnitude at worst. A tensor with so many zeros that they alone make up the percentage keeps its largest
    magnitude: the percentage says nothing about where among the others to clip.

    Args:
        histogram: The tensor's magnitudes.
        percentile: Above 0, at most 100. The default is the one that the INT8 tools in the field use most.

    Raises:
        BadData: `percentile` is out of range.
    """
    if not 0 < percentile <= 100:
        raise BadData(f"a percentile of {percentile}", needed="more than 0 and at most 100")
    wanted = math.ceil(histogram.seen * percentile / 100)
    if wanted <= histogram.zeros:
        return histogram.largest
    index = int(np.searchsorted(np.cumsum(histogram.counts) + histogram.zeros, wanted))
    return min((index + 1) * histogram.width, histogram.largest)
