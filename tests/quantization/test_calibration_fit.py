"""Noise and best steps, worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calib.grid import E4M3, INT8, weight_steps
from calib.rounding_noise import rounding_noise
from swin_deploy.device.distances import EXACT_DB
from swin_deploy.quantization.block_noise import BlockNoise, most_noise, ratio_db
from swin_deploy.quantization.calibration_fit import best_step, channel_factors, fit_linear
from swin_deploy.quantization.quantized_linears import QuantizedLinear


def linear(step: float, codes: np.ndarray, scales: np.ndarray) -> QuantizedLinear:
    return QuantizedLinear("blocks.1.fc", "blocks.1.fc/MatMul", "x", step, codes, scales, INT8)


def test_the_noise_of_an_input_is_weighted_by_the_squared_weights_it_meets() -> None:
    rows = np.array([[1.25, 2.0], [3.0, -0.5]], np.float32)
    # Steps of 1: errors 0.25, 0 and 0, 0.5 (half to even); 0.0625 * 4 + 0.25 * 3.
    assert rounding_noise(rows, np.array([4.0, 3.0]), 1.0, INT8) == pytest.approx(0.0625 * 4 + 0.25 * 3)


def test_the_best_step_of_a_uniform_input_clips_nothing() -> None:
    rows = np.linspace(-1, 1, 4001, dtype=np.float32)[:, None]
    step, noise = best_step(rows, np.ones(1), INT8)
    assert step == pytest.approx(1 / 127)
    assert noise / len(rows) == pytest.approx((1 / 127) ** 2 / 12, rel=0.02)


def test_the_best_step_gives_up_one_outlier_for_the_many() -> None:
    rows = np.concatenate([np.linspace(-1, 1, 100_000), [6.0]]).astype(np.float32)[:, None]
    step, noise = best_step(rows, np.ones(1), INT8)
    tried = {part: rounding_noise(rows, np.ones(1), 6 / 127 * part, INT8) for part in np.linspace(0.05, 1, 400)}
    assert noise <= 1.02 * min(tried.values())
    assert 1 / 127 < step < 6 / 127


def test_a_step_times_8_loses_18_db_and_one_over_8_loses_more() -> None:
    rows = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    step, _ = best_step(rows, np.ones(8), INT8)
    codes, scales = np.full((8, 4), 127, np.float32), np.full(4, 1 / 127, np.float32)
    right = fit_linear(linear(step, codes, scales), rows, rows, None)
    coarse = fit_linear(linear(8 * step, codes, scales), rows, rows, None)
    narrow = fit_linear(linear(step / 8, codes, scales), rows, rows, None)
    assert right.loss_db == pytest.approx(0.0, abs=1e-9) and right.weight_loss_db is None and right.output_db is None
    assert coarse.loss_db == pytest.approx(20 * math.log10(8), abs=1.5)
    assert narrow.loss_db > 25 and narrow.clipped > 0.5 > right.clipped
    assert right.best_step == pytest.approx(step)


def test_rows_of_zeros_lose_nothing() -> None:
    found = fit_linear(
        linear(0.1, np.ones((4, 4), np.float32), np.ones(4, np.float32)), *(np.zeros((9, 4), np.float32),) * 2, None
    )
    assert (found.loss_db, found.input_db) == (0.0, EXACT_DB)


def test_a_moved_input_with_weights_that_take_it_back_is_no_error_of_the_weights() -> None:
    generator = np.random.default_rng(1)
    weight = generator.standard_normal((16, 64)).astype(np.float32)
    factors = np.exp2(generator.uniform(-2, 2, 16)).astype(np.float32)
    rows = generator.standard_normal((500, 16)).astype(np.float32)
    moved = (rows - np.float32(0.5)) / factors
    assert channel_factors(moved, rows) == pytest.approx(factors, rel=1e-5)
    scaled = weight * factors[:, None]
    scales = weight_steps(scaled)
    found = fit_linear(linear(0.08, np.rint(scaled / scales), scales), moved, rows, weight)
    assert found.weight_loss_db == pytest.approx(0.0, abs=0.01) and found.output_db is not None and found.output_db > 25
    wrong = fit_linear(linear(0.08, np.rint(scaled / scales), scales[::-1].copy()), moved, rows, weight)
    assert wrong.weight_loss_db is not None and wrong.weight_loss_db > 15


def test_weights_that_make_up_for_the_rounded_input_are_no_error_either() -> None:
    generator = np.random.default_rng(2)
    weight = generator.standard_normal((16, 8)).astype(np.float32)
    rows = generator.standard_normal((4000, 16)).astype(np.float32)
    step = 1.5  # coarse, so that there is something to make up for
    rounded = np.clip(np.rint(rows / np.float32(step)), -128, 127) * np.float32(step)
    fitted = np.linalg.lstsq(rounded, rows @ weight, rcond=None)[0].astype(np.float32)
    scales = weight_steps(fitted)
    found = fit_linear(linear(step, np.rint(fitted / scales), scales), rows, rows, weight)
    assert found.weight_loss_db is not None and found.weight_loss_db < 0


def test_a_flat_channel_has_no_factor() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 2.0]], np.float32)
    assert channel_factors(rows, 4 * rows).tolist() == [4.0, 1.0]


def test_codes_are_asked_whether_they_use_their_grid() -> None:
    codes = np.array([[127, 60, 0, -128], [-3, 5, 0, 64]], np.float32)
    rows = np.ones((3, 2), np.float32)
    found = fit_linear(linear(0.1, codes, np.ones(4, np.float32)), rows, rows, None)
    # The channel of zeros is exact; of the other three one stays below 64.
    assert found.idle == pytest.approx(1 / 3)
    assert found.saturated == pytest.approx(2 / 8)


def test_the_last_number_of_a_grid_also_takes_half_a_spacing() -> None:
    weights = np.ones((1, 1), np.float32)
    rows = np.array([[127.4], [127.6], [-200.0], [3.0]], np.float32)
    assert fit_linear(linear(1.0, weights, weights[0]), rows, rows, None).clipped == 0.5
    e4m3 = QuantizedLinear("fc", "fc/MatMul", "x", 1.0, weights, weights[0], E4M3)
    rows = np.array([[463.0], [465.0], [448.0], [-1000.0]], np.float32)
    assert fit_linear(e4m3, rows, rows, None).clipped == 0.5


def test_ratios_of_powers_are_numbers_that_json_takes() -> None:
    assert ratio_db(100.0, 1.0) == 20.0
    assert (ratio_db(1.0, 0.0), ratio_db(0.0, 1.0)) == (EXACT_DB, -998.0)
    assert ratio_db(float("nan"), 1.0) == ratio_db(1.0, float("inf")) == -EXACT_DB


def test_powers_add_up_over_batches() -> None:
    noise = BlockNoise()
    ones = np.ones((2, 5), np.float32)
    noise.update({"blocks.0": ones * 1.1}, {"blocks.0": ones})
    noise.update({"blocks.0": ones}, {"blocks.0": ones})
    assert noise.sqnr_db()["blocks.0"] == pytest.approx(10 * math.log10(20 / (10 * 0.01)), abs=1e-4)


@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        ({"a": 50.0, "b": 45.0, "c": 20.0, "d": 21.0}, ("c", 45.0, 20.0)),
        ({"a": 20.0, "b": 24.0, "c": 30.0}, ("a", EXACT_DB, 20.0)),
        # 1e-4, then 9e-4 more, then 1e-3 more: the fall of 10 dB adds less than that of 3.
        ({"a": 40.0, "b": 30.0, "c": 26.9897}, ("c", 30.0, 26.9897)),
        ({}, None),
    ],
)
def test_damage_begins_where_most_noise_enters(blocks: dict[str, float], wanted: object) -> None:
    assert most_noise(blocks) == wanted
