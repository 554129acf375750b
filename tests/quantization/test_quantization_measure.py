"""What is measured inside a Q/DQ graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.quantization.measure import measure_quantization
from swin_deploy.quantization.quantized_linears import block_of, block_outputs, quantized_linears
from tests.quantization.qdq_graphs import BLOCKS, CHANNELS, TOKENS, float_graph, images, qdq_graph


def test_every_quantized_linear_is_read_with_its_steps_and_codes(tmp_path: Path) -> None:
    found = list(quantized_linears(onnx.load(qdq_graph(tmp_path / "q.onnx"))))
    assert [linear.module for linear in found] == [f"blocks.{number}.fc" for number in range(BLOCKS)]
    first = found[0]
    assert (first.tensor, first.node, first.grid.name) == ("blocks.0.tanh", "blocks.0.fc/MatMul", "int8")
    assert first.step == pytest.approx(1 / 127)
    assert first.codes.shape == (CHANNELS, CHANNELS) and np.abs(first.codes).max(axis=0).tolist() == [127] * CHANNELS


def test_a_float_graph_has_none(tmp_path: Path) -> None:
    graph = float_graph(tmp_path / "f.onnx")
    assert list(quantized_linears(onnx.load(graph))) == []
    assert measure_quantization(graph, graph, [images(2)]) is None


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("blocks.3.mlp.2/MatMul", "blocks.3"),
        ("blocks.11/Add_2", "blocks.11"),
        ("layers.1.blocks.0.attn.qkv", "layers.1.blocks.0"),
        ("head/MatMul", ""),
        ("myblocks.1/Add", ""),
    ],
)
def test_a_block_is_read_off_a_name(name: str, block: str) -> None:
    assert block_of(name) == block


def test_a_blocks_output_is_its_last_sum(tmp_path: Path) -> None:
    model = onnx.load(float_graph(tmp_path / "f.onnx"))
    assert block_outputs(model) == {f"blocks.{number}": f"blocks.{number}.out" for number in range(BLOCKS)}


def test_the_ratio_of_each_block_is_that_of_all_images_whatever_the_batches(tmp_path: Path) -> None:
    from swin_deploy.backends.onnxruntime import tensors_of

    graph, wanted = qdq_graph(tmp_path / "q.onnx"), float_graph(tmp_path / "f.onnx")
    shown = images(9)
    found = measure_quantization(graph, wanted, [shown[:4], shown[4:8], shown[8:]])
    assert found is not None and found.images == 9
    name = "blocks.4.out"
    (right,), (seen,) = tensors_of(wanted, [name], [shown]), tensors_of(graph, [name], [shown], literal=True)
    noise = float(np.sum((seen[name].astype(np.float64) - right[name]) ** 2))
    assert found.blocks["blocks.4"] == pytest.approx(
        10 * np.log10(np.sum(right[name].astype(np.float64) ** 2) / noise), abs=0.01
    )


def test_the_share_of_multiplications_counts_tokens(tmp_path: Path) -> None:
    found = measure_quantization(qdq_graph(tmp_path / "q.onnx"), float_graph(tmp_path / "f.onnx"), [images(3)])
    assert found is not None
    assert found.macs == found.quantized_macs == BLOCKS * TOKENS * CHANNELS**2


def test_a_network_without_blocks_has_no_ratios_and_is_measured_all_the_same(tmp_path: Path) -> None:
    graph, wanted = qdq_graph(tmp_path / "q.onnx"), float_graph(tmp_path / "f.onnx")
    for path in (graph, wanted):
        model = onnx.load(path)
        for node in model.graph.node:
            node.name = node.name.replace("blocks.", "layer")
        onnx.save(model, path)
    found = measure_quantization(graph, wanted, [images(3)])
    assert found is not None and not found.blocks and len(found.linears) == BLOCKS
    assert {linear.block for linear in found.linears} == {""}


def test_a_graph_that_gives_nan_is_left_to_the_gate_on_its_outputs(tmp_path: Path) -> None:
    shown = images(3)
    shown[1, 0, 0, 0] = np.nan
    assert measure_quantization(qdq_graph(tmp_path / "q.onnx"), float_graph(tmp_path / "f.onnx"), [shown]) is None


def test_a_graph_against_itself_in_float_is_exact(tmp_path: Path) -> None:
    from swin_deploy.quantization.block_noise import BlockNoise

    noise, values = BlockNoise(), {"blocks.0": images(2)}
    noise.update(values, values)
    assert noise.sqnr_db() == {"blocks.0": EXACT_DB}
