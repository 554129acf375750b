"""What TensorRT for RTX makes of the deployment form: kernels, fused attentions and INT8 products, counted with no GPU.

The bounds are what was reached (TensorRT for RTX 1.6.1). They may fall; a rise means that a form which the builder
fuses was lost, in the deployment form, the exporter, the Q/DQ placement or the typing pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from examples.zoo.build_zoo import ZOO
from swin_deploy.artifact import Precision
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.device.build_in_child import build_plan
from swin_deploy.device.build_job import BatchProfile
from swin_deploy.device.kernel_census import KernelCensus
from swin_deploy.model.fold import fold
from swin_deploy.onnx_graph.attention_qdq import insert_attention_qdq, tensors_to_range
from swin_deploy.onnx_graph.linears import Linear
from swin_deploy.onnx_graph.names import name_batch_axis, name_by_module, set_metadata
from swin_deploy.onnx_graph.placement import POLICIES, placed
from swin_deploy.onnx_graph.simplifier import simplified
from swin_deploy.onnx_graph.typing_pass import type_graph
from swin_deploy.torch_versions import export_onnx, export_program
from tests.quantized_graph import quantized_anyhow
from tests.random_swin import random_reference, small_spec

pytest.importorskip("tensorrt_rtx")

Graph = Callable[[str], ModelProto]
# The small ones: both blocks of the first stage, one of them shifted, and one behind the merging.
SPECS = {
    "swin_t": ZOO["swin_t"].spec,
    "swinv2_t": ZOO["swinv2_t"].spec,
    "v1": small_spec("v1", image_size=(64, 64), patch=4, dim=32, depths=(2, 1), window=4),
    "v2": small_spec("v2", image_size=(64, 64), patch=4, dim=32, depths=(2, 1), window=4),
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The simplified FP32 graph of one of `SPECS`, random weights, made when it is first asked for."""

    @functools.cache
    def exported(name: str) -> ModelProto:
        spec: SwinSpec = SPECS[name]
        path = tmp_path_factory.mktemp(name) / "exported.onnx"
        program = export_program(fold(random_reference(spec)), spec.image_size, 32, "cpu")
        export_onnx(program, path, 20, spec.outputs)
        model = onnx.load(path)
        name_by_module(model)
        name_batch_axis(model)
        set_metadata(model, spec=spec.to_json())
        return simplified("onnxsim", model)

    return exported


def census(model: ModelProto, folder: Path, *capabilities: str, half: str = "fp16") -> dict[str, KernelCensus]:
    """Of a plan for batches of 1 to 32, by compute capability."""
    source = folder / "graph.onnx"
    onnx.save(type_graph(model, half=half), source)
    report = build_plan(
        source,
        folder / "plan",
        flavor="tensorrt_rtx",
        precision=Precision.INT8,
        shapes=BatchProfile(1, 8, 32),
        compute_capabilities=capabilities,
    )
    return report.census_by_target()


def products(found: KernelCensus) -> dict[str, int]:
    """Matrix products by type, those that there are."""
    return {kind: count for kind, count in found.gemms_by_type.items() if count}


def assert_nothing_stray(found: KernelCensus, *, reformats: int = 0) -> None:
    """One cast, of the input; one shape on the host, of the batch; and copies no more than were reached."""
    assert found.casts <= 1 and found.shapes <= 1 and found.reformats <= reformats
    assert (found.opaque, found.unfused) == (0, ())


def test_a_swin_t_in_fp16_has_no_more_kernels_than_were_reached(graph: Graph, tmp_path: Path) -> None:
    found = census(graph("swin_t"), tmp_path, "8.6")["8.6"]
    assert found.kernels <= 108
    assert (found.fused_attentions, products(found), found.convolutions_by_type) == (12, {"fp16": 52}, {"fp16": 1})
    # One a block: query, key and value into the order that the attention wants. The first one adds the bias on the way.
    assert_nothing_stray(found, reformats=11)


