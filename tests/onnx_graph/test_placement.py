"""Which linears each policy takes."""

from __future__ import annotations

import pytest

from swin_deploy.errors import BadInput
from swin_deploy.onnx_graph.linears import quantizable
from swin_deploy.onnx_graph.placement import POLICIES, placed
from tests.chain import Chain

PARTS = {
    "linears": {"attn.qkv", "attn.proj", "mlp.0", "mlp.2"},
    "no-fc2": {"attn.qkv", "attn.proj", "mlp.0"},
    "mlp": {"mlp.0", "mlp.2"},
    "attention-linears": {"attn.qkv", "attn.proj"},
    "linears-and-attention": {"attn.qkv", "attn.proj", "mlp.0", "mlp.2"},
}


@pytest.mark.parametrize("name", PARTS)
def test_a_policy_takes_the_same_parts_of_every_block(chain: Chain, name: str) -> None:
    found = [linear.module for linear in placed(chain.model("simplified"), POLICIES[name])]
    assert sorted(found) == sorted(f"blocks.{block}.{part}" for block in range(4) for part in PARTS[name])


def test_merges_takes_the_reductions_too(chain: Chain) -> None:
    model = chain.model("simplified")
    found = [linear.module for linear in placed(model, POLICIES["merges"])]
    assert set(found) - {linear.module for linear in quantizable(model)} == {"blocks.2.merge.reduction"}
    assert len(found) == 17


def test_an_attention_behind_a_gate_has_its_linears_taken() -> None:
    for name, number in (("linears", 2), ("attention-linears", 2), ("no-fc2", 2), ("merges", 2), ("mlp", 0)):
        paths = [f"blocks.1.attn.window.{part}" for part in ("qkv", "proj")]
        assert sum(bool(POLICIES[name].linears.fullmatch(path)) for path in paths) == number


def test_no_policy_takes_the_head_or_the_patch_embedding() -> None:
    for policy in POLICIES.values():
        assert not any(policy.linears.fullmatch(path) for path in ("head", "patch_embed.proj", "blocks.0.attn", ""))


def test_the_table_names_each_policy_once_and_says_what_it_measured() -> None:
    assert next(iter(POLICIES)) == "linears"
    for name, policy in POLICIES.items():
        assert policy.name == name
        assert "kernels (V2: 1" in policy.summary
    assert [name for name, policy in POLICIES.items() if policy.attention] == ["linears-and-attention"]


@pytest.mark.parametrize("name", ["linears", "linears-and-attention"])
def test_of_a_network_of_the_users_own_the_default_takes_all(v1: Chain, name: str) -> None:
    model = v1.model("captured.exported")
    assert placed(model, POLICIES[name]) == quantizable(model) != []


def test_a_policy_that_finds_nothing_where_there_are_linears_is_refused(v1: Chain) -> None:
    model = v1.model("captured.exported")
    with pytest.raises(BadInput, match="placement mlp takes none of the graph's linears"):
        placed(model, POLICIES["mlp"])
