"""A kernel's line says where it works, what it is, and what it fuses."""

from __future__ import annotations

from swin_deploy.device.engine_listing import EngineLayer, LayerTensor
from swin_deploy.device.kernel_census import kernels_of
from swin_deploy.kernel_table import KernelLine, kernel_lines


def line_of(*onnx: str, name: str = "__myl_AddMul_myl0_7", kind: str = "kgen") -> KernelLine:
    layer = EngineLayer(
        name,
        kind,
        (LayerTensor("x", 96, "int8"), LayerTensor("r", 96, "fp16"), LayerTensor("i", 9, "other")),
        (LayerTensor("w", 96, "int8"),),
        (LayerTensor("y", 96, "fp16"),),
        onnx=onnx,
    )
    (line,) = kernel_lines(kernels_of((layer,)))
    return line


def test_a_kernel_of_one_block_names_its_modules_within_it() -> None:
    line = line_of("blocks.3.attn.qkv/MatMul", "blocks.3.attn.qkv/Add", "blocks.3/Add_2", kind="gemm")
    assert (line.block, line.kind, line.types) == ("blocks.3", "product", "int8+fp16 > fp16")
    assert line.fuses == "attn.qkv: MatMul, Add; Add"
    assert line.kernel == "__myl_AddMul"


def test_a_kernel_between_two_blocks_names_both_in_order() -> None:
    line = line_of("blocks.10.norm1/LayerNormalization", "blocks.9/Add_2", "blocks.10/Gather")
    assert line.block == "blocks.9 > blocks.10"
    assert line.fuses == "blocks.10.norm1: LayerNorm; blocks.9: Add; blocks.10: Gather"


def test_what_is_outside_of_blocks_stands_before_or_behind_them() -> None:
    assert line_of("patch_embed/Gather", "blocks.0.norm1/LayerNormalization").block == "patch_embed > blocks.0"
    assert line_of("blocks.11/Add_2", "norm/LayerNormalization", "ReduceMean").block == "blocks.11 > norm > graph"
    assert line_of().block == "-"


def test_the_codes_around_a_linear_belong_to_it() -> None:
    line = line_of(
        "blocks.0.mlp.0/MatMul", "blocks.0.mlp.0.input/DequantizeLinear", "blocks.0.mlp.0.weight/DequantizeLinear"
    )
    assert line.fuses == "mlp.0: MatMul, DQ x2"


def test_the_stages_and_blocks_of_other_networks_are_told_too() -> None:
    line = line_of("/layers.1/blocks.0/mlp/fc1/MatMul", "/layers.1/blocks.0/mlp/act/Erf_1")
    assert (line.block, line.fuses) == ("/layers.1/blocks.0", "mlp/fc1: MatMul; mlp/act: Erf")


def test_what_runs_on_the_host_is_no_kernel() -> None:
    assert kernel_lines(kernels_of((EngineLayer("s", "shape_call"), EngineLayer("w", "wait")))) == ()


def test_the_detail_is_json_ready_and_whole() -> None:
    detail = line_of("head/Gemm", kind="gemm").detail
    assert (detail["name"], detail["constants"], detail["products"]) == ("__myl_AddMul_myl0_7", ["int8"], 1)
