"""Put weights on their grid: each to the nearest number, or a linear's together so that its output changes least."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.grid import Grid, fake_quantize, weight_steps
from calib.tools.problem import Array, LinearProblem, Trial, held_out, output_sqnr_db

__all__ = ["Nearest", "Reconstruct"]

_MEASURED = 2048  # rows that the gain is measured on
_BLOCK = 64  # columns whose errors are passed on one by one; what lies behind them gets theirs in one product


@dataclass(frozen=True)
class Nearest:
    """Each weight to the nearest number of its output channel's grid."""

    name: str = "nearest"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        steps = weight_steps(problem.weight, problem.grid)
        rounded = problem.grid.round(problem.weight / steps) * steps
        return replace(problem, rounded=rounded, weight_step=steps)


@dataclass(frozen=True)
class Reconstruct:
    """Round a linear's weights so that its output on quantized inputs is as near as can be to the float one.

    Two steps. First the real weights that do this best on the rounded inputs, by least squares: they make up for what
    the input's rounding does on average. Then these are rounded one input channel after the other, and the error that
    each makes is spread over the channels still to come, by the second moments of the rounded inputs. Kept only where
    the output is nearer than with plain rounding, on rows that it was not fitted to.
    Sources: Frantar et al., GPTQ, ICLR 2023, arXiv 2210.17323 (after Hassibi and Stork's optimal brain surgeon); the
    task is AdaRound's (Nagel et al., ICML 2020), solved in closed form.

    Attributes:
        damping: Added to the moments' diagonal, as a part of its mean, so that channels without data stay put.
    """

    damping: float = 1e-3
    name: str = "reconstruct"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        assert problem.step is not None, "the input's step comes first"
        nearest = Nearest()(problem)
        fitted, fresh = held_out(problem)
        before, after = (
            output_sqnr_db(replace(one, sample=fresh.sample), _MEASURED) for one in (nearest, self._together(fitted))
        )
        if after <= before:
            return nearest.tried(Trial(self.name, "no gain", "rounded to nearest", before, before))
        rows = len(problem.sample.rows)
        return self._together(problem).tried(Trial(self.name, "kept", f"{rows} rows", before, after))

    def _together(self, problem: LinearProblem) -> LinearProblem:
        """The weights rounded for the problem's rows."""
        assert problem.step is not None, "the input's step comes first"
        inputs = problem.sample.rows
        rounded = fake_quantize(inputs, problem.step, problem.grid)
        # The bias takes the means, where there is one.
        if problem.bias is not None:
            inputs, rounded = inputs - inputs.mean(axis=0), rounded - rounded.mean(axis=0)
        moments = (rounded.T @ rounded).astype(np.float64)  # [channels, channels]
        ridge = np.eye(len(moments)) * (self.damping * max(float(np.diag(moments).mean()), 1e-30))
        inverse = np.linalg.inv(moments + ridge)
        cross = (rounded.T @ inputs).astype(np.float64) + ridge
        target: Array = (inverse @ (cross @ problem.weight)).astype(np.float32)  # [channels, outputs]
        steps = weight_steps(target, problem.grid)
        return replace(problem, rounded=_spread(target, inverse, steps, problem.grid), weight_step=steps)


def _spread(target: Array, inverse: npt.NDArray[np.floating[Any]], steps: Array, grid: Grid) -> Array:
    """Round `target` [channels, outputs] channel by channel, passing each one's error on.

    `inverse` is that of the rounded inputs' second moments, [channels, channels].
    """
    # With U the upper Cholesky factor of the inverse, U[k, j] / U[k, k] is what channel j > k takes of k's error.
    factor = np.linalg.cholesky(inverse).T.astype(np.float32)  # [channels, channels]
    left = target.copy()
    result = np.empty_like(left)
    for start in range(0, len(left), _BLOCK):
        end = min(start + _BLOCK, len(left))
        errors = np.empty((end - start, left.shape[1]), np.float32)
        for k in range(start, end):
            result[k] = grid.round(left[k] / steps) * steps
            errors[k - start] = (left[k] - result[k]) / factor[k, k]
            left[k + 1 : end] -= factor[k, k + 1 : end, None] * errors[k - start]
        left[end:] -= factor[start:end, end:].T @ errors
    return result
