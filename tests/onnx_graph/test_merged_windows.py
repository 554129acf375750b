"""Attention whose windows and heads share an axis is found, whatever stands around it, and no graph of ours has it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser

from benchmarks.merged_windows import exported
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.merged_windows import merged_windows
from swin_deploy.onnx_graph.profiles import LOWERED, in_profile
from swin_deploy.onnx_graph.typing_pass import type_graph
from tests.chain import Chain
from tests.quantized_graph import quantized_anyhow
from tests.random_swin import small_spec

Graph = Callable[[str], ModelProto]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The same network with windows apart and merged: four windows, shifted, then a single one."""

    @functools.cache
    def both() -> dict[str, ModelProto]:
        return dict(exported(small_spec("v1"), Path(tmp_path_factory.mktemp("forms"))))

    return lambda name: both()[name]


def test_each_attention_of_several_windows_is_named_with_windows_and_heads(graph: Graph) -> None:
    found = merged_windows(graph("merged"))
    assert len(found) == 2  # of four blocks; a single window has no axis to merge
    assert found[0].endswith("[1, 8, 49, 49], to scores of 4 axes: 4 windows of 2 heads in one of them")


@pytest.mark.parametrize("made", ["int8", "fp16", "typed int8"])
def test_quantization_and_types_do_not_hide_it(graph: Graph, made: str) -> None:
    model = graph("merged")
    # The benchmark's graph says no spec, so that every linear of it is taken.
    model = quantized_anyhow(model) if "int8" in made else model
    model = type_graph(model, half="fp16") if made != "int8" else model
    assert len(merged_windows(model)) == 2


@pytest.mark.parametrize("profile", LOWERED)
def test_a_profile_of_tensorrt_8_refuses_it_and_takes_its_twin(graph: Graph, profile: str) -> None:
    with pytest.raises(BadInput, match=r"4 windows of 2 heads in one of them \(and 1 more\).*FP16 at batch 32"):
        in_profile(graph("merged"), profile)
    in_profile(graph("apart"), profile)


def test_the_profile_of_later_versions_takes_it(graph: Graph) -> None:
    assert in_profile(graph("merged"), "strong").graph.node


@pytest.mark.parametrize("name", ["simplified", "fp16", "bf16", "qdq", "int8", "lowered", "lowered85", "lowered85.qdq"])
def test_no_graph_of_ours_has_it(chain: Chain, name: str) -> None:
    assert merged_windows(chain.model(name)) == ()


def small(constant: tuple[int, ...], scores: str, before: str = "", after: str = "") -> ModelProto:
    """Scores plus a constant, softmax, values of 8 channels, and a linear that takes 16: two heads."""
    gemm = "Gemm" in after  # which takes two axes, and may take its weight transposed
    shape = (24, 16) if "transB" in after else (16, 24)
    axes, rows, written = (2, "-1, 16", "N, M") if gemm else (3, "-1, 16, 16", "N, M, L")
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[{scores}] s, float[{scores[:-1]}8] v) => (float[{written}] y)
        <int64[{axes}] shape = {{{rows}}}, float half = {{0.5}}, bool seen = {{1}}> {{
            a = Add(s, c)
            p = Softmax(a)
            x = MatMul(p, v)
            r = Reshape(x, shape)
            y = MatMul(r, w)
        }}"""
    model = parser.parse_model(text.replace(before, after) if before else text)
    for name, dims in (("c", constant), ("w", shape)):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(dims, np.float32), name))
    return model


@pytest.mark.parametrize(
    ("constant", "scores", "found"),
    [
        ((1, 8, 4, 4), "N, 8, 4, 4", 1),
        ((8, 4, 4), "N, 8, 4, 4", 1),
        ((1, 2, 4, 4), "N, 2, 4, 4", 0),  # heads alone: windows are in the batch axis
        ((4, 4), "N, 8, 4, 4", 0),  # the same for each window and head
        ((4, 2, 4, 4), "N, 4, 2, 4, 4", 0),  # apart
    ],
)
def test_the_form_is_told_by_the_constant_and_the_axes_of_the_scores(
    constant: tuple[int, ...], scores: str, found: int
) -> None:
    assert len(merged_windows(small(constant, scores))) == found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("p = Softmax(a)", "b = Mul(a, half) p = Softmax(b)"),  # scaled behind the bias
        ("p = Softmax(a)", "b = Where(seen, a, half) p = Softmax(b)"),  # masked
        ("y = MatMul(r, w)", "y = Gemm(r, w)"),
        ("y = MatMul(r, w)", "y = Gemm <transB = 1> (r, w)"),
    ],
)
def test_a_scale_a_mask_and_a_gemm_do_not_hide_it(before: str, after: str) -> None:
    assert len(merged_windows(small((1, 8, 4, 4), "N, 8, 4, 4", before, after))) == 1
