"""RepQ-style reparameterisation: two channels by hand, and where it does not apply."""

from __future__ import annotations

import numpy as np
import pytest

from calib.tools.problem import Place
from calib.tools.repq import RepQ
from tests.linear_problem import linear_problem

# Channel 0 runs from -1 to 3: middle 1, reach 2. Channel 1 from 10 to 26: middle 18, reach 8. The geometric mean of the
# reaches is 4, so that the scales are 1/2 and 2, and both channels then run from -4 to 4.
ROWS = np.stack([np.linspace(-1, 3, 401), np.random.default_rng(0).permutation(np.linspace(10, 26, 401))], axis=1)
WEIGHT = np.array([[127.0, 3], [-20, 127]], np.float32)
BIAS = np.array([1.0, -1], np.float32)


def test_two_channels_by_hand() -> None:
    found = RepQ()(linear_problem(ROWS, WEIGHT, BIAS))
    (trial,) = found.trials
    assert (trial.tool, trial.result, trial.detail) == ("repq", "kept", "whole ranges")
    assert trial.after > trial.before
    assert found.move.shift == pytest.approx([1, 18])
    assert found.move.scale == pytest.approx([0.5, 2])
    assert found.sample.lowest == pytest.approx([-4, -4]) and found.sample.highest == pytest.approx([4, 4])
    np.testing.assert_allclose(found.weight, [[63.5, 1.5], [-40, 254]], rtol=1e-6)
    assert found.bias == pytest.approx([1 + 127 - 360, -1 + 3 + 18 * 127])


def test_channels_that_are_even_already_do_not_gain() -> None:
    rows = np.stack([np.linspace(-1, 1, 401), np.random.default_rng(0).permutation(np.linspace(-1, 1, 401))], axis=1)
    found = RepQ()(linear_problem(rows, WEIGHT, BIAS))
    assert [trial.result for trial in found.trials] == ["no gain"] and found.move is None


@pytest.mark.parametrize("place", [Place.VALUE, Place.EXPLICIT, Place.NONE])
def test_without_a_layernorm_before_it_does_not_apply(place: Place) -> None:
    found = RepQ()(linear_problem(ROWS, WEIGHT, BIAS, place))
    assert [(trial.result, trial.detail) for trial in found.trials] == [("n/a", "no LayerNorm before it")]
    assert found.move is None


def test_without_a_bias_it_does_not_apply() -> None:
    found = RepQ()(linear_problem(ROWS, WEIGHT, None))
    assert [(trial.result, trial.detail) for trial in found.trials] == [("n/a", "no bias to take the shift")]
    assert found.move is None
