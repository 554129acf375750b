"""What a graph asks for is counted on the graphs that the stages make, and on spoiled ones."""

from __future__ import annotations

import json

import pytest
from onnx import ModelProto, parser

from swin_deploy.artifact import Precision
from swin_deploy.onnx_graph.asked_products import AskedProducts, asked_products
from swin_deploy.onnx_graph.attention_qdq import insert_attention_qdq, tensors_to_range
from swin_deploy.onnx_graph.names import set_metadata
from swin_deploy.onnx_graph.profiles import in_profile
from swin_deploy.onnx_graph.typing_pass import type_graph
from tests.chain import Chain
from tests.quantized_graph import quantized_anyhow

# Four blocks of four linears, one merging and the head; each block has one attention of two products.
LINEARS, QUANTIZED, ATTENTIONS, CONVOLUTIONS = 18, 16, 4, 1
EVERY = LINEARS + 2 * ATTENTIONS + CONVOLUTIONS


@pytest.fixture(params=["v1", "v2"])
def fp32(request: pytest.FixtureRequest) -> ModelProto:
    chain: Chain = request.getfixturevalue(request.param)
    return chain.model("simplified")


def test_a_typed_graph_asks_for_every_linear_in_its_type(fp32: ModelProto) -> None:
    for half in ("fp16", "bf16"):
        asked = asked_products(type_graph(fp32, half=half), Precision(half))
        assert asked == AskedProducts(LINEARS, ATTENTIONS, 0)
    assert asked_products(fp32, Precision.FP32) == AskedProducts(LINEARS, ATTENTIONS, EVERY)


@pytest.mark.parametrize("grid", ["int8", "fp8"])
def test_a_quantized_graph_asks_for_the_linears_with_codes_on_both_sides(fp32: ModelProto, grid: str) -> None:
    model = type_graph(quantized_anyhow(fp32, grid=grid), half="fp16")
    assert asked_products(model, Precision(grid)) == AskedProducts(QUANTIZED, ATTENTIONS, 0)


def test_the_products_of_a_quantized_attention_are_no_linears(fp32: ModelProto) -> None:
    model = insert_attention_qdq(quantized_anyhow(fp32), dict.fromkeys(tensors_to_range(fp32), 4.0))
    assert asked_products(type_graph(model, half="fp16"), Precision.INT8) == AskedProducts(QUANTIZED, ATTENTIONS, 0)


def test_a_graph_of_the_older_profile_asks_by_flags(fp32: ModelProto) -> None:
    """Its tensors are FP32, and none of its products is asked for in FP32."""
    assert asked_products(fp32, Precision.FP16, by_flags=True) == AskedProducts(LINEARS, ATTENTIONS, 0)
    lowered = in_profile(quantized_anyhow(fp32), "trt86")
    assert asked_products(lowered, Precision.INT8, by_flags=True) == AskedProducts(QUANTIZED, ATTENTIONS, 0)


def test_a_block_that_is_kept_in_fp32_is_asked_for_in_fp32(fp32: ModelProto) -> None:
    kept = {node.name for node in fp32.graph.node if node.name.startswith("blocks.1")}
    asked = asked_products(type_graph(fp32, half="fp16", keep=kept), Precision.FP16)
    assert asked == AskedProducts(LINEARS - 4, ATTENTIONS, 4 + 2)


def test_a_graph_that_lost_its_types_asks_for_nothing_in_fp16(fp32: ModelProto) -> None:
    assert asked_products(fp32, Precision.FP16) == AskedProducts(0, ATTENTIONS, EVERY)


def test_what_the_quantize_stage_wrote_down_outlives_the_loss_of_its_codes(fp32: ModelProto) -> None:
    assert asked_products(fp32, Precision.INT8).linears == 0
    set_metadata(fp32, quantization=json.dumps({"linears": ["a", "b", "c"], "attention": False}))
    assert asked_products(fp32, Precision.INT8).linears == 3


def test_a_softmax_that_no_product_reads_is_no_attention() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N, 4] x) => (float[N, 4] y) { y = Softmax(x) }'
    )
    assert asked_products(model, Precision.FP32) == AskedProducts(0, 0, 0)
