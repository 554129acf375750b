"""A policy proposes, a plan file overrides, exclusions have the last word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib.errors import BadData
from swin_deploy.backends.onnxruntime import tensors_of
from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import quantizable
from swin_deploy.quantization.choose_linears import choose_linears, macs_of
from tests.chain import Chain, random_images

PARTS = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")
EVERY = tuple(f"blocks.{block}.{part}" for block in range(4) for part in PARTS)


def planned(folder: Path, text: str) -> str:
    (folder / "a.plan").write_text(text)
    return str(folder / "a.plan")


@pytest.mark.parametrize("grid", ["int8", "fp8"])
def test_without_a_plan_the_policys_linears_are_all_quantized(v1: Chain, grid: str) -> None:
    model = v1.model("simplified")
    plan, possible = choose_linears(model, grid, "linears", None, ())
    assert plan.quantized == EVERY == tuple(linear.module for linear in possible)
    assert set(plan.precisions.values()) == {grid}
    plan, possible = choose_linears(model, grid, "mlp", None, ())
    assert plan.quantized == tuple(name for name in EVERY if ".mlp." in name)
    assert len(choose_linears(model, grid, "merges", None, ())[1]) == 17


def test_exclusions_are_found_anywhere_in_a_name_and_several_add_up(v1: Chain) -> None:
    plan, possible = choose_linears(v1.model("simplified"), "int8", "linears", None, (r"\.mlp\.2$", r"^blocks\.0\."))
    assert plan.quantized == tuple(n for n in EVERY if not n.endswith("mlp.2") and not n.startswith("blocks.0."))
    assert len(possible) == 16  # they stay in the plan, as float
    assert plan.precisions["blocks.0.mlp.0"] == "fp16"


def test_a_plan_chooses_among_the_policys_linears_and_exclusions_come_after_it(v1: Chain, tmp_path: Path) -> None:
    model = v1.model("simplified")
    file = planned(tmp_path, "default fp16\n/mlp/ int8\nblocks.0.attn.qkv int8\n")
    plan, _ = choose_linears(model, "int8", "linears", file, ())
    assert plan.quantized == tuple(name for name in EVERY if ".mlp." in name or name == "blocks.0.attn.qkv")
    plan, _ = choose_linears(model, "int8", "linears", file, ("mlp",))
    assert plan.quantized == ("blocks.0.attn.qkv",)
    with pytest.raises(BadData, match=r"line 3: no linear is named blocks\.0\.attn\.qkv"):
        choose_linears(model, "int8", "mlp", file, ())


def test_a_plan_for_the_other_grid_is_refused(v1: Chain, tmp_path: Path) -> None:
    file = planned(tmp_path, "default fp8\n")
    with pytest.raises(BadInput, match="asks for fp8 in the int8 chain"):
        choose_linears(v1.model("simplified"), "int8", "linears", file, ())
    assert choose_linears(v1.model("simplified"), "fp8", "linears", file, ())[0].quantized == EVERY


def test_nothing_left_to_quantize_is_refused(v1: Chain, tmp_path: Path) -> None:
    model = v1.model("simplified")
    for file, exclude in ((None, ("blocks",)), (planned(tmp_path, "default fp16\n"), ())):
        with pytest.raises(BadInput, match=r"leaves every linear in float.*Leave --int8 out"):
            choose_linears(model, "int8", "linears", file, exclude)
    for node in model.graph.node:
        node.name = node.output[0]
    with pytest.raises(BadInput, match="no block linears"):
        choose_linears(model, "int8", "linears", None, ())


def test_a_pattern_that_matches_nothing_or_is_none_and_a_missing_plan_are_refused(v1: Chain, tmp_path: Path) -> None:
    model = v1.model("simplified")
    for exclude, words in ((("layers",), "matches no linear"), (("(",), "no regular expression")):
        with pytest.raises(BadData, match=words):
            choose_linears(model, "int8", "linears", None, exclude)
    with pytest.raises(BadData, match=r"none\.plan cannot be read"):
        choose_linears(model, "int8", "linears", str(tmp_path / "none.plan"), ())


def test_multiply_accumulates_are_those_of_the_architecture(v1: Chain) -> None:
    model, path = v1.model("simplified"), v1.artifact("simplified").path
    possible = quantizable(model)
    (values,) = tensors_of(path, [linear.activation for linear in possible], [random_images(1)])
    found = macs_of(model, possible, values)
    held = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for linear in possible:
        stage = int(linear.module.split(".")[1]) // 2
        tokens = (14 * 14, 7 * 7)[stage]
        assert found[linear.module] == tokens * int(np.prod(held[linear.weight]))
    # fc1 and fc2 turn 16 channels into 32 and back.
    assert found["blocks.0.mlp.0"] == found["blocks.0.mlp.2"] == 196 * 16 * 32
