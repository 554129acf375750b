"""Wilson's score limits of a share, from which the intervals of the gates are made.

Source: Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
"""

from __future__ import annotations

import math

__all__ = ["ONE_SIDED_95", "wilson"]

# The 95 % quantile of the standard normal distribution.
ONE_SIDED_95 = 1.6448536269514722


def wilson(share: float, count: int, z: float = ONE_SIDED_95) -> tuple[float, float]:
    """Limits of a share of `count` images, each one-sided at the level of `z`; within 0 and 1, never of zero width."""
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, centre - reach), min(1.0, centre + reach)
