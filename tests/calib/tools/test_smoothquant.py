"""SmoothQuant: an outlier channel goes into the weights; even channels, and other places than a norm, stay."""

from __future__ import annotations

import numpy as np
import pytest

from calib.tools.problem import Place
from calib.tools.smoothquant import SmoothQuant
from tests.linear_problem import linear_problem


def white(channels: int = 16, outputs: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Rows and weights whose channels hold the same values in other orders: there is nothing to balance."""
    random = np.random.default_rng(0)
    rows = np.stack([random.permutation(np.linspace(-1, 1, 600)) for _ in range(channels)], axis=1)
    weight = np.stack([random.permutation(np.linspace(-1, 1, outputs)) for _ in range(channels)])
    return rows, weight


def test_an_outlier_channel_gains() -> None:
    rows, weight = white()
    rows[:, 5] *= 30
    found = SmoothQuant()(linear_problem(rows, weight, np.zeros(8)))
    (trial,) = found.trials
    assert (trial.tool, trial.result) == ("smoothquant", "kept") and trial.detail.startswith("strength 0.")
    assert trial.after > trial.before + 6
    assert not found.move.shift.any(), "it never shifts"
    assert found.move.scale.argmax() == 5
    others = np.delete(found.move.scale, 5)
    np.testing.assert_allclose(others, others[0], rtol=1e-5)


def test_the_scales_are_those_of_the_paper() -> None:
    # Channels of 8 and 2 against weights of 1 and 4, at strength 3/4: 2**(9/4) and 2**(3/4 - 1/2), that is 2
    # and 1/2 about a geometric mean of 1.
    rows, weight = np.array([[8, -2], [-8, 2], [1.1, 0.3], [-3.3, 1.7]]), np.array([[1], [4]])
    scale = SmoothQuant(strengths=(0.75,))(linear_problem(rows, weight)).move.scale
    assert scale == pytest.approx([2, 0.5])


def test_on_white_data_there_is_no_gain() -> None:
    rows, weight = white()
    found = SmoothQuant()(linear_problem(rows, weight, np.zeros(8)))
    assert [trial.result for trial in found.trials] == ["no gain"]
    assert found.move is None


def test_a_bias_is_not_needed() -> None:
    rows, weight = white()
    rows[:, 5] *= 30
    assert SmoothQuant()(linear_problem(rows, weight)).trials[0].result == "kept"


def test_a_channel_without_weights_does_not_divide_by_zero() -> None:
    rows, weight = white()
    weight[3] = 0
    rows[:, 5] *= 30
    found = SmoothQuant()(linear_problem(rows, weight))
    assert np.isfinite(found.move.scale).all() and (found.move.scale > 0).all()


@pytest.mark.parametrize("place", [Place.VALUE, Place.EXPLICIT, Place.NONE])
def test_without_a_layernorm_before_it_does_not_apply(place: Place) -> None:
    rows, weight = white()
    rows[:, 5] *= 30
    found = SmoothQuant()(linear_problem(rows, weight, np.zeros(8), place))
    (trial,) = found.trials
    assert (trial.result, trial.detail) == ("n/a", "no LayerNorm before it") and trial.before is None
    assert found.move is None
