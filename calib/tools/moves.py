"""Find the move of a linear's input that its quantization gains from: the part that the tools of this kind share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from calib.grid import weight_steps
from calib.tools.problem import ROWS, Array, LinearProblem, Move, Trial
from calib.tools.step import best_step

__all__ = ["best_move", "channel_ranges", "normalised"]

# A channel's range counts as at least this part of the largest one: a nearly constant channel would otherwise get a
# step so fine that the first unusual image clips it. It bounds what a channel can win to 6 bits.
_LEAST_PART = 1 / 64
# For the weights' part of the error alone, which is the smaller one.
_COVARIANCE_ROWS = 2048


def channel_ranges(problem: LinearProblem, shift: Array) -> Array:
    """How far each channel reaches from `shift`, over all calibration tokens; [channels], above 0."""
    reach: Array = np.maximum(problem.sample.highest - shift, shift - problem.sample.lowest)
    return np.maximum(reach, max(float(reach.max()) * _LEAST_PART, float(np.finfo(np.float32).tiny)))


def normalised(scale: Array) -> Array:
    """Scales with a geometric mean of 1, so that a move leaves the input about as large as it was."""
    centred: Array = np.exp(np.log(scale) - np.log(scale).mean(dtype=np.float64)).astype(np.float32)
    return centred


def best_move(tool: str, problem: LinearProblem, candidates: Iterable[tuple[str, Move]]) -> LinearProblem:
    """The problem moved by the candidate with the least error at its output, or as it was if none gains.

    The error is that of the input, rounded at the candidate's own best step, and that of the weights, rounded to the
    nearest: a move that helps the one may hurt the other.

    Args:
        tool: Name for the history.
        problem: With no step yet.
        candidates: What to try, with a word on each.
    """
    rows = problem.sample.rows[:_COVARIANCE_ROWS]
    centred = rows - rows.mean(axis=0)
    covariance: Array = centred.T @ centred / np.float32(len(rows))  # [channels, channels]
    signal = float((problem.weight * (covariance @ problem.weight)).sum(dtype=np.float64))
    brief = replace(problem, sample=problem.sample.first(ROWS))
    start = _noise(brief, covariance)
    least, chosen = start, None
    for word, move in candidates:
        noise = _noise(brief.moved(move), covariance / np.outer(move.scale, move.scale))
        if noise < least:
            least, chosen = noise, (word, move)
    before, after = _db(signal, start), _db(signal, least)
    if chosen is None:
        return problem.tried(Trial(tool, "no gain", "as it was", before, before))
    return problem.moved(chosen[1]).tried(Trial(tool, "kept", chosen[0], before, after))


def _noise(problem: LinearProblem, covariance: Array) -> float:
    steps = weight_steps(problem.weight, problem.grid)
    error = problem.grid.round(problem.weight / steps) * steps - problem.weight  # [channels, outputs]
    return best_step(problem)[1] + float((error * (covariance @ error)).sum(dtype=np.float64))


def _db(signal: float, noise: float) -> float:
    return 999.0 if noise <= 0 or signal <= 0 else 10 * math.log10(signal / noise)
