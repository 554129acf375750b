"""The search: what it finds is enough and 1-minimal, whatever the judge says, and the smallest where it says so."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_deploy.bisect.smallest_set import bound, smallest_set
from swin_deploy.bisect.trial import Metric, Need, Trial

FINITE, FIFTY = Need(Metric.FINITE), Need(Metric.SQNR, 50.0)
BLOCKS = tuple(f"blocks.{number}" for number in range(12))
Judge = Callable[[frozenset[str]], Trial]

GOOD, BROKEN = Trial(True, 80.0, 1.0), Trial(False, -999.0, 0.0)


class Counting:
    """Remembers what it was asked."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.asked = judge, []

    def __call__(self, high: frozenset[str]) -> Trial:
        self.asked.append(high)
        return self.judge(high)


def needing(*ways: Collection[str]) -> Counting:
    """Finite where one of the ways is raised whole."""
    return Counting(lambda high: GOOD if any(set(way) <= high for way in ways) else BROKEN)


def noisy(noise: dict[str, float]) -> Counting:
    """Independent noises of the blocks that are low, which add up."""
    import math

    def judge(high: frozenset[str]) -> Trial:
        power = sum(value for block, value in noise.items() if block not in high) + 1e-9
        return Trial(True, -10 * math.log10(power), 1.0)

    return Counting(judge)


@pytest.mark.parametrize("culprit", BLOCKS)
def test_one_culprit_is_found_and_known_to_be_smallest(culprit: str) -> None:
    found = smallest_set(BLOCKS, needing({culprit}), FINITE)
    assert found.blocks == (culprit,)
    assert found.smallest and found.asked == 2 + len(BLOCKS)


def test_several_culprits_are_found_by_lowering_each_alone() -> None:
    culprits = ("blocks.2", "blocks.5", "blocks.11")
    judge = needing(culprits)
    found = smallest_set(BLOCKS, judge, FINITE)
    assert found.blocks == culprits == found.needed and found.smallest
    assert found.asked == len(set(judge.asked)) == 2 + 2 * len(BLOCKS) + 1 + len(culprits)


def test_where_any_of_two_is_enough_the_better_one_is_taken() -> None:
    better = Trial(True, 90.0, 1.0)
    found = smallest_set(BLOCKS, lambda h: better if "blocks.7" in h else GOOD if "blocks.1" in h else BROKEN, FINITE)
    assert found.blocks == ("blocks.7",) and found.smallest and not found.needed


def test_one_needed_block_and_either_of_two_others_are_found() -> None:
    found = smallest_set(BLOCKS, needing({"blocks.3", "blocks.4"}, {"blocks.3", "blocks.9"}), FINITE)
    assert found.blocks in (("blocks.3", "blocks.4"), ("blocks.3", "blocks.9"))
    assert found.needed == ("blocks.3",) and found.smallest


def test_of_many_small_noises_the_largest_are_raised() -> None:
    noise = {block: 2.0**-number * 1e-4 for number, block in enumerate(BLOCKS)}
    found = smallest_set(BLOCKS, noisy(noise), FIFTY)
    assert found.blocks == BLOCKS[:5]  # what is left then is 1e-4 / 16, below 1e-5
    assert found.asked < bound(len(BLOCKS))


def test_nothing_has_to_be_raised_where_nothing_fails() -> None:
    judge = needing(())
    found = smallest_set(BLOCKS, judge, FINITE)
    assert found.blocks == () and found.smallest and found.asked == 2


def test_where_all_blocks_are_not_enough_nothing_more_is_tried() -> None:
    judge = Counting(lambda high: BROKEN)
    found = smallest_set(BLOCKS, judge, FINITE)
    assert found.blocks is None and not found.smallest and found.asked == 2


def test_too_many_smaller_sets_are_not_counted_out_and_smallest_is_not_claimed() -> None:
    noise = dict.fromkeys(BLOCKS, 1e-6)  # 12e-6, of which 3 have to go
    for exhaust, smallest in ((0, False), (12 * 11 // 2, True)):
        found = smallest_set(BLOCKS, noisy(noise), FIFTY, exhaust=exhaust)
        assert len(found.blocks) == 3 and found.smallest is smallest
        assert found.at_least == (3 if smallest else 2)


def ways_of(blocks: tuple[str, ...]) -> st.SearchStrategy[list[frozenset[str]]]:
    return st.lists(st.frozensets(st.sampled_from(blocks), min_size=1), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 7).flatmap(lambda count: ways_of(BLOCKS[:count]).map(lambda ways: (BLOCKS[:count], ways))))
def test_where_raising_never_hurts_the_smallest_set_is_found(
    case: tuple[tuple[str, ...], list[frozenset[str]]],
) -> None:
    blocks, ways = case
    judge = needing(*ways)
    found = smallest_set(blocks, judge, FINITE, exhaust=1000)
    assert len(found.blocks) == min(len(way) for way in ways)
    assert found.smallest and FINITE.met(judge.judge(frozenset(found.blocks)))
    assert found.asked == len(judge.asked) == len(set(judge.asked)) <= bound(len(blocks), 1000)
    assert set(found.needed) <= frozenset.intersection(*ways)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5), st.randoms(use_true_random=False), st.integers(0, 40))
def test_whatever_the_judge_says_the_set_is_enough_and_each_of_it_is_needed(
    count: int, random: object, exhaust: int
) -> None:
    blocks = BLOCKS[:count]
    answers = {
        frozenset(high): Trial(True, random.uniform(40, 60), 1.0)
        for size in range(count + 1)
        for high in combinations(blocks, size)
    }
    answers[frozenset(blocks)] = GOOD
    found = smallest_set(blocks, answers.__getitem__, FIFTY, exhaust=exhaust)
    high = frozenset(found.blocks)
    assert FIFTY.met(answers[high])
    assert not any(FIFTY.met(answers[high - {block}]) for block in high)
    assert len(high) >= found.at_least and found.asked <= bound(count, exhaust)
    singles = [block for block in blocks if FIFTY.met(answers[frozenset({block})])]
    if high and singles and not FIFTY.met(answers[frozenset()]):
        assert len(high) == 1


def test_where_raising_hurt_no_block_is_called_needed_and_every_smaller_set_is_tried() -> None:
    """Beside all others `blocks.3` is needed, and beside three it is not."""
    blocks, three = BLOCKS[:6], frozenset(BLOCKS[:3])
    enough = {
        three,
        frozenset(BLOCKS[:4]),
        frozenset(BLOCKS[:5]),
        frozenset((*BLOCKS[:4], BLOCKS[5])),
        frozenset(blocks),
    }
    judge = Counting(lambda high: GOOD if high in enough else BROKEN)
    found = smallest_set(blocks, judge, FINITE)
    assert (found.blocks, found.needed, found.smallest) == (BLOCKS[:3], (), True)
    assert {frozenset(pair) for pair in combinations(blocks, 2)} <= set(judge.asked)
    few = smallest_set(blocks, judge.judge, FINITE, exhaust=3)
    assert (few.blocks, few.at_least, few.smallest) == (BLOCKS[:3], 2, False)


def test_an_interrupted_search_asks_the_same_again_in_the_same_order() -> None:
    first, second = needing({"blocks.2", "blocks.5"}), needing({"blocks.2", "blocks.5"})
    assert smallest_set(BLOCKS, first, FINITE) == smallest_set(BLOCKS, second, FINITE)
    assert first.asked == second.asked
