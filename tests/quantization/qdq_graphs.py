"""A small residual network as a float graph, and the Q/DQ graph of it with any step spoiled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, TOKENS, BLOCKS = 32, 20, 12


def images(count: int, seed: int = 0) -> np.ndarray:
    """Inputs [count, 1, TOKENS, CHANNELS], as if rows of pixels were tokens."""
    found: np.ndarray = np.random.default_rng(seed).standard_normal((count, 1, TOKENS, CHANNELS)).astype(np.float32)
    return found


def weights() -> list[np.ndarray]:
    """One [CHANNELS, CHANNELS] a block; each output channel has a size of its own."""
    generator = np.random.default_rng(7)
    sizes = 2.0 ** generator.uniform(-3, 1, (BLOCKS, CHANNELS))
    found = generator.standard_normal((BLOCKS, CHANNELS, CHANNELS)) * sizes[:, None, :] / CHANNELS**0.5
    return [weight.astype(np.float32) for weight in found]


def float_graph(path: Path) -> Path:
    """x + tanh(x) W, twelve times: `blocks.0` to `blocks.11`, each with one linear `blocks.N.fc`."""
    nodes, held, value = [], [], "images"
    for number, weight in enumerate(weights()):
        block = f"blocks.{number}"
        held.append(numpy_helper.from_array(weight, f"{block}.fc.weight"))
        nodes += [
            helper.make_node("Tanh", [value], [f"{block}.tanh"], f"{block}/Tanh"),
            helper.make_node("MatMul", [f"{block}.tanh", f"{block}.fc.weight"], [f"{block}.fc"], f"{block}.fc/MatMul"),
            helper.make_node("Add", [value, f"{block}.fc"], [f"{block}.out"], f"{block}/Add"),
        ]
        value = f"{block}.out"
    onnx.save(_model(nodes, held, value), path)
    return path


def qdq_graph(
    path: Path,
    *,
    inputs: Mapping[int, float] | None = None,
    scales: Mapping[int, float] | None = None,
    codes_of: Mapping[int, int] | None = None,
    all_inputs: float = 1.0,
    fp8: bool = False,
    move: Mapping[int, np.ndarray] | None = None,
) -> Path:
    """The Q/DQ graph.

    Args:
        path: Where to.
        inputs: Factors on single blocks' input steps.
        scales: Factors on single blocks' weight scales, the codes left as they are.
        codes_of: Blocks that get the scales of another block.
        all_inputs: A factor on every input step.
        fp8: E4M3 instead of INT8.
        move: Blocks whose input is divided by a factor a channel, which the weights take back.
    """
    largest = 448.0 if fp8 else 127.0
    nodes, held, value = [], [], "images"
    every = [np.abs(weight).max(axis=0) / np.float32(largest) for weight in weights()]
    for number, weight in enumerate(weights()):
        block = f"blocks.{number}"
        stem, title = f"{block}.fc.input", f"{block}.fc.weight"
        nodes.append(helper.make_node("Tanh", [value], [f"{block}.tanh"], f"{block}/Tanh"))
        source, scale, step = f"{block}.tanh", every[number], 1 / largest
        if move and number in move:
            factor = move[number].astype(np.float32)
            held.append(numpy_helper.from_array(1 / factor, f"{stem}.factor"))
            nodes.append(helper.make_node("Mul", [source, f"{stem}.factor"], [f"{stem}.moved"], f"{stem}/Mul"))
            source, weight = f"{stem}.moved", weight * factor[:, None]
            scale, step = np.abs(weight).max(axis=0) / np.float32(largest), float((1 / factor).max()) / largest
        codes = _codes(weight / scale, fp8)
        scale = every[codes_of[number]] if codes_of and number in codes_of else scale
        scale = scale * np.float32((scales or {}).get(number, 1.0))
        step *= (inputs or {}).get(number, 1.0) * all_inputs
        held += [
            numpy_helper.from_array(np.array(step, np.float32), f"{stem}.scale"),
            _tensor(_codes(np.zeros(()), fp8), f"{stem}.zero_point"),
            _tensor(codes, f"{title}.int8"),
            numpy_helper.from_array(scale.astype(np.float32), f"{title}.scale"),
            _tensor(_codes(np.zeros(CHANNELS), fp8), f"{title}.zero_point"),
        ]
        pair = [f"{stem}.scale", f"{stem}.zero_point"]
        nodes += [
            helper.make_node("QuantizeLinear", [source, *pair], [f"{stem}.int8"], f"{stem}/QuantizeLinear"),
            helper.make_node("DequantizeLinear", [f"{stem}.int8", *pair], [f"{stem}.dq"], f"{stem}/DequantizeLinear"),
            helper.make_node(
                "DequantizeLinear",
                [f"{title}.int8", f"{title}.scale", f"{title}.zero_point"],
                [f"{title}.dq"],
                f"{title}/DequantizeLinear",
                axis=1,
            ),
            helper.make_node("MatMul", [f"{stem}.dq", f"{title}.dq"], [f"{block}.fc"], f"{block}.fc/MatMul"),
            helper.make_node("Add", [value, f"{block}.fc"], [f"{block}.out"], f"{block}/Add"),
        ]
        value = f"{block}.out"
    onnx.save(_model(nodes, held, value), path)
    return path


def _codes(scaled: np.ndarray, fp8: bool) -> np.ndarray:
    if not fp8:
        return np.rint(scaled).astype(np.int8)
    import ml_dtypes

    return scaled.astype(np.float32).astype(ml_dtypes.float8_e4m3fn)


def _tensor(values: np.ndarray, name: str) -> TensorProto:
    if values.dtype == np.int8:
        return numpy_helper.from_array(values, name)
    return helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, values.shape, values.tobytes(), raw=True)


def _model(nodes: list[Any], held: list[TensorProto], output: str) -> onnx.ModelProto:
    shape = ["batch", 1, TOKENS, CHANNELS]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        held,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
