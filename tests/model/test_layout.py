"""The plan of the token stream: which permutations there are, and that the stream stands where blocks expect it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.model.layout import TokenLayout, token_layout
from swin_deploy.model.windows import IntArray, window_order
from tests.random_swin import small_spec


def before_blocks(layout: TokenLayout) -> list[IntArray | None]:
    """What happens to the stream between the end of what stands before and each block, whoever does it."""
    handed = [layout.entry, *(block.leaving for block in layout.blocks[:-1])]
    assert layout.blocks[-1].leaving is None
    found = []
    for given, block in zip(handed, layout.blocks, strict=True):
        assert given is None or block.permutation is None, "the stream would be permuted twice"
        found.append(block.permutation if given is None else given)
    return found


def has_permutation(spec: SwinSpec) -> list[bool]:
    return [permutation is not None for permutation in before_blocks(token_layout(spec))]


def test_a_permutation_stands_only_where_the_partition_changes() -> None:
    # 28x28, 14x14 and 7x7 tokens: plain and shifted blocks alternate, and the last stage is a single window.
    spec = small_spec("v1", image_size=(56, 56), depths=(2, 3, 2), heads=(2, 4, 8))
    assert has_permutation(spec) == [True, True, True, True, True, True, False]
    assert token_layout(spec).permutations == 6


def test_the_last_stage_of_one_window_needs_no_permutation_but_the_merging() -> None:
    spec = small_spec("v2", depths=(2, 4))
    assert has_permutation(spec) == [True, True, True, False, False, False]


def test_a_network_of_single_windows_permutes_for_merging_alone() -> None:
    spec = small_spec("v1", image_size=(12, 12), window=6, depths=(2, 2))
    assert has_permutation(spec) == [False, False, True, False]


def test_windows_of_one_token_in_raster_order_need_no_permutation_at_all() -> None:
    # A 2x2 map merges to one token; its four neighbours in merging order are still a permutation.
    spec = small_spec("v1", image_size=(4, 4), window=1, depths=(2, 1))
    assert has_permutation(spec) == [False, False, True]


def test_merging_stands_before_the_first_block_of_each_later_stage() -> None:
    spec = small_spec("v1", image_size=(56, 56), depths=(1, 3, 2), heads=(2, 4, 8))
    assert [block.merges for block in token_layout(spec).blocks] == [False, True, False, False, True, False]


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("image_size", [(28, 28), (56, 56), (28, 56), (56, 28), (84, 56)])
def test_following_the_plan_brings_every_token_where_its_block_expects_it(
    family: Literal["v1", "v2"], image_size: tuple[int, int]
) -> None:
    spec = small_spec(family, image_size=image_size, depths=(3, 2))
    height, width = spec.feature_map(0)
    stream = np.arange(height * width)  # the raster index that each position of the stream holds
    layout = token_layout(spec)
    for (stage, block), plan, permutation in zip(spec.blocks(), layout.blocks, before_blocks(layout), strict=True):
        if permutation is not None:
            assert sorted(permutation) == list(range(stream.size))
            stream = stream[permutation]
        if plan.merges:
            before = spec.feature_map(stage - 1)[1]
            groups = stream.reshape(-1, 4)
            rows, columns = np.divmod(groups, before)
            assert (rows - rows[:, :1] == [0, 1, 0, 1]).all()
            assert (columns - columns[:, :1] == [0, 0, 1, 1]).all()
            stream = rows[:, 0] // 2 * (before // 2) + columns[:, 0] // 2
        geometry = spec.geometry(stage, block)
        assert np.array_equal(stream, window_order(geometry.feature_map, geometry.window, geometry.shift))


def test_no_permutation_in_the_plan_is_the_identity() -> None:
    for spec in (
        small_spec("v1"),
        small_spec("v2", image_size=(56, 28)),
        small_spec("v1", image_size=(12, 12), window=6),
    ):
        for permutation in before_blocks(token_layout(spec)):
            if permutation is not None:
                assert not np.array_equal(permutation, np.arange(permutation.size))


def test_the_patch_embedding_permutes_before_its_norm_and_a_v2_block_before_its_last() -> None:
    for family, own in (("v1", 5), ("v2", 0)):
        layout = token_layout(small_spec(family, image_size=(56, 56), depths=(2, 3, 2), heads=(2, 4, 8)))
        assert layout.entry is not None
        assert sum(block.permutation is not None for block in layout.blocks) == own
        assert sum(block.leaving is not None for block in layout.blocks) == 5 - own


def test_features_that_leave_a_stage_are_not_in_the_order_of_the_next() -> None:
    depths, heads = (2, 2, 2), (2, 4, 8)
    plain = token_layout(small_spec("v2", image_size=(56, 56), depths=depths, heads=heads))
    leaving = token_layout(
        small_spec("v2", image_size=(56, 56), depths=depths, heads=heads, task=Backbone((0, 2), norms=True))
    )
    assert [block.leaving is not None for block in plain.blocks] == [True, True, True, True, False, False]
    assert [block.leaving is not None for block in leaving.blocks] == [True, False, True, True, False, False]
    assert leaving.blocks[2].permutation is not None


def test_a_longer_stage_only_adds_its_own_permutations() -> None:
    spec = small_spec("v1")
    longer = replace(spec, stages=(replace(spec.stages[0], depth=6), spec.stages[1]))
    assert token_layout(longer).permutations == token_layout(spec).permutations + 4
