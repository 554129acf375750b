"""Bias correction: quantization shifts the mean of a linear's output; the bias takes it back.

Source: Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019; here by the
measured means of the calibration rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calib.grid import fake_quantize
from calib.tools.problem import Array, LinearProblem, Trial, held_out, output_sqnr_db

__all__ = ["BiasCorrection"]


@dataclass(frozen=True)
class BiasCorrection:
    """Adds the mean error of the output to the bias, where that helps on rows that it was not taken from."""

    name: str = "bias"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        assert problem.step is not None and problem.rounded is not None, "corrections come last"
        if problem.bias is None:
            return problem.tried(Trial(self.name, "n/a", "the linear has no bias"))
        fitted, fresh = held_out(problem)
        none = np.zeros(problem.weight.shape[1], np.float32)
        before = output_sqnr_db(replace(fresh, correction=none))
        after = output_sqnr_db(replace(fresh, correction=_mean_error(fitted)))
        if after <= before:
            return problem.tried(Trial(self.name, "no gain", "the bias as it was", before, before))
        found = replace(problem, correction=_mean_error(problem))
        return found.tried(Trial(self.name, "kept", "mean error", before, after))


def _mean_error(problem: LinearProblem) -> Array:
    """By how much the mean output of the rows falls short, [outputs]."""
    assert problem.step is not None and problem.rounded is not None, "corrections come last"
    rows = problem.sample.rows
    wanted = rows.mean(axis=0, dtype=np.float64) @ problem.weight
    got = fake_quantize(rows, problem.step, problem.grid).mean(axis=0, dtype=np.float64) @ problem.rounded
    error: Array = (wanted - got).astype(np.float32)
    return error
