"""Other tools' INT8: each takes exactly the matmuls it is given, and its child tells what that took."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.launch import (
    MODEL_OPTIMIZER_ENVIRONMENT,
    PEERS,
    PeerFailed,
    PeerResult,
    PeerUnavailable,
    quantize_with,
)
from benchmarks.peers.same_scope import departures

CHOSEN = ("first/MatMul", "second/MatMul")
OF_ONNX_RUNTIME = sorted(name for name in PEERS if name.startswith("onnxruntime"))
OF_MODEL_OPTIMIZER = sorted(name for name in PEERS if name.startswith("modelopt"))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two linears to quantize, and three matmuls to leave: a product of activations and two by a constant."""
    random = np.random.default_rng(0)

    def constant(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Reshape", ["images", "tokens"], ["x0"], "tokens"),  # [B, 24, 32]
        helper.make_node("MatMul", ["x0", "w1"], ["x1"], "first/MatMul"),
        helper.make_node("Add", ["x1", "b1"], ["x2"], "first/Add"),
        helper.make_node("Transpose", ["x2"], ["x3"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x2", "x3"], ["x4"], "scores/MatMul"),  # [B, 24, 24]
        helper.make_node("Softmax", ["x4"], ["x5"], "softmax", axis=-1),
        helper.make_node("MatMul", ["x5", "w2"], ["x6"], "second/MatMul"),
        # Of a name that a chosen one begins.
        helper.make_node("MatMul", ["x6", "w3"], ["x7"], "second/MatMul_1"),
        helper.make_node("Add", ["x0", "x7"], ["x8"], "residual/Add"),  # what the first linear read, at full width
        helper.make_node("MatMul", ["x8", "w4"], ["y"], "head/MatMul"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 16, 16])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 24, 16])],
            [
                numpy_helper.from_array(np.array([0, 24, 32]), "tokens"),
                *(constant("w1", 32, 48), constant("b1", 48), constant("w2", 24, 32)),
                *(constant("w3", 32, 32), constant("w4", 32, 16)),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "fp32.onnx")
    return tmp_path / "fp32.onnx"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", np.random.default_rng(1).normal(size=(12, 3, 16, 16)).astype(np.float32))
    return tmp_path / "images.npy"


def check(result: PeerResult, out: Path, graph: Path) -> None:
    quantized = onnx.load(out)
    made = {name: node for node in quantized.graph.node for name in node.output}
    reading = {
        node.name
        for node in quantized.graph.node
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        and any(made[name].op_type == "DequantizeLinear" for name in node.input if name in made)
    }
    assert reading == set(CHOSEN)
    assert departures(quantized, onnx.load(graph), CHOSEN) == []
    assert min(result.seconds, result.cpu_seconds, result.import_seconds) > 0
    assert 20 < result.import_mib <= result.peak_mib < 20_000
    assert {"onnx", "numpy", "python"} < result.versions.keys()
    # 12 images are steps of 6 where 8 are allowed: a smaller last batch is refused by ONNX Runtime's histograms.
    assert result.settings["batch"] == 6
    # Both tools round a tensor for whoever reads it; in the agreed file the residual stream stays FP32.
    assert result.wider == ("residual/Add",)
    assert result.as_left == out.with_suffix(".as-left.onnx")
    assert departures(onnx.load(result.as_left), onnx.load(graph), CHOSEN) == ["residual/Add reads INT8"]


