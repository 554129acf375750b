"""Does a calibration fit the images that it is judged on?

A quantized linear's input has one step, found on calibration images. On rows of the evaluation images that step costs
a noise power at the linear's output, and the best step for these very rows costs less. The loss is the ratio of the two
in dB: a fraction of a dB for a sound calibration, 18 for a step that is 8 times too large, 20 and more for one made on
noise or through a wrong transform. It is a comparison with what these images allow, and so independent of how hard a
network is to quantize.

Tools may shift and scale an input channel by channel before it is rounded. A shift made for other images hides from a
search over steps alone, so that the best is also sought in the float graph's own input, which nothing has moved.

Weights are judged by what they make of the rounded input: the noise at the linear's output against what the float
graph's own weights, each rounded to the nearest number of its channel's grid, would have made. Tools that reconstruct
weights on rounded inputs stay below that, however far their weights have gone. Where a tool moved the input, the float
weights are scaled as the input's channels show.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.grid import Grid, fake_quantize, weight_steps
from calib.rounding_noise import rounding_noise, weight_power
from swin_deploy.quantization.block_noise import ratio_db
from swin_deploy.quantization.quantized_linears import QuantizedLinear, block_of

__all__ = ["LinearFit", "best_step", "channel_factors", "fit_linear"]

Array = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

# Steps from the largest magnitude down to 1/64 of it, four an octave, then finer around the best: the noise is smooth
# in the logarithm of the step, with one minimum. Between two fine steps it changes by less than 0.05 dB.
_OCTAVES, _PARTS, _FINE = 6, 4, 4


@dataclass(frozen=True)
class LinearFit:
    """What one quantized linear costs by itself, on rows of the evaluation images. Ratios are in dB.

    Attributes:
        module: The linear.
        block: The block it lies in, or empty.
        step: The input's step in the graph.
        best_step: The best one for these rows.
        input_db: Signal to the noise that rounding the input makes, at the linear's output.
        loss_db: How much of it the stored step costs against the best; at least 0.
        clipped: Share of the input's values that saturate.
        output_db: Signal to the noise that both roundings make at the output, means left out, which are the bias's;
            `None` without a float graph's weights of the same shape.
        weight_loss_db: How much of it the stored weights cost against the float ones rounded to the nearest; below 0
            for weights that were reconstructed. `None` likewise.
        idle: Share of the output channels whose codes leave half of the grid unused; INT8 only, otherwise 0.
        saturated: Share of the weights' codes at the grid's ends.
    """

    module: str
    block: str
    step: float
    best_step: float
    input_db: float
    loss_db: float
    clipped: float
    output_db: float | None
    weight_loss_db: float | None
    idle: float
    saturated: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return asdict(self)


def fit_linear(linear: QuantizedLinear, rows: Array, float_rows: Array, float_weight: Array | None) -> LinearFit:
    """Measure one linear.

    Args:
        linear: As it stands in the Q/DQ graph.
        rows: Rows of the tensor that it quantizes, in the Q/DQ graph, [rows, inputs].
        float_rows: The same rows of the linear's input in the float graph, [rows, inputs].
        float_weight: Its weights there, [inputs, outputs], with the factor of each output where a tool moved what
            reads it; `None` where they are not known.
    """
    grid, weight = linear.grid, linear.weight
    power = weight_power(weight)  # [inputs]
    stored = rounding_noise(rows, power, linear.step, grid)
    best, noise = best_step(rows, power, grid)
    rounded = fake_quantize(rows, linear.step, grid)
    output_db = weight_loss_db = None
    if float_weight is not None and float_weight.shape == weight.shape:
        float_power = weight_power(float_weight)
        noise = min(noise, best_step(float_rows, float_power, grid)[1])
        meant = float_weight * channel_factors(rows, float_rows)[:, None]
        wanted = _centred(rows) @ meant
        total = _power(_centred(rounded) @ weight - wanted)
        nearest = fake_quantize(meant, weight_steps(meant, grid), grid)
        output_db = ratio_db(_power(wanted), total)
        weight_loss_db = ratio_db(total, _power(_centred(rounded) @ nearest - wanted))
    peaks = np.abs(linear.codes).max(axis=0)  # [outputs]
    used = peaks > 0  # a channel of zeros is exact
    half = (grid.largest + 1) / 2
    return LinearFit(
        module=linear.module,
        block=block_of(linear.node),
        step=linear.step,
        best_step=best,
        input_db=ratio_db(_power(rows @ weight), _power((rounded - rows) @ weight)),
        loss_db=max(0.0, 10 * math.log10(stored / noise)) if stored > 0 and noise > 0 else 0.0,
        clipped=float(np.mean(np.abs(rows) / np.float32(linear.step) > grid.reach)),
        output_db=output_db,
        weight_loss_db=weight_loss_db,
        idle=float(np.mean(peaks[used] < half)) if grid.mantissa is None and used.any() else 0.0,
        saturated=float(np.mean(np.abs(linear.codes) >= grid.largest)),
    )


def best_step(rows: Array, power: Wide, grid: Grid) -> tuple[float, float]:
    """The step with the least `rounding_noise` for these rows, and that noise; a step of 1 for rows of zeros."""
    largest = float(np.abs(rows).max()) / grid.largest
    # Below float32's normal numbers nothing is worth rounding.
    if largest < float(np.finfo(np.float32).tiny) * 2**_OCTAVES:
        return 1.0, 0.0
    noises: dict[int, float] = {}
    for part in range(0, _OCTAVES * _PARTS * _FINE + 1, _FINE):
        noises[part] = rounding_noise(rows, power, largest * 2.0 ** (-part / (_PARTS * _FINE)), grid)
    coarse = min(noises, key=lambda part: noises[part])
    for part in range(max(0, coarse - _FINE + 1), coarse + _FINE):
        if part not in noises:
            noises[part] = rounding_noise(rows, power, largest * 2.0 ** (-part / (_PARTS * _FINE)), grid)
    best = min(noises, key=lambda part: noises[part])
    return largest * 2.0 ** (-best / (_PARTS * _FINE)), noises[best]


def channel_factors(rows: Array, float_rows: Array) -> Array:
    """Size of each channel of the float rows against that of the moved ones, [inputs]; 1 where one is flat."""
    spread, float_spread = rows.astype(np.float64).std(axis=0), float_rows.astype(np.float64).std(axis=0)
    flat = (spread == 0) | (float_spread == 0)
    factors: Array = np.where(flat, 1.0, float_spread / np.where(flat, 1.0, spread)).astype(np.float32)
    return factors


def _centred(rows: Array) -> Array:
    centred: Array = rows - rows.mean(axis=0)
    return centred


def _power(values: npt.NDArray[np.floating[Any]]) -> float:
    return float(np.sum(values.astype(np.float64) ** 2))
