"""The magnitude whose clipped, coarsened histogram loses the least information: TensorRT's entropy calibration."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from calib.errors import BadData
from calib.histogram import MagnitudeHistogram

__all__ = ["entropy_magnitude"]

_BINS_A_LEVEL = 16  # 2048 bins for the 128 levels of INT8, as TensorRT's calibrator has


def entropy_magnitude(histogram: MagnitudeHistogram, largest: float = 127.0) -> float:
    """The clipping magnitude of the smallest Kullback-Leibler divergence.

    For each number i of bins, from as many as there are levels up to all, P is the first i bins with everything above
    added to the last of them, and Q is the first i bins merged into `largest` + 1 levels and spread evenly again over
    those bins that were not empty. Both are normalised, and the i of the least sum of P log(P / Q) is chosen; of
    equals the widest. An i whose last bin is empty though values lie above it is out: Q has nothing where P has mass.

    Zeros stay out of it, as in TensorRT's calibrator, since every scale represents them exactly.

    The bins matter. With as many as levels there is one candidate, the largest magnitude, and entropy becomes min-max
    without a word (ONNX Runtime's default of 128 bins did that); with a multiple such as TensorRT's 2048 there is a
    choice, but no candidate lies below 1/16 of the largest magnitude. Here it is 1/8 to 1/16, since the histogram's
    range is a power of two.

    Source: Migacz, "8-bit Inference with TensorRT", GTC 2017; the cut into levels as in NVIDIA's own Python form of it
    (`_compute_amax_entropy` of pytorch-quantization and ModelOpt).

    Args:
        histogram: The tensor's magnitudes.
        largest: The code that the magnitude becomes: 127 for INT8.

    Raises:
        BadData: the histogram has too few bins for a choice.
    """
    levels = int(largest) + 1
    most = _BINS_A_LEVEL * levels
    if histogram.bins < most:
        raise BadData(
            f"an entropy calibration with {histogram.bins} bins for {levels} levels",
            needed=f"at least {most} bins; with few of them the method becomes min-max",
        )
    counts, width = histogram.up_to_largest(most)
    if not counts.size:
        return 0.0
    divergences = _divergences(counts, levels)  # [candidates]
    best = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return min((levels + best) * width, histogram.largest)


def _divergences(counts: npt.NDArray[np.int64], levels: int) -> npt.NDArray[np.float64]:
    """The divergence for the first `levels`, `levels` + 1, ... and all bins, [bins - levels + 1].

    Written out, P log P and P log Q are sums over runs of bins, so cumulated sums give all candidates at once.
    """
    total = float(counts.sum())
    kept = np.arange(levels, len(counts) + 1)  # [candidates]
    inside = np.concatenate([[0], np.cumsum(counts)])  # [1 + bins]
    filled = np.concatenate([[0], np.cumsum(counts > 0)])  # [1 + bins]
    self_terms = np.concatenate([[0.0], np.cumsum(_times_log(counts))])  # [1 + bins]

    last = counts[kept - 1]  # [candidates]
    clipped = inside[-1] - inside[kept]  # [candidates]
    p_log_p = self_terms[kept - 1] + _times_log(last + clipped)  # [candidates]

    # Level g holds the bins from ceil(g * kept / levels) on.
    edges = -(-np.arange(levels + 1) * kept[:, None] // levels)  # [candidates, levels + 1]
    mass = np.diff(inside[edges], axis=1)  # [candidates, levels]
    spread = np.log(np.maximum(mass, 1)) - np.log(np.maximum(np.diff(filled[edges], axis=1), 1))  # log Q
    p_log_q = (mass * spread).sum(axis=1) + clipped * spread[:, -1]  # [candidates]

    normal = np.log(np.maximum(inside[kept], 1)) - math.log(total)
    divergences: npt.NDArray[np.float64] = (p_log_p - p_log_q) / total + normal
    divergences[(last == 0) & (clipped > 0)] = np.inf
    return divergences


def _times_log(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Each count times its logarithm, 0 for 0."""
    values = counts.astype(np.float64)
    return values * np.log(np.maximum(values, 1.0))
