"""The census reads listings that real builds printed (two `.log` files, strides cut) and the older format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_deploy.device.kernel_census import KernelCensus, parse_census, parse_inspector
from swin_deploy.errors import BadInput

HERE = Path(__file__).parent


def test_kernels_and_fused_attentions_of_a_real_listing_are_counted() -> None:
    (census,) = parse_census((HERE / "census_fp16_attention.log").read_text())
    # shape_call launches nothing; the other eight are one attention, four matrix products and three fused maps
    assert census.by_type == {"gemm": 2, "kgen": 4, "runtime_fusion": 2, "shape_call": 1}
    assert (census.kernels, census.fused_attentions, census.gemms, census.int8_gemms) == (8, 1, 4, 0)
    assert census.opaque == 0


def test_only_matrix_products_that_read_int8_count_as_int8() -> None:
    (census,) = parse_census((HERE / "census_int8_linears.log").read_text())
    # of three products the last stays FP16; the kernel that quantizes writes INT8 but reads FP16, and is no product
    assert (census.kernels, census.gemms, census.int8_gemms, census.fused_attentions) == (6, 3, 2, 0)


def test_writing_int8_is_not_reading_int8() -> None:
    line = (
        "Name: a, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [1], Datatype: Half }], Constants: [], "
        "Outputs: [ { Name: y, Dimensions: [1], Datatype: Int8 }], TacticName: , StreamId: 0, Metadata: \n"
    )
    (census,) = parse_census("Layers:\n" + line)
    assert (census.gemms, census.int8_gemms) == (1, 0)


def test_events_between_streams_are_no_kernels() -> None:
    layer = "Name: {0}, LayerType: {0}, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: \n"
    (census,) = parse_census("Layers:\n" + "".join(layer.format(kind) for kind in ("signal", "wait", "kgen")))
    assert census.kernels == 1


def test_the_older_listing_is_read_and_its_fused_regions_are_called_opaque() -> None:
    (census,) = parse_census(
        "Engine Layer Information:\n"
        "Layer(Reformat): Reformatting CopyNode for Input 0, Tactic: 0x0, x (Float[1,3,8,8]) -> a (Half[1,3,8,8])\n"
        "Layer(NoOp): skip, Tactic: 0x0, a (Half[1,3,8,8]) -> b (Half[1,3,8,8])\n"
        "Layer(Myelin): {ForeignNode[stem...head]}, Tactic: 0x0, b (Half[1,3,8,8]) -> y (Half[1,10])\n"
    )
    assert (census.kernels, census.opaque) == (2, 1)


def test_each_listing_of_a_log_is_its_own_census() -> None:
    text = (HERE / "census_int8_linears.log").read_text()
    assert len(parse_census(text + "\n" + text)) == 2


def test_a_log_without_a_listing_gives_no_census() -> None:
    assert parse_census("nothing of the kind\nLayers:\n") == ()


def test_a_census_is_json_ready() -> None:
    (census,) = parse_census((HERE / "census_int8_linears.log").read_text())
    assert census.facts()["kernels"] == 6


def layer(kind: str, reads: str, *, name: str = "a", weights: str = "", onnx: str = "", writes: str = "") -> str:
    """One line as TensorRT for RTX prints it."""
    constants = f"{{ Name: w, Dimensions: [96,96], Datatype: {weights} }}" if weights else ""
    return (
        f"Name: {name}, LayerType: {kind}, Inputs: [ {{ Name: x, Dimensions: [-1,96], Datatype: {reads} }}], "
        f"Constants: [ {constants}, {{ Name: beta, Dimensions: [1], Datatype: Float }}], Outputs: [ {{ Name: y, "
        f"Dimensions: [-1,96], Datatype: {writes or reads} }}], TacticName: , StreamId: 0, Metadata: "
        + "".join(f"[ONNX Layer: {node}]" for node in onnx.split())
        + "\n"
    )


def census_of(*lines: str) -> KernelCensus:
    (census,) = parse_census("Layers:\n" + "".join(lines))
    return census


@pytest.mark.parametrize(
    ("reads", "weights", "kind"),
    [
        ("Int8", "Int8", "int8"),
        ("FP8", "FP8", "fp8"),
        ("Half", "Half", "fp16"),
        ("BFloat16", "BFloat16", "bf16"),
        ("Float", "Float", "fp32"),
        ("Half", "", "fp16"),  # a product of two activations; beta is FP32, and a scalar
        ("Int8", "Half", "fp16"),  # codes that are dequantized on the way in: the product itself is in FP16
        ("Half", "Int8", "fp16"),  # weight-only quantization likewise
        ("Int32", "", "unknown"),
    ],
)
def test_a_product_is_counted_under_the_type_it_computes_in(reads: str, weights: str, kind: str) -> None:
    census = census_of(layer("gemm", reads, weights=weights))
    assert {name: count for name, count in census.gemms_by_type.items() if count} == {kind: 1}


def test_a_kernel_that_merged_several_products_counts_each() -> None:
    """TensorRT 10 joins query, key and value: issue 4397 of NVIDIA/TensorRT."""
    census = census_of(layer("gemm", "Half", weights="Half", onnx="q/MatMul k/MatMul v/MatMul v/Add"))
    assert (census.kernels, census.gemms) == (1, 3)


def test_a_product_in_a_generated_kernel_is_found_by_the_graphs_node() -> None:
    """A product with one row becomes `MulSum`; what follows an INT8 product names its node too and is none."""
    census = census_of(
        layer("kgen", "Half", name="__myl_MulSum_myl0_1", weights="Half", onnx="head/Gemm"),
        layer("gemm", "Int8", weights="Int8", onnx="fc1/MatMul"),
        layer("kgen", "Half", name="__myl_MulAdd_myl0_2", onnx="fc1/MatMul fc1/Add"),
    )
    assert (census.gemms_by_type["fp16"], census.gemms_by_type["int8"], census.gemms) == (1, 1, 2)


def test_a_users_module_called_mha_is_no_fused_attention() -> None:
    census = census_of(layer("gemm", "Half", name="/layers_2/mha/attn/mha_prob/key/MatMul_myl0_16"))
    assert (census.fused_attentions, census.gemms) == (0, 1)


def test_copies_and_casts_are_told_from_work() -> None:
    census = census_of(
        layer("kgen", "Half", name="__myl_ReshTranSlicMove_myl0_1"),
        layer("kgen", "Float", name="__myl_CastReplConc_myl0_2", writes="Half"),
        layer("kgen", "Half", name="__myl_MulMinMaxRounCast_myl0_3", writes="Int8"),
        layer("kgen", "Half", name="__myl_AddReshTran_myl0_4"),  # adds a bias on the way
        layer("kgen", "Half", name="__myl_MulAddCastErf_myl0_5", writes="Int8"),
        layer("Reformat", "Half", name="Reformatting CopyNode for Input Tensor 0 to a"),
        layer("Reformat", "Float", name="Reformatting CopyNode for Input Tensor 0 to b", writes="Half"),
        layer("shape_call", "Int32"),
    )
    assert (census.kernels, census.reformats, census.casts, census.shapes) == (7, 2, 3, 1)


def test_a_convolution_that_computes_a_linear_counts_as_a_product() -> None:
    census = census_of(
        layer("CaskConvolution", "Int8", onnx="/blocks.0/mlp/fc1/MatMul"),
        layer("CaskConvolution", "Half", onnx="/patch_embed/proj/Conv"),
        layer("correlation", "Half", onnx="patch_embed.proj/Conv"),
    )
    assert (census.gemms_by_type["int8"], census.convolutions_by_type) == (1, {"fp16": 2})


def test_softmaxes_outside_of_fused_attentions_are_named_and_their_products_kept_apart() -> None:
    census = census_of(
        layer("kgen", "Half", name="_gemm_mha_v2_myl0_1", onnx="blocks.0.attn/MatMul blocks.0.attn/Softmax"),
        layer("gemm", "Int8", onnx="blocks.1.attn/MatMul"),
        layer("kgen", "Half", name="__myl_MaxSubExpSumDiv_myl0_2", onnx="blocks.1.attn/Softmax"),
        layer("gemm", "Int8", weights="Int8", onnx="blocks.1.attn.proj/MatMul"),
    )
    assert (census.fused_attentions, census.unfused) == (1, ("blocks.1.attn/Softmax",))
    assert (census.gemms_by_type["int8"], census.attention_gemms_by_type) == (2, {"int8": 1})


def test_a_listing_of_names_alone_hides_everything() -> None:
    census = parse_inspector('{"Layers": ["conv0 + relu0", "_gemm_mha_v2_myl0_1", "fc1/MatMul_myl0_2"]}')
    assert (census.kernels, census.fused_attentions, census.gemms, census.opaque) == (3, 1, 0, 2)
    assert census.by_type == {"unnamed": 3}


def test_tf32_shows_in_the_name_of_the_kernel() -> None:
    line = layer("gemm", "Float").replace("TacticName: ", "TacticName: sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n")
    assert census_of(line).tf32_gemms == 1


def test_a_census_goes_through_json_unchanged() -> None:
    census = census_of(layer("kgen", "Half", name="__myl_ExpSum_myl0_2", onnx="blocks.1.attn/Softmax"))
    assert KernelCensus(**json.loads(json.dumps(census.facts()))) == census


def test_a_node_that_two_kernels_name_makes_no_product_more() -> None:
    """The second takes the epilogue of the first along, and its name."""
    census = census_of(
        layer("gemm", "Int8", weights="Int8", onnx="fc1/MatMul"),
        layer("gemm", "Int8", weights="Int8", onnx="fc1/MatMul fc1/Add fc2/MatMul"),
    )
    assert (census.gemms, census.int8_gemms) == (2, 2)


@pytest.mark.parametrize(("reads", "kind"), [("Half", "fp16"), ("Float", "fp32")])
def test_a_fused_attention_has_the_type_that_it_reads_whatever_its_bias_is(reads: str, kind: str) -> None:
    assert census_of(layer("kgen", reads, name="_gemm_mha_v2_myl0_4", weights="Float")).attentions_by_type == {kind: 1}


@pytest.mark.parametrize("name", ["mha_1.fc/MatMul_myl0_1", "mha_out/MatMul", "fmha_v2_x/MatMul_myl0_2"])
def test_no_name_of_a_users_module_makes_an_attention_of_a_product(name: str) -> None:
    census = census_of(layer("gemm", "Float", name=name, weights="Float", onnx=name))
    assert (census.fused_attentions, census.gemms_by_type["fp32"]) == (0, 1)


def test_a_convolution_in_tf32_shows_too() -> None:
    line = layer("correlation", "Float").replace("TacticName: ", "TacticName: sm80_xmma_fprop_implicit_gemm_TF32f32")
    assert census_of(line).tf32_gemms == 1


@pytest.mark.parametrize("spoiled", [{"kernels": "8"}, {"gemms": -1}, {"gemms_by_type": {"fp16": 1.5}}])
def test_counts_that_are_none_are_refused(spoiled: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="no counts"):
        KernelCensus(**{**census_of(layer("gemm", "Half")).facts(), **spoiled})
