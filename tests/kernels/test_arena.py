"""Tensors that are needed at one time never share a byte, and others do."""

from __future__ import annotations

import random

import pytest

from swin_deploy.kernels.arena import Arena, Life, plan_arena


def overlaps(lives: list[Life], plan: Arena) -> list[tuple[int, int]]:
    """Pairs that share bytes at a time when both are needed."""
    return [
        (one, two)
        for one in range(len(lives))
        for two in range(one)
        if lives[one].meets(lives[two])
        and plan.offsets[one] < plan.offsets[two] + lives[two].bytes
        and plan.offsets[two] < plan.offsets[one] + lives[one].bytes
    ]


@pytest.mark.parametrize("seed", range(50))
def test_no_two_tensors_of_one_time_share_a_byte(seed: int) -> None:
    draw = random.Random(seed)
    lives = []
    for _ in range(draw.randint(1, 40)):
        first = draw.randint(0, 30)
        lives.append(Life(draw.randint(1, 5000), first, first + draw.randint(0, 6)))
    plan = plan_arena(lives, 256)
    assert not overlaps(lives, plan)
    assert all(offset % 256 == 0 for offset in plan.offsets)
    assert plan.bytes >= max(offset + life.bytes for offset, life in zip(plan.offsets, lives, strict=True))


def test_a_plan_that_overlaps_would_be_noticed() -> None:
    lives = [Life(512, 0, 1), Life(512, 1, 2)]
    assert overlaps(lives, Arena((0, 256), 1024)) == [(1, 0)]


def test_a_chain_needs_two_places() -> None:
    plan = plan_arena([Life(1024, step, step + 1) for step in range(10)], 256)
    assert plan.bytes == 2048 and set(plan.offsets) == {0, 1024}


def test_a_residual_keeps_its_place_while_others_come_and_go() -> None:
    residual, hidden, out = Life(256, 0, 3), Life(1024, 1, 2), Life(256, 3, 3)
    assert plan_arena([residual, hidden, out], 256) == Arena((1024, 0, 0), 1280)


def test_a_launch_never_writes_over_what_it_reads() -> None:
    plan = plan_arena([Life(100, 0, 1), Life(100, 1, 1)], 256)
    assert plan == Arena((0, 256), 512)
