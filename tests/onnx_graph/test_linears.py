"""Which matrix multiplications count as linears."""

from __future__ import annotations

from collections import Counter

import pytest
from onnx import parser

from swin_deploy.onnx_graph.linears import BLOCK_LINEARS, Linear, linears, quantizable
from tests.chain import Chain

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] w = {1.0, 2.0, 3.0, 4.0}, float[1, 2, 2] cube = {1.0, 2.0, 3.0, 4.0}, float[2] b = {1.0, 2.0}>
{
    found = MatMul(x, w)
    transposed = Transpose(found)
    left = MatMul(w, transposed)
    inner = MatMul(found, transposed)
    three = MatMul(found, cube)
    y = Gemm(found, w, b)
}
"""


def test_only_a_matmul_with_a_constant_matrix_on_its_right_is_a_linear() -> None:
    model = parser.parse_model(TEXT)
    for node in model.graph.node:
        node.name = f"module.{node.output[0]}/{node.op_type}"
    assert list(linears(model)) == [Linear("module.found", 0, "x", "w")]


BIASED = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 2] x) => (float[N, 2] y)
<float[2, 2] w = {1.0, 2.0, 3.0, 4.0}, float[2] b = {1.0, 2.0}, float one = {1.0}>
{ p = MatMul(x, w) q = Add(p, b) y = Relu(q) }
"""


@pytest.mark.parametrize(
    ("change", "bias"),
    [
        (("", ""), "b"),
        (("Add(p, b)", "Add(b, p)"), "b"),
        (("Add(p, b)", "Sub(p, b)"), None),
        (("Add(p, b)", "Add(p, one)"), None),  # no number an output
        (("Add(p, b)", "Add(p, x)"), None),  # no constant
        (("y = Relu(q)", "y = Add(q, p)"), None),  # the bare product is read too
        (("(float[N, 2] y)", "(float[N, 2] y, float[N, 2] p)"), None),  # and here it is an output
    ],
)
def test_a_bias_is_what_the_products_only_reader_adds_to_it(change: tuple[str, str], bias: str | None) -> None:
    model = parser.parse_model(BIASED.replace(*change) if change[0] else BIASED)
    for node in model.graph.node:
        node.name = f"module/{node.op_type}"
    assert [linear.bias for linear in linears(model)] == [bias]


def test_the_linears_of_one_module_are_told_apart() -> None:
    model = parser.parse_model(
        """
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 2] x) => (float[N, 2] y)
        <float[2, 2] w = {1.0, 2.0, 3.0, 4.0}, float[2, 2] v = {1.0, 2.0, 3.0, 4.0}>
        { a = MatMul(x, w) b = MatMul(a, v) c = MatMul(b, v) y = MatMul(c, w) }
        """
    )
    for node, name in zip(
        model.graph.node, ("m.attn/MatMul", "m.attn_2/MatMul", "m.attn/MatMul_2", "m.mlp/MatMul"), strict=True
    ):
        node.name = name
    assert [linear.module for linear in linears(model)] == ["m.attn", "m.attn_2", "m.attn_3", "m.mlp"]


def test_of_a_network_that_nothing_is_known_of_all_linears_are_quantized_and_of_a_swin_those_of_its_blocks() -> None:
    model = parser.parse_model(TEXT)
    for node in model.graph.node:
        node.name = f"module.{node.output[0]}/{node.op_type}"
    for spec, expected in ((None, []), ("{}", []), ("", ["module.found"])):
        del model.metadata_props[:]
        if spec is not None:
            model.metadata_props.add(key="swin_deploy.spec", value=spec)
        assert [linear.module for linear in quantizable(model)] == expected
    model.graph.node[0].name = "blocks.0.mlp.2/MatMul"
    model.metadata_props[0].value = "{}"
    assert [linear.module for linear in quantizable(model)] == ["blocks.0.mlp.2"]


@pytest.mark.parametrize("module", ["blocks.0.attn.qkv", "blocks.11.attn.proj", "blocks.3.mlp.0", "blocks.3.mlp.2"])
def test_the_four_linears_of_a_block_are_block_linears(module: str) -> None:
    assert BLOCK_LINEARS.fullmatch(module)


@pytest.mark.parametrize(
    "module",
    ["head", "blocks.2.merge.reduction", "blocks.0.attn", "blocks.0.mlp.1", "xblocks.0.mlp.0", "blocks.0.mlp.20", ""],
)
def test_other_modules_are_not(module: str) -> None:
    assert not BLOCK_LINEARS.fullmatch(module)


@pytest.mark.parametrize("name", ["exported", "simplified", "slimmed"])
def test_every_block_has_its_four_linears_and_the_merging_one(chain: Chain, name: str) -> None:
    found = [linear.module for linear in linears(chain.model(name))]
    blocks = [module for module in found if BLOCK_LINEARS.fullmatch(module)]
    assert Counter(module.split(".")[1] for module in blocks) == {"0": 4, "1": 4, "2": 4, "3": 4}
    assert len(set(found)) == len(found)
    assert set(found) - set(blocks) == {"blocks.2.merge.reduction"}
    # Every linear of a block has a bias, V2's qkv too, whose key has zeros there.
    assert all(linear.bias for linear in linears(chain.model(name)) if linear.module in blocks)