def test_a_swin_t_in_int8_has_no_more_kernels_than_were_reached_on_any_gpu(graph: Graph, tmp_path: Path) -> None:
    """One plan for Ampere, Ada and Blackwell: at least four products of every block in INT8, every attention fused."""
    model = quantized_anyhow(graph("swin_t"))
    by_target = census(model, tmp_path, "8.0", "8.6", "8.9", "12.0")
    assert sorted(by_target) == ["12.0", "8.0", "8.6", "8.9"]
    for found in by_target.values():
        assert found.kernels <= 120
        assert (found.fused_attentions, products(found)) == (12, {"int8": 48, "fp16": 4})
        assert_nothing_stray(found)


@pytest.mark.slow
def test_a_swin_v2_t_has_no_more_kernels_than_were_reached(graph: Graph, tmp_path: Path) -> None:
    model = graph("swinv2_t")
    half, codes = (census(made, tmp_path, "8.6")["8.6"] for made in (model, quantized_anyhow(model)))
    assert half.kernels <= 120
    assert codes.kernels <= 132
    assert half.fused_attentions == codes.fused_attentions == 12
    assert (products(half), products(codes)) == ({"fp16": 52}, {"int8": 48, "fp16": 4})
    assert_nothing_stray(half)
    assert_nothing_stray(codes)


# Kernels of three blocks by policy. FC1 in INT8 leaves bias and GELU to a kernel of their own, one more a block.
REACHED = {
    ("v1", "fp16"): 32,
    ("v1", "linears"): 35,
    ("v1", "no-fc2"): 35,
    ("v1", "mlp"): 35,
    ("v1", "attention-linears"): 32,
    ("v1", "linears-and-attention"): 35,
    ("v1", "merges"): 35,
    ("v2", "fp16"): 35,
    ("v2", "linears"): 38,
    ("v2", "no-fc2"): 38,
    ("v2", "mlp"): 38,
    ("v2", "attention-linears"): 35,
    ("v2", "linears-and-attention"): 38,
    ("v2", "merges"): 38,
}


# Kernels that only copy. In V1 an FP16 product takes its bias along, and what orders query, key and value copies alone.
COPIES = {("v1", "fp16"): 2, ("v1", "mlp"): 2}


def test_every_policy_has_a_bound() -> None:
    assert set(REACHED) == {(family, name) for family in ("v1", "v2") for name in ("fp16", *POLICIES)}


@pytest.mark.parametrize(("family", "policy"), REACHED, ids=lambda value: value)
def test_three_blocks_keep_their_attentions_fused_under_every_policy(
    graph: Graph, tmp_path: Path, family: str, policy: str
) -> None:
    model = graph(family)
    chosen: list[Linear] = []
    if policy != "fp16":
        chosen = placed(model, POLICIES[policy])
        model = quantized_anyhow(model, chosen)
        if POLICIES[policy].attention:
            model = insert_attention_qdq(model, dict.fromkeys(tensors_to_range(model), 4.0))
    found = census(model, tmp_path, "8.6")["8.6"]
    assert found.kernels <= REACHED[family, policy]
    assert found.fused_attentions == 3
    # Three blocks, a merging and the head.
    assert products(found) == {
        kind: count for kind, count in (("int8", len(chosen)), ("fp16", 14 - len(chosen))) if count
    }
    assert_nothing_stray(found, reformats=COPIES.get((family, policy), 0))


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_bf16_has_the_kernels_of_fp16_and_fp8_those_of_int8(graph: Graph, tmp_path: Path, family: str) -> None:
    (brain,) = census(graph(family), tmp_path, "8.6", half="bf16").values()
    assert brain.kernels <= REACHED[family, "fp16"]
    assert (brain.fused_attentions, brain.gemms_by_type["bf16"]) == (3, brain.gemms)
    (eight,) = census(quantized_anyhow(graph(family), grid="fp8"), tmp_path, "8.9").values()
    assert eight.kernels <= REACHED[family, "linears"]
    assert (eight.fused_attentions, eight.gemms_by_type["fp8"]) == (3, 12)


def test_the_control_an_attention_quantized_by_halves_is_taken_apart(graph: Graph, tmp_path: Path) -> None:
    model = insert_attention_qdq(graph("v1"), dict.fromkeys(tensors_to_range(graph("v1")), 4.0))
    found = census(model, tmp_path, "8.6")["8.6"]  # qkv and proj are left in FP16
    assert found.fused_attentions < 3
    assert len(found.unfused) == 3 - found.fused_attentions
    assert found.kernels > REACHED["v1", "fp16"]
