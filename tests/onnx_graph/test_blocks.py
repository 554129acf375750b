"""A node's block, by the module that it is named after."""

from __future__ import annotations

import pytest
from onnx import ModelProto, TensorProto, helper

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.blocks import blocks_of
from tests.chain import Chain

INPUT, OUTPUT = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy")


def named(*names: str) -> ModelProto:
    nodes = [helper.make_node("Neg", [f"{n}" if n else "x"], [f"{n + 1}"], name) for n, name in enumerate(names)]
    return helper.make_model(helper.make_graph(nodes, "g", [INPUT], [OUTPUT]))


def blocks(*names: str) -> list[str]:
    return list(blocks_of(named(*names)).values())


def test_a_swin_falls_into_embedding_blocks_mergings_norm_and_head(chain: Chain) -> None:
    found = blocks_of(chain.model("simplified"))
    blocks = {f"blocks.{number}" for number in range(4)}
    assert set(found.values()) == {"patch_embed", *blocks, "blocks.2.merge", "norm", "head"}
    assert found["blocks.1.mlp.2/MatMul"] == "blocks.1"
    assert found["ReduceMean"] == "norm"  # of no module: the pooling before the head


@pytest.mark.parametrize(
    ("modules", "wanted"),
    [
        (("blocks.0.mlp.0", "blocks.11.attn.window.qkv"), ["blocks.0", "blocks.11"]),
        (
            ("stem", "layers.0.blocks.1.mlp.fc1", "layers.1.downsample.norm"),
            ["stem", "layers.0.blocks.1", "layers.1.downsample"],
        ),
        (
            ("features.0.0", "features.1.0.attn.qkv", "features.1.0.mlp.0", "head"),
            ["features.0.0", "features.1.0", "features.1.0", "head"],
        ),
        (
            ("swin.embeddings.norm", "swin.encoder.layers.0.blocks.1.output.dense"),
            ["embeddings", "encoder.layers.0.blocks.1"],
        ),
        (("layers.2.residual_group.blocks.0.attn", "conv_last"), ["layers.2.residual_group.blocks.0", "conv_last"]),
        (
            ("convs.0.0", "convs.0.2", "upsample.0", "blocks.0.attn.layers.3"),
            ["convs.0", "convs.0", "upsample", "blocks.0"],
        ),
        (("first", "second"), ["first", "second"]),
        (("blocks.0.fc", "blocks.1.fc"), ["blocks.0", "blocks.1"]),
        (("model.net.norm", "model.net.head.fc"), ["norm", "head"]),
        (("net.embed", "net", "net.blocks.0.fc", "net.blocks.1.fc"), ["embed", "embed", "blocks.0", "blocks.1"]),
        (("only", "only"), ["only", "only"]),
    ],
)
def test_a_networks_own_lists_are_its_blocks(modules: tuple[str, ...], wanted: list[str]) -> None:
    assert blocks(*(f"{module}/MatMul_{number}" for number, module in enumerate(modules))) == wanted


def test_a_node_of_no_module_belongs_to_the_block_before_it_and_the_first_to_the_one_behind() -> None:
    assert blocks("Pad", "embed/Conv", "Gelu", "head/Gemm") == ["embed", "embed", "embed", "head"]
    assert blocks("Gelu", "Add") == ["network", "network"]


@pytest.mark.parametrize("names", [("a/Neg", ""), ("a/Neg", "a/Neg"), ()])
def test_nodes_without_names_of_their_own_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="no names of their own"):
        blocks_of(named(*names))
