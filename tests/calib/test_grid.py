"""The grids: INT8 by hand and against ONNX Runtime, E4M3 against ml_dtypes, and steps as FP16 holds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calib.errors import BadData
from calib.grid import E4M3, GRIDS, INT8, Grid, fake_quantize, fp16_step, weight_steps

SMALLEST = float(np.finfo(np.float16).smallest_normal)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def e4m3_codes() -> np.ndarray:
    """The values of all 256 codes."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values: np.ndarray = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    return values


def test_the_grids_are_known_by_name_and_read_only() -> None:
    assert dict(GRIDS) == {"int8": INT8, "fp8": E4M3}
    with pytest.raises(TypeError):
        GRIDS["mine"] = INT8  # type: ignore[index]


def test_int8_rounds_halves_to_even() -> None:
    x = floats(0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 0.25, 0.75)
    assert INT8.round(x).tolist() == [0, 2, 2, 4, 0, -2, -2, 0, 1]
    assert fake_quantize(floats(0.125, 0.375), 0.25).tolist() == [0, 0.5]


def test_int8_saturates_at_minus_128_and_127() -> None:
    x = floats(127.4, 127.5, 128, 1e30, np.inf, -127.4, -127.5, -128.4, -129, -1e30, -np.inf)
    assert INT8.round(x).tolist() == [127, 127, 127, 127, 127, -127, -128, -128, -128, -128, -128]


def test_all_256_codes_of_e4m3_round_to_themselves() -> None:
    values = e4m3_codes()
    assert np.isnan(values).sum() == 2 and np.nanmax(values) == E4M3.largest
    np.testing.assert_array_equal(E4M3.round(values), values)


def test_halfway_between_neighbours_e4m3_rounds_to_the_even_mantissa() -> None:
    codes = e4m3_codes()[:127]  # 0 to 448, rising
    middles = (codes[:-1] + codes[1:]) / 2
    even = np.where(np.arange(126) % 2 == 0, codes[:-1], codes[1:])
    np.testing.assert_array_equal(E4M3.round(middles), even)
    np.testing.assert_array_equal(E4M3.round(-middles), -even)
    np.testing.assert_array_equal(E4M3.round(np.nextafter(middles, np.float32(0))), codes[:-1])
    np.testing.assert_array_equal(E4M3.round(np.nextafter(middles, np.float32(np.inf))), codes[1:])


def test_random_values_round_to_e4m3_as_in_ml_dtypes_and_saturate() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    random = np.random.default_rng(0)
    x = random.standard_normal(100_000).astype(np.float32) * np.exp2(random.uniform(-12, 10, 100_000)).astype(
        np.float32
    )
    assert (np.abs(x) > 448).any() and (np.abs(x) < 2.0**-10).any(), "both ends are exercised"
    wanted = np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(E4M3.round(x), wanted)
    assert E4M3.round(floats(464, 465, 1e30, np.inf, -np.inf)).tolist() == [448, 448, 448, 448, -448]


def test_the_reach_is_half_a_spacing_beyond_the_largest_number() -> None:
    assert INT8.reach == 127.5
    assert E4M3.reach == 464  # between 448 and what would be 480


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
def test_rounding_keeps_float32_and_the_shape(grid: Grid) -> None:
    found = fake_quantize(np.ones((2, 3, 4), np.float32), np.full(4, 0.5, np.float32), grid)
    assert found.dtype == np.float32 and found.shape == (2, 3, 4) and (found == 1).all()


def test_each_channel_has_its_own_step() -> None:
    x = floats(1, 2, 3, 4, 5, 6).reshape(2, 3)
    assert fake_quantize(x, floats(2, 4, 0.5)).tolist() == [[0, 0, 3], [4, 4, 6]]
    assert fake_quantize(x, floats(2, 4)[:, None]).tolist() == [[0, 2, 4], [4, 4, 8]]


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
def test_a_quotient_beyond_float32_saturates(grid: Grid) -> None:
    step = np.float32(1e-30)
    found = fake_quantize(floats(3e38, -3e38), step, grid) / step
    assert found.tolist() == ([127, -128] if grid is INT8 else [448, -448])


