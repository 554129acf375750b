"""Each variant goes through torch.export to ONNX, and ONNX Runtime gives the same, at any batch and in FP16."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from swin_deploy.model.fold import fold
from swin_deploy.model.variants.registry import SHIPPED
from swin_deploy.onnx_graph.linears import BLOCK_LINEARS, linears
from swin_deploy.onnx_graph.names import name_batch_axis, name_by_module
from swin_deploy.onnx_graph.profiles import LOWERED, in_profile
from swin_deploy.onnx_graph.simplifier import simplified
from swin_deploy.onnx_graph.typing_pass import type_graph
from swin_deploy.torch_versions import export_onnx, export_program
from tests.model.variants.cases import model
from tests.random_swin import random_images, relative_error

CASES = [
    ("channel-gate", "v1"),
    ("channel-gate", "v2"),
    ("linformer", "v1"),
    ("performer", "v1"),
    ("routing", "v1"),
    ("tests.model.variants.own:Mixer", "v2"),
]
# Operators whose shapes depend on the data, or that runtimes execute one element at a time.
UNWANTED = {"ScatterND", "ScatterElements", "NonZero", "Loop", "If", "Scan", "Unique", "Compress", "GatherND", "Range"}


@cache
def made(name: str, family: str, folder: Path) -> tuple[Any, onnx.ModelProto]:
    """The paper form, shifted and padded, and the simplified graph of its folded form."""
    paper = model(name, family=family, image_size=(18, 22), window=4, depths=(2,), heads=(2,))
    path = folder / f"{name.rpartition(':')[2]}-{family}.onnx"
    export_onnx(export_program(fold(paper), paper.spec.image_size, 8, "cpu"), path, 20, ("logits",))
    graph = onnx.load(path)
    name_by_module(graph)
    name_batch_axis(graph)
    onnx.checker.check_model(graph, full_check=True)
    return paper, simplified("onnxsim", graph)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].rpartition(':')[2]}-{case[1]}")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, onnx.ModelProto]:
    return made(*request.param, tmp_path_factory.getbasetemp())


def run(graph: onnx.ModelProto, images: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy().astype(np.float32)})[0])


@torch.no_grad()
def test_onnx_runtime_gives_what_the_paper_form_gives_at_each_batch(pair: tuple[Any, onnx.ModelProto]) -> None:
    paper, graph = pair
    for batch in (1, 3):
        images = random_images(paper.spec, batch, seed=batch).float()
        assert relative_error(run(graph, images), paper(images)) <= 1e-5


def test_the_graph_is_of_standard_operators_with_shapes_that_are_known(pair: tuple[Any, onnx.ModelProto]) -> None:
    graph = pair[1].graph
    assert {node.domain for node in graph.node} == {""}
    found = Counter(node.op_type for node in graph.node)
    assert not set(found) & UNWANTED
    assert not found["Cast"]  # arithmetic is chosen later: see onnx_graph/typing_pass.py
    inferred = onnx.shape_inference.infer_shapes(pair[1], data_prop=True).graph
    free = {
        (value.name, axis.dim_param)
        for value in inferred.value_info
        for axis in value.type.tensor_type.shape.dim
        if not axis.HasField("dim_value") and "batch" not in axis.dim_param
    }
    assert not free


@torch.no_grad()
def test_it_takes_fp16(pair: tuple[Any, onnx.ModelProto]) -> None:
    paper, graph = pair
    images = random_images(paper.spec, 4).float()
    wanted, got = paper(images), run(type_graph(graph, half="fp16"), images)
    bound = 0.3 if paper.spec.attention == "routing" else 0.02  # a token may be routed elsewhere: see its docstring
    assert float((got - wanted).norm() / wanted.norm()) < bound


@torch.no_grad()
@pytest.mark.parametrize("profile", LOWERED)
def test_it_is_lowered_to_what_tensorrt_8_reads(pair: tuple[Any, onnx.ModelProto], profile: str) -> None:
    paper, graph = pair
    images = random_images(paper.spec, 2).float()
    assert relative_error(run(in_profile(graph, profile), images), paper(images)) <= 1e-5


def test_int8_finds_its_linears(pair: tuple[Any, onnx.ModelProto]) -> None:
    paper, graph = pair
    if paper.spec.attention not in SHIPPED:
        pytest.skip("an attention that nothing is known of")
    found = [linear.module for linear in linears(graph) if BLOCK_LINEARS.fullmatch(linear.module)]
    kinds = Counter(module.rsplit(".", 1)[1] for module in found)
    assert kinds == dict.fromkeys(("qkv", "proj", "0", "2"), paper.spec.depth)


def test_top_k_is_one_operator(tmp_path_factory: pytest.TempPathFactory) -> None:
    paper, graph = made("routing", "v1", tmp_path_factory.getbasetemp())
    found = [node for node in graph.graph.node if node.op_type == "TopK"]
    assert len(found) == 2 * paper.spec.depth  # queries and keys


def test_the_programs_batch_is_free() -> None:
    paper = model("routing")
    folded = fold(paper)
    program = export_program(folded, paper.spec.image_size, 8, "cpu").module()
    with torch.no_grad():
        for batch in (1, 5):
            images = random_images(paper.spec, batch).float()
            assert relative_error(program(images), folded(images)) <= 1e-6
