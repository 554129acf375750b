"""The largest magnitude over all batches, and what is refused beside it."""

from __future__ import annotations

import numpy as np
import pytest

from calib.errors import BadData
from calib.largest_magnitude import LargestMagnitude, largest_magnitude


def test_either_sign_counts() -> None:
    assert largest_magnitude("x", np.array([[1, -3], [2, 0]], np.float32)) == 3.0


def test_batches_add_up() -> None:
    statistic = LargestMagnitude("x")
    assert (statistic.seen, statistic.largest) == (0, 0.0)
    for batch in ([1, -5], [], [2]):
        statistic.update(np.array(batch, np.float32))
    assert (statistic.name, statistic.seen, statistic.largest) == ("x", 3, 5.0)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_a_number_that_is_not_finite_is_refused(value: float, kind: str) -> None:
    with pytest.raises(BadData, match=f"tensor x holds {kind} values"):
        largest_magnitude("x", np.array([0, value, 3], np.float32))


def test_integers_are_refused() -> None:
    with pytest.raises(BadData, match="holds int32"):
        largest_magnitude("x", np.zeros(3, np.int32))