@pytest.mark.parametrize("peer", OF_ONNX_RUNTIME)
def test_onnx_runtime_quantizes_the_given_matmuls_alone(
    peer: str, graph: Path, calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8.onnx"
    result = quantize_with(peer, graph, calibration, CHOSEN, out, batch=8)
    check(result, out, graph)
    assert result.settings["method"] == PEERS[peer].method
    if peer == "onnxruntime-percentile":
        assert result.settings["percentile"] == pytest.approx(99.999)


@pytest.mark.parametrize("peer", OF_MODEL_OPTIMIZER)
def test_model_optimizer_quantizes_the_given_matmuls_alone(
    peer: str, graph: Path, calibration: Path, tmp_path: Path
) -> None:
    if not MODEL_OPTIMIZER_ENVIRONMENT.exists():
        pytest.skip(f"needs {MODEL_OPTIMIZER_ENVIRONMENT.name}, see benchmarks/modelopt-requirements.txt")
    out = tmp_path / "int8.onnx"
    check(quantize_with(peer, graph, calibration, CHOSEN, out, batch=8), out, graph)


def test_the_ranges_come_from_the_given_images(graph: Path, calibration: Path, tmp_path: Path) -> None:
    images = np.load(calibration)
    quantize_with("onnxruntime-minmax", graph, calibration, CHOSEN, tmp_path / "int8.onnx")
    quantized = onnx.load(tmp_path / "int8.onnx")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    (pair,) = (node for node in quantized.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x0")
    assert constants[pair.input[1]] == pytest.approx(np.abs(images).max() / 127, rel=1e-2)


def test_a_missing_environment_is_no_failure(graph: Path, calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(PeerUnavailable, match=r"modelopt-requirements\.txt"):
        quantize_with("modelopt-max", graph, calibration, CHOSEN, tmp_path / "o.onnx", environment=tmp_path / "none")


def test_an_environment_without_the_tool_is_no_failure(graph: Path, calibration: Path, tmp_path: Path) -> None:
    (tmp_path / "bare" / "bin").mkdir(parents=True)
    python = tmp_path / "bare" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n', encoding="utf-8")  # the standard library alone
    python.chmod(0o755)
    with pytest.raises(PeerUnavailable, match="ModuleNotFoundError"):
        quantize_with("modelopt-max", graph, calibration, CHOSEN, tmp_path / "o.onnx", environment=tmp_path / "bare")


def test_a_matmul_that_is_not_there_fails_and_leaves_nothing(graph: Path, calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(PeerFailed, match="no/MatMul is gone"):
        quantize_with("onnxruntime-minmax", graph, calibration, (*CHOSEN, "no/MatMul"), tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_no_images_are_refused(graph: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", np.zeros((0, 3, 16, 16), np.float32))
    with pytest.raises(PeerFailed, match="random numbers"):
        quantize_with("onnxruntime-minmax", graph, tmp_path / "none.npy", CHOSEN, tmp_path / "int8.onnx")


def test_a_child_that_breaks_or_hangs_is_a_failure(graph: Path, calibration: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((2, 3, 8, 8), np.float32))
    with pytest.raises(PeerFailed, match="ended with status 1"):
        quantize_with("onnxruntime-minmax", graph, tmp_path / "other.npy", CHOSEN, tmp_path / "int8.onnx")
    with pytest.raises(PeerFailed, match="not finished"):
        quantize_with("onnxruntime-minmax", graph, calibration, CHOSEN, tmp_path / "int8.onnx", limit_s=0.01)


@pytest.fixture
def quantized(graph: Path, calibration: Path, tmp_path: Path) -> onnx.ModelProto:
    quantize_with("onnxruntime-minmax", graph, calibration, CHOSEN, tmp_path / "good.onnx")
    return onnx.load(tmp_path / "good.onnx")


def replace(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def test_another_choice_of_matmuls_is_noticed(quantized: onnx.ModelProto, graph: Path) -> None:
    original = onnx.load(graph)
    assert departures(quantized, original, CHOSEN) == []
    assert departures(quantized, original, CHOSEN[:1]) == ["second/MatMul reads INT8"]
    assert departures(original, original, CHOSEN[:1]) == ["first/MatMul reads INT8 at [] in place of [0, 1]"]


def test_a_zero_point_is_noticed(quantized: onnx.ModelProto, graph: Path) -> None:
    replace(quantized, "x0_zero_point", np.array(3, np.int8))
    found = departures(quantized, onnx.load(graph), CHOSEN)
    assert set(found) == {"first/MatMul: activation: zero points other than 0 of int8"}


def test_one_scale_for_a_whole_weight_is_noticed(quantized: onnx.ModelProto, graph: Path) -> None:
    replace(quantized, "w1_scale", np.array(0.1, np.float32))
    assert departures(quantized, onnx.load(graph), CHOSEN) == ["first/MatMul: weight: [] scales of float32"]


def test_half_precision_beside_int8_is_noticed(quantized: onnx.ModelProto, graph: Path) -> None:
    quantized.graph.node.append(helper.make_node("Cast", ["y"], ["z"], "cast", to=TensorProto.FLOAT16))
    replace(quantized, "b1", np.zeros(48, np.float16))
    assert departures(quantized, onnx.load(graph), CHOSEN) == [
        "other operators: {'Cast': 1} in place of {}",
        "b1 is stored as float16",
    ]
