"""INT8 arithmetic: by hand, and bit for bit against the operators of ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calib.errors import BadData
from calib.int8 import dequantize, quantize, scale_from_amax, weight_scales


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_the_range_becomes_127() -> None:
    assert scale_from_amax(12.7) == np.float32(0.1)
    scale = scale_from_amax(3.3)
    assert quantize(floats(3.3, -3.3), scale).tolist() == [127, -127]


def test_halves_round_to_even() -> None:
    x = floats(0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5, 0.25, 0.75)
    assert quantize(x, 1.0).tolist() == [0, 2, 2, 4, 0, -2, -2, 0, 1]
    assert quantize(floats(0.125, 0.375), 0.25).tolist() == [0, 2]


def test_values_out_of_range_saturate_at_minus_128_and_127() -> None:
    x = floats(127.4, 127.5, 128, 1e30, np.inf, -127.4, -127.5, -128.4, -129, -1e30, -np.inf)
    assert quantize(x, 1.0).tolist() == [127, 127, 127, 127, 127, -127, -128, -128, -128, -128, -128]


def test_a_quotient_beyond_float32_saturates() -> None:
    assert quantize(floats(3e38, -3e38), np.float32(1e-30)).tolist() == [127, -128]


def test_each_channel_has_its_own_scale_along_the_axis() -> None:
    x = floats(1, 2, 3, 4, 5, 6).reshape(2, 3)
    assert quantize(x, floats(1, 0.5), axis=0).tolist() == [[1, 2, 3], [8, 10, 12]]
    assert quantize(x, floats(1, 2, 0.1), axis=-1).tolist() == [[1, 1, 30], [4, 2, 60]]
    assert dequantize(np.array([[1, 2], [3, -4]], np.int8), floats(0.5, 2), axis=1).tolist() == [[0.5, 4], [1.5, -8]]


def test_weight_scales_by_hand() -> None:
    w = floats(1.27, -0.5, -2.54, 2.0, 0.0, 0.0).reshape(3, 2)
    assert weight_scales(w, axis=0) == pytest.approx([0.01, 0.02, 1.0])
    assert weight_scales(w, axis=1) == pytest.approx([0.02, 2.0 / 127])
    assert weight_scales(w, axis=-1) == pytest.approx([0.02, 2.0 / 127])
    assert weight_scales(w, axis=0).dtype == np.float32


def test_weights_never_need_the_code_minus_128() -> None:
    w = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    codes = quantize(w, weight_scales(w, axis=0), axis=0)
    assert codes.min() == -127 and codes.max() == 127
    assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()


def test_a_channel_of_zeros_stays_exactly_zero() -> None:
    w = np.zeros((2, 4), np.float32)
    w[1] = 1
    scales = weight_scales(w, axis=0)
    assert (scales > 0).all()
    assert dequantize(quantize(w, scales, axis=0), scales, axis=0)[0].tolist() == [0, 0, 0, 0]


def test_scales_keep_above_the_smallest_number_that_is_asked_for() -> None:
    w = floats(1e-42, 1e-6, 1.0).reshape(3, 1)
    assert weight_scales(w, axis=0)[0] == np.finfo(np.float32).tiny
    smallest = float(np.finfo(np.float16).tiny)
    stored = weight_scales(w, axis=0, smallest=smallest).astype(np.float16)
    assert (stored > 0).all() and stored[0] == stored[1] == np.finfo(np.float16).tiny
    assert weight_scales(w, axis=0).astype(np.float16)[1] == 0, "the control: without it the scale vanishes in FP16"


@given(arrays(np.float32, (3, 8), elements=st.floats(-1e4, 1e4, width=32)))
def test_the_error_is_at_most_half_a_step(w: np.ndarray) -> None:
    scales = weight_scales(w, axis=0)
    back = dequantize(quantize(w, scales, axis=0), scales, axis=0)
    assert (np.abs(back - w) <= scales[:, None] * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("amax", [0.0, -1.0, np.nan, np.inf, 1e-40])
def test_a_range_without_a_scale_is_refused(amax: float) -> None:
    with pytest.raises(BadData, match="no INT8 scale"):
        scale_from_amax(amax)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_an_unfit_scale_is_refused(scale: float) -> None:
    with pytest.raises(BadData, match="scale"):
        quantize(floats(1), scale)
    with pytest.raises(BadData, match="scale"):
        dequantize(np.zeros(1, np.int8), scale)


@pytest.mark.parametrize(("count", "axis"), [(2, None), (2, 1), (3, 0), (3, 2), (3, -3)])
def test_scales_that_do_not_fit_the_tensor_are_refused(count: int, axis: int | None) -> None:
    with pytest.raises(BadData, match="a scale of shape"):
        quantize(np.zeros((2, 3), np.float32), np.ones(count, np.float32), axis)


def test_nan_and_wrong_types_are_refused() -> None:
    with pytest.raises(BadData, match="NaN"):
        quantize(floats(1, np.nan), 1.0)
    with pytest.raises(BadData, match="codes of uint8"):
        dequantize(np.zeros(3, np.uint8), 1.0)  # type: ignore[arg-type]
    with pytest.raises(BadData, match="channel 1 are not finite"):
        weight_scales(floats(1, np.nan, 2, 3).reshape(2, 2), axis=1)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_codes_and_values_equal_those_of_onnx_runtime(axis: int | None) -> None:
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
    assert np.array_equal(quantize(x, scale, axis), q)
    assert q.min() == -128 and q.max() == 127, "both ends are exercised"
    assert np.array_equal(dequantize(q, scale, axis), y)
