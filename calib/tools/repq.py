"""RepQ-style reparameterisation: calibrate a LayerNorm's output channel by channel, then make it one step again.

Each channel is shifted to the middle of its range and divided by it, which the LayerNorm's own scale and shift take
over, and the next linear takes back. Source: Li et al., RepQ-ViT, ICCV 2023, arXiv 2212.08254. (There for asymmetric
quantization; here the middle of the range becomes zero.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.tools.moves import best_move, channel_ranges, normalised
from calib.tools.problem import LinearProblem, Move, Place, Trial

__all__ = ["RepQ"]


@dataclass(frozen=True)
class RepQ:
    """Full equalisation of the channels behind a LayerNorm; kept only where the output's error falls."""

    name: str = "repq"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        if problem.place is not Place.NORM:
            return problem.tried(Trial(self.name, "n/a", "no LayerNorm before it"))
        if problem.bias is None:
            return problem.tried(Trial(self.name, "n/a", "no bias to take the shift"))
        middle: np.ndarray = (problem.sample.lowest + problem.sample.highest) / 2
        move = Move(middle, normalised(channel_ranges(problem, middle)))
        return best_move(self.name, problem, [("whole ranges", move)])
