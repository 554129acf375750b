"""Quantiles of Student's t distribution, from which the interval of a mean is made.

Source: Student, "The probable error of a mean", Biometrika 6 (1908), 1-25; the finite sums of the distribution function
for whole degrees of freedom are Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math

__all__ = ["one_sided_95"]

_LEVEL = 0.95


def one_sided_95(freedom: int) -> float:
    """The 95 % quantile for `freedom` degrees of freedom, at least 1: 6.314 for 1, towards 1.645 for many."""
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    low, high = 0.0, 10.0
    for _ in range(80):  # each halves the bracket; a float has 53 bits
        middle = (low + high) / 2
        if _between(middle, freedom) < 2 * _LEVEL - 1:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _between(t: float, freedom: int) -> float:
    """The probability of -t to t."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= step / (step + 1) * cosine**2
    return (angle + sine * total) * 2 / math.pi if odd else sine * total