def test_weight_steps_by_hand() -> None:
    weight = floats(127, -0.5, 0, -63.5, 254, 0).reshape(2, 3)
    assert weight_steps(weight).tolist() == [1, 2, 1]
    assert weight_steps(floats(448, -896).reshape(1, 2), E4M3).tolist() == [1, 2]
    assert weight_steps(weight).dtype == np.float32


@pytest.mark.parametrize("grid", [INT8, E4M3], ids=lambda grid: grid.name)
def test_a_channel_of_zeros_stays_exactly_zero(grid: Grid) -> None:
    weight = np.ones((4, 2), np.float32)
    weight[:, 1] = 0
    steps = weight_steps(weight, grid)
    assert (steps > 0).all()
    assert fake_quantize(weight, steps, grid)[:, 1].tolist() == [0, 0, 0, 0]


def test_weights_rounded_to_the_nearest_never_need_the_code_minus_128() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 500)).astype(np.float32)
    steps = weight_steps(weight)
    codes = INT8.round(weight / steps)
    assert codes.min() == -127 and codes.max() == 127
    assert (np.abs(codes).max(axis=0) == 127).all(), "and all use the whole range, though FP16 rounds the step"
    assert (np.abs(weight / steps).max(axis=0) > 127).any(), "the control: some steps were rounded down"


@given(arrays(np.float32, (8, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_the_error_of_a_weight_is_at_most_half_a_step(weight: np.ndarray) -> None:
    steps = weight_steps(weight)
    # FP16's step may be 1/2048 too small, which 127 steps feel.
    assert (np.abs(fake_quantize(weight, steps) - weight) <= steps * (0.5 + 127 / 2048)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_naming_the_channel(value: float) -> None:
    with pytest.raises(BadData, match="channel 1 are not finite"):
        weight_steps(floats(1, 2, 3, value).reshape(2, 2))


def test_a_step_becomes_a_number_of_fp16() -> None:
    assert fp16_step(0.1) == np.float32(np.float16(0.1)) != np.float32(0.1)
    assert fp16_step(floats(0.25, 3)).tolist() == [0.25, 3]
    steps = np.exp2(np.random.default_rng(0).uniform(-14, 15, 10_000)).astype(np.float32)
    found = fp16_step(steps)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.astype(np.float16).astype(np.float32), found)
    assert (np.abs(found / steps - 1) <= 2.0**-11).all(), "half a unit in the last place of 11 bits"


def test_a_step_is_never_below_the_smallest_normal_number_of_fp16() -> None:
    assert fp16_step(floats(1e-30, SMALLEST / 2, SMALLEST)).tolist() == [SMALLEST] * 3
    assert fp16_step(0.0) == SMALLEST


@pytest.mark.parametrize("step", [65505.0, 1e30, np.inf, np.nan])
def test_a_step_that_fp16_cannot_hold_is_refused(step: float) -> None:
    assert fp16_step(65504.0) == 65504
    with pytest.raises(BadData, match="a quantization step of"):
        fp16_step(step)
    with pytest.raises(BadData, match="a quantization step of"):
        fp16_step(floats(1, step))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_int8_equals_the_operators_of_onnx_runtime(axis: int | None) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    random = np.random.default_rng(1)
    x = (random.standard_normal((64, 33)) * 40).astype(np.float32)
    x[0, :9] = (0.5, 1.5, 2.5, -0.5, -1.5, 127.5, -127.5, -128.5, 1e9)
    scale = np.array(1.0, np.float32) if axis is None else random.uniform(0.1, 1, x.shape[axis]).astype(np.float32)
    attributes = {} if axis is None else {"axis": axis}
    floating, integer = 1, 3  # TensorProto.FLOAT and INT8
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **attributes),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], **attributes),
        ],
        "qdq",
        [
            helper.make_tensor_value_info("x", floating, x.shape),
            helper.make_tensor_value_info("scale", floating, scale.shape),
            helper.make_tensor_value_info("zero", integer, scale.shape),
        ],
        [helper.make_tensor_value_info("q", integer, x.shape), helper.make_tensor_value_info("y", floating, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    q, y = session.run(None, {"x": x, "scale": scale, "zero": np.zeros(scale.shape, np.int8)})
    steps = scale[:, None] if axis == 0 else scale
    np.testing.assert_array_equal(INT8.round(x / steps), q)
    assert q.min() == -128 and q.max() == 127, "both ends are exercised"
    np.testing.assert_array_equal(fake_quantize(x, steps), y)
