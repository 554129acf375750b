"""What rounding a linear's input costs at its outputs: the measure that steps are chosen by, and judged by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calib.grid import Array, Grid, fake_quantize

__all__ = ["rounding_noise", "weight_power"]


def weight_power(weight: Array) -> npt.NDArray[np.float64]:
    """sum_n W[k, n]^2 of weights [inputs, outputs]: what an error in each input weighs, [inputs]."""
    power: npt.NDArray[np.float64] = np.square(weight.astype(np.float64)).sum(axis=1)
    return power


def rounding_noise(rows: Array, power: npt.NDArray[np.float64], step: float, grid: Grid) -> float:
    """Noise power at a linear's output from rounding its input, over all rows: sum_k err_k^2 * sum_n W[k, n]^2.

    Exact where the errors of different channels are uncorrelated, which rounding's nearly are.

    Args:
        rows: [rows, inputs].
        power: See `weight_power`, [inputs].
        step: Above 0.
        grid: What the input is rounded to.
    """
    error = fake_quantize(rows, step, grid) - rows
    return float(np.square(error).sum(axis=0, dtype=np.float64) @ power)
