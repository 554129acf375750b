"""One linear on its way to INT8: what is known of its input, what was decided, and what each tool made of it.

A tool takes a problem and gives one with more decided, so tools compose, and each can be left out:

1. *moves* reshape the input, x' = (x - shift) / scale, against the weights, W' = scale * W, b' = b + shift @ W. The
   linear computes what it did, and its input fits the evenly spaced numbers better.
2. the *step* of the input is chosen by a range method.
3. *rounding* puts the weights on their grid.
4. *corrections* take the mean of the error out of the bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from calib.grid import INT8, Grid, fake_quantize
from calib.linear_sample import InputSample
from calib.rounding_noise import rounding_noise, weight_power

__all__ = [
    "ROWS",
    "Array",
    "LinearProblem",
    "Move",
    "Place",
    "Tool",
    "Trial",
    "held_out",
    "input_noise",
    "output_sqnr_db",
]

Array = npt.NDArray[np.float32]

ROWS = 512
"""Rows that an error is estimated on while candidates are compared."""


class Place(Enum):
    """Who can apply a shift and a scale to the input, so that it costs nothing or little at run time."""

    NORM = "norm"
    """The LayerNorm before it, in its own scale and shift: free."""
    VALUE = "value"
    """The value part of qkv's weights: attention only averages values, so both pass through it. Free."""
    EXPLICIT = "explicit"
    """A multiplication and an addition by one constant a channel, which engines fuse into the kernel before."""
    NONE = "none"
    """Nobody: the input stays as it is."""


@dataclass(frozen=True)
class Trial:
    """What one tool did to one linear.

    Attributes:
        tool: Its name.
        result: `kept`, `no gain` or `n/a`.
        detail: What was chosen, or why it does not apply.
        before: SQNR at the linear's output before, in dB, where measured.
        after: The same with the tool.
    """

    tool: str
    result: str
    detail: str
    before: float | None = None
    after: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        found: dict[str, Any] = {"tool": self.tool, "result": self.result, "detail": self.detail}
        if self.before is not None and self.after is not None:
            found |= {"before_db": round(self.before, 2), "after_db": round(self.after, 2)}
        return found


@dataclass(frozen=True, eq=False)
class Move:
    """A change of the input, channel by channel: x' = (x - shift) / scale.

    Attributes:
        shift: [channels].
        scale: [channels], above 0.
    """

    shift: Array
    scale: Array

    @classmethod
    def none(cls, channels: int) -> Move:
        """The input as it is."""
        return cls(np.zeros(channels, np.float32), np.ones(channels, np.float32))

    @property
    def moves(self) -> bool:
        """Whether anything changes."""
        return bool(self.shift.any() or (self.scale != 1).any())


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A linear y = x @ weight + bias, or several that read the same tensor, their outputs side by side.

    Attributes:
        name: Module path; of several, those joined by `+`.
        sample: Of the input as it stands, after `move`.
        weight: As it stands, after `move`: [channels, outputs].
        bias: [outputs]; `None` where the linear has none, so that nothing can be shifted or corrected.
        place: Who can apply a move.
        grid: What is rounded to.
        method: Range method, see `calib.tools.step`.
        move: What was done to the input.
        step: The input's step; `None` before it is chosen.
        rounded: The weights as real numbers of their grid, [channels, outputs]; `None` before.
        weight_step: [outputs]; `None` before.
        correction: To add to the bias, [outputs].
        trials: What each tool did.
    """

    name: str
    sample: InputSample
    weight: Array
    bias: Array | None
    place: Place
    grid: Grid = INT8
    method: str = "output"
    move: Move | None = None
    step: float | None = None
    rounded: Array | None = None
    weight_step: Array | None = None
    correction: Array | None = None
    trials: tuple[Trial, ...] = field(default=())

    def moved(self, move: Move) -> LinearProblem:
        """The same function of the unmoved input, with the input moved; the weights take it back."""
        assert self.step is None and self.rounded is None, "moves come first"
        assert self.bias is not None or not move.shift.any(), "without a bias nothing takes a shift back"
        bias = None if self.bias is None else self.bias + move.shift @ self.weight
        before = self.move or Move.none(len(move.scale))
        # x'' = ((x - b.shift) / b.scale - shift) / scale
        both = Move(before.shift + before.scale * move.shift, before.scale * move.scale)
        return replace(
            self,
            sample=self.sample.moved(move.shift, move.scale),
            weight=self.weight * move.scale[:, None],
            bias=bias,
            move=both,
        )

    def tried(self, trial: Trial) -> LinearProblem:
        """The same with one more line in its history."""
        return replace(self, trials=(*self.trials, trial))


def held_out(problem: LinearProblem) -> tuple[LinearProblem, LinearProblem]:
    """The problem with three quarters of its rows, to fit on, and with the last quarter, to measure the gain on.

    What is fitted to a few rows gains on these whatever it does elsewhere.
    """
    count = max(1, len(problem.sample.rows) * 3 // 4)
    rest = problem.sample.rows[count:] if len(problem.sample.rows) > 1 else problem.sample.rows
    return (
        replace(problem, sample=problem.sample.first(count)),
        replace(problem, sample=replace(problem.sample, rows=rest)),
    )


class Tool(Protocol):
    """One technique; implementations are frozen dataclasses."""

    @property
    def name(self) -> str:
        """As users write it."""
        ...

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """The problem with more decided, and a `Trial` that says what."""
        ...


def input_noise(problem: LinearProblem, step: float, rows: int = ROWS) -> float:
    """Mean square error at the outputs, summed over them, from rounding the input alone.

    The errors of channels count as independent; see `calib.rounding_noise`.
    """
    inputs = problem.sample.rows[:rows]
    return rounding_noise(inputs, weight_power(problem.weight), step, problem.grid) / len(inputs)


def output_sqnr_db(problem: LinearProblem, rows: int = ROWS) -> float:
    """SQNR at the linear's output in dB; decided parts are quantized.

    The mean is left out of the signal, and out of the error where a bias can still take it.
    """
    inputs = problem.sample.rows[:rows]
    wanted = inputs @ problem.weight  # [rows, outputs]
    seen = inputs if problem.step is None else fake_quantize(inputs, problem.step, problem.grid)
    error = seen @ (problem.weight if problem.rounded is None else problem.rounded) - wanted
    if problem.correction is not None:
        error += problem.correction
    elif problem.bias is not None:
        error -= error.mean(axis=0)
    signal = float(np.square(wanted - wanted.mean(axis=0)).sum(dtype=np.float64))
    noise = float(np.square(error).sum(dtype=np.float64))
    if noise == 0 or signal == 0:
        return 999.0
    return 10 * math.log10(signal / noise)
