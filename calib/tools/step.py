"""Choose the step of a linear's input: as an observer proposes, or by the error at the linear's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from calib.errors import BadData
from calib.grid import fp16_step
from calib.observers import OBSERVERS
from calib.tools.problem import LinearProblem, Trial, input_noise

__all__ = ["METHODS", "ChooseStep", "best_step"]

METHODS = ("output", *OBSERVERS)
"""How a range is found: `output`, or an observer's name."""

# Steps that are tried, as parts of the one that clips nothing. A Gaussian wants about a third at 8 bits; a finer list
# changes the error by less than 0.1 dB.
_COARSE = np.linspace(1.0, 0.5, 6)
_FINE = np.linspace(1.0, 0.3, 22)
_FINE_ROWS = 2048
_BATCHES = 16  # a moving average needs some


@dataclass(frozen=True)
class ChooseStep:
    """Decide the input's step.

    `output` takes the step with the least error at the linear's output: clipping the rarest values against rounding
    all others, each channel weighted by the weights that it meets.

    Attributes:
        observed: Magnitudes that observers found over the whole stream, by tensor; for inputs that were not moved.
            Of a moved one an observer sees the sample's rows, in some batches.
    """

    observed: Mapping[str, float] | None = None
    name: str = "step"

    def __call__(self, problem: LinearProblem) -> LinearProblem:
        """See `Tool`."""
        if problem.method not in METHODS:
            raise BadData(f"no range method {problem.method}", needed="one of " + ", ".join(METHODS))
        if problem.method == "output":
            step = best_step(problem, _FINE, rows=_FINE_ROWS)[0]
        else:
            step = self._observed(problem) / problem.grid.largest
        decided = replace(problem, step=float(fp16_step(step)))
        # Not beyond `largest`: rounding the step to FP16 leaves even the values that it was made from there.
        clipped = float((np.abs(problem.sample.rows) > (decided.step or 0) * problem.grid.reach).mean())
        detail = f"{problem.method}, step {decided.step:.4g}, {100 * clipped:.3g} % clipped"
        return decided.tried(Trial(self.name, "kept", detail))

    def _observed(self, problem: LinearProblem) -> float:
        unmoved = problem.move is None or not problem.move.moves
        if unmoved and self.observed is not None and problem.sample.name in self.observed:
            return self.observed[problem.sample.name]
        if problem.method == "min-max":
            return problem.sample.amax  # exact, since extremes are kept of all tokens
        observer = OBSERVERS[problem.method](problem.sample.name)
        for rows in np.array_split(problem.sample.rows, min(_BATCHES, len(problem.sample.rows))):
            observer.update(rows)
        return observer.amax()


def best_step(problem: LinearProblem, parts: np.ndarray | None = None, rows: int | None = None) -> tuple[float, float]:
    """The step with the least `input_noise`, and that noise; a few candidates unless `parts` names more."""
    whole = max(problem.sample.amax / problem.grid.largest, float(np.finfo(np.float16).smallest_normal))
    steps = [whole * float(part) for part in (_COARSE if parts is None else parts)]
    noises = [input_noise(problem, step) if rows is None else input_noise(problem, step, rows) for step in steps]
    least = int(np.argmin(noises))
    return steps[least], noises[least]
