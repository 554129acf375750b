"""The census reads listings that real builds printed (two `.log` files, strides cut) and the older format."""

from __future__ import annotations

from pathlib import Path

from swin_deploy.device.kernel_census import parse_census

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
