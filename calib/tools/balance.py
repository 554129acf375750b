"""Balance: shift each channel of a linear's input to the middle of its range, and divide its range into the weights.

It joins three known ideas and takes them to every linear that has a way to apply them. The *shift* is Outlier
Suppression+'s (Wei et al., EMNLP 2023, arXiv 2304.09145): GELU's output lies between -0.17 and some large number, so
that symmetric INT8 spends half its codes on nothing; around the middle of each channel's range it has all 256. The
*scale* is SmoothQuant's with the strength searched. And *where* they are applied is what a Swin block offers: the
LayerNorm before qkv and fc1, the value weights before proj (attention is an average, so that a shift and a scale of a
value channel come out as they went in), and before fc2, or where a post-norm network has no LayerNorm, two operations
that engines fuse into the kernel which makes the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calib.tools.moves import best_move, channel_ranges, normalised
from calib.tools.problem import Array, LinearProblem, Move, Place, Trial

__all__ = ["Balance"]


@dataclass(frozen=True)
class Balance:
    """Shift and scale, kept only where the error at the linear's output falls.

    Attributes:
        strengths: The exponents of the channels' ranges that are tried, with and without the shift.
    """

    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    name: str = "balance"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        if problem.place is Place.NONE:
            return problem.tried(Trial(self.name, "n/a", "nothing before it can take a scale"))
        return best_move(self.name, problem, self._candidates(problem))

    def _candidates(self, problem: LinearProblem) -> Iterator[tuple[str, Move]]:
        zero = np.zeros(len(problem.weight), np.float32)
        shifts: list[tuple[str, Array]] = [("no shift", zero)]
        if problem.bias is not None:
            middle: Array = (problem.sample.lowest + problem.sample.highest) / np.float32(2)
            shifts.append(("middle", middle))
        for word, shift in shifts:
            ranges = channel_ranges(problem, shift)
            for strength in self.strengths:
                if strength or word == "middle":
                    yield f"{word}, strength {strength:g}", Move(shift, normalised(ranges**strength))
