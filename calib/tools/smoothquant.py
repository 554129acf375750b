"""SmoothQuant: divide an input's large channels into the weights, with a strength that is searched, off included.

scale_k = max|x_k|^a / max|W_k|^(1 - a). It is kept only where the error at the linear's output falls: on Swin the usual
strength of 0.5 is known to hurt. Source: Xiao et al., ICML 2023, arXiv 2211.10438.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.tools.moves import best_move, channel_ranges, normalised
from calib.tools.problem import LinearProblem, Move, Place, Trial

__all__ = ["SmoothQuant"]


@dataclass(frozen=True)
class SmoothQuant:
    """Scales without shift, for linears behind a LayerNorm, which takes them for free.

    Attributes:
        strengths: The exponents a that are tried, beside no smoothing.
    """

    strengths: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    name: str = "smoothquant"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        if problem.place is not Place.NORM:
            return problem.tried(Trial(self.name, "n/a", "no LayerNorm before it"))
        zero = np.zeros(len(problem.weight), np.float32)
        inputs = channel_ranges(problem, zero)
        weights = np.abs(problem.weight).max(axis=1)  # [channels]
        weights = np.maximum(weights, max(float(weights.max()), 1e-12) / 64)
        return best_move(
            self.name,
            problem,
            ((f"strength {a:g}", Move(zero, normalised(inputs**a / weights ** (1 - a)))) for a in self.strengths),
        )
