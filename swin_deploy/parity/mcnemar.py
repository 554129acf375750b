"""McNemar's exact test: whether the images that two networks decide differently speak against one of them.

Of the images that only one of the two has right, each is as likely to be the one's as the other's if neither is better:
the smaller count then follows a binomial distribution with probability 1/2. The two-sided p value is twice its lower
tail, at most 1. No approximation is made, so that it holds for a handful of images too.

Source: McNemar, Psychometrika 12 (1947), 153-157; the exact form is Fagerland, Lydersen and Laake, BMC Medical Research
Methodology 13 (2013), 91, equation 3.
"""

from __future__ import annotations

import math

__all__ = ["mcnemar_p"]


def mcnemar_p(lost: int, won: int) -> float:
    """The two-sided p value, above 0 and at most 1.

    Args:
        lost: Images that only the reference has right.
        won: Images that only the candidate has right.

    Raises:
        ValueError: a count is negative.
    """
    if min(lost, won) < 0:
        raise ValueError(f"{lost} lost and {won} won images")
    count, fewer = lost + won, min(lost, won)
    term, tail = 1, 0
    for number in range(fewer + 1):  # whole numbers all the way: a float would lose the tail of some thousand images
        tail += term
        term = term * (count - number) // (number + 1)
    # A p value below the smallest float is one all the same.
    return min(1.0, max(tail / (1 << count) * 2, math.ulp(0.0)))
