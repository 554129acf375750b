"""A linear problem from rows, weights and a bias, as the tests of `calib.tools` need it."""

from __future__ import annotations

from typing import Any

import numpy as np

from calib.linear_sample import InputSample
from calib.tools.problem import LinearProblem, Place

__all__ = ["codes_only", "linear_problem", "output_error"]


def linear_problem(
    rows: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    place: Place = Place.NORM,
    **decided: Any,
) -> LinearProblem:
    """The problem of a linear that has seen `rows` and nothing else."""
    seen = np.asarray(rows, np.float32)
    sample = InputSample("x", seen, seen.min(axis=0), seen.max(axis=0))
    biases = None if bias is None else np.asarray(bias, np.float32)
    return LinearProblem("fc", sample, np.asarray(weight, np.float32), biases, place, **decided)


def codes_only(channels: int, outputs: int, seed: int = 0) -> np.ndarray:
    """Weights that INT8 holds exactly, so that the input's error is all there is: whole numbers up to 127."""
    weight = np.random.default_rng(seed).integers(-127, 128, (channels, outputs)).astype(np.float32)
    weight[0] = 127
    return weight


def output_error(problem: LinearProblem, got: np.ndarray, *, centred: bool) -> float:
    """Sum of squares, in float64, of `got` minus what the float linear without its bias gives."""
    error = got.astype(np.float64) - problem.sample.rows.astype(np.float64) @ problem.weight.astype(np.float64)
    return float(np.square(error - error.mean(axis=0) if centred else error).sum())
