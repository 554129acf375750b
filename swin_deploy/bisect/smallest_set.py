"""Find a smallest set of blocks that have to be raised for a need to be met.

Raising a block mostly helps, though not always: errors can cancel. So what the search assumes only decides what it
tries next, and what it says of its result was measured.

1. With all blocks raised the need must be met, and with none it must not, or there is nothing to search.
2. Each block raised alone. If one is enough, it is a smallest set.
3. Each block lowered alone, all others raised. Where that fails the block is needed whatever else is raised, as long
   as raising never hurts. The needed blocks together often are the answer: blocks that overflow are found so.
4. If they are not enough: the other blocks in the order of the noise that each made in step 3, and by halving how many
   of them must join.
5. Each member is lowered alone, the least noisy first, until none can be: the set is 1-minimal then.
6. Where there are few enough smaller sets (of those with all needed blocks), every one is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from swin_deploy.bisect.trial import Need, Trial

__all__ = ["EXHAUST", "Found", "bound", "smallest_set"]

# Sets tried in step 6 at most. A trial of a small network takes a second on a CPU, one on an engine a build.
EXHAUST = 128

Judge = Callable[[frozenset[str]], Trial]


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        blocks: The set, in the graph's order; `None` where not even all blocks are enough.
        at_least: No set of fewer blocks can be enough: counted out, or by the needed blocks of step 3.
        needed: Blocks that step 3 found to be needed whatever else is raised; empty where step 2 was enough, and where
            a set without one of them was.
        none: With no block raised.
        all: With all blocks raised.
        alone_high: Each block raised alone; empty where that was not looked at.
        alone_low: Each block lowered alone; likewise.
        asked: How many different mixtures were judged.
    """

    blocks: tuple[str, ...] | None
    at_least: int
    needed: tuple[str, ...]
    none: Trial
    all: Trial
    alone_high: dict[str, Trial]
    alone_low: dict[str, Trial]
    asked: int

    @property
    def smallest(self) -> bool:
        """Whether the set is known to be a smallest one, and not only 1-minimal."""
        return self.blocks is not None and len(self.blocks) == self.at_least


def bound(blocks: int, exhaust: int = EXHAUST) -> int:
    """How many mixtures of so many blocks can be judged at most; it mostly takes little more than two a block."""
    halvings = math.ceil(math.log2(max(blocks, 2)))
    passes = blocks * (blocks + 1)  # step 5, twice, were only one member to go in each pass
    return 2 + 2 * blocks + halvings + passes + exhaust


def smallest_set(blocks: Sequence[str], judge: Judge, need: Need, *, exhaust: int = EXHAUST) -> Found:
    """Search; the same answers of the judge give the same result, whether measured or remembered.

    Args:
        blocks: What can be raised, in the graph's order; at least one.
        judge: Measures the network with a set of blocks raised.
        need: What it has to meet.
        exhaust: Sets tried in step 6 at most.
    """
    return _Search(tuple(blocks), judge, need, exhaust).run()


class _Search:
    def __init__(self, blocks: tuple[str, ...], judge: Judge, need: Need, exhaust: int) -> None:
        assert blocks, "nothing to search in"
        self._blocks, self._judge, self._need, self._exhaust = blocks, judge, need, exhaust
        self._known: dict[frozenset[str], Trial] = {}
        self._high: dict[str, Trial] = {}
        self._low: dict[str, Trial] = {}

    def run(self) -> Found:
        everything = frozenset(self._blocks)
        if not self._met(everything):
            self._ask(frozenset())
            return self._found(None, len(self._blocks) + 1, frozenset())
        if self._met(frozenset()):
            return self._found(frozenset(), 0, frozenset())
        self._high = {block: self._ask(frozenset({block})) for block in self._blocks}
        enough = [block for block in self._blocks if self._met(frozenset({block}))]
        if enough:
            best = max(enough, key=lambda block: self._need.merit(self._high[block]))
            return self._found(frozenset({best}), 1, frozenset())
        self._low = {block: self._ask(everything - {block}) for block in self._blocks}
        needed = frozenset(block for block in self._blocks if not self._met(everything - {block}))
        at_least = max(2, len(needed))
        chosen = self._reduced(needed if needed and self._met(needed) else self._halved(needed))
        if not needed <= chosen:  # raising hurt somewhere: less is needed beside few raised blocks than beside all
            needed, at_least = frozenset(), 2
        smaller, at_least = self._counted_out(needed, at_least, len(chosen))
        if smaller is not None:
            chosen = self._reduced(smaller)
        return self._found(chosen, min(at_least, len(chosen)), needed)

    def _halved(self, needed: frozenset[str]) -> frozenset[str]:
        """`needed` and as few others as are enough, the noisiest first."""
        others = sorted((block for block in self._blocks if block not in needed), key=lambda block: -self._noise(block))
        too_few, enough = 0, len(others)
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            if self._met(needed | frozenset(others[:middle])):
                enough = middle
            else:
                too_few = middle
        return needed | frozenset(others[:enough])

    def _reduced(self, chosen: frozenset[str]) -> frozenset[str]:
        """`chosen` without what is not needed: afterwards each member was seen to be."""
        again = True
        while again:
            again = False
            for block in sorted(self._ordered(chosen), key=self._noise):
                if self._met(chosen - {block}):
                    chosen, again = chosen - {block}, True
        return chosen

    def _counted_out(self, needed: frozenset[str], at_least: int, size: int) -> tuple[frozenset[str] | None, int]:
        """Try every set of `at_least` to `size` - 1 blocks, if they are few; returns one that is enough, or `None`."""
        others = [block for block in self._blocks if block not in needed]
        counts = [math.comb(len(others), fewer - len(needed)) for fewer in range(at_least, size)]
        if sum(counts) > self._exhaust:
            return None, at_least
        for fewer in range(at_least, size):
            for joined in combinations(sorted(others, key=lambda block: -self._noise(block)), fewer - len(needed)):
                if self._met(needed | frozenset(joined)):
                    return needed | frozenset(joined), fewer
        return None, max(at_least, size)

    def _noise(self, block: str) -> float:
        return self._low[block].noise

    def _met(self, high: frozenset[str]) -> bool:
        return self._need.met(self._ask(high))

    def _ask(self, high: frozenset[str]) -> Trial:
        if high not in self._known:
            self._known[high] = self._judge(high)
        return self._known[high]

    def _ordered(self, blocks: Iterable[str]) -> tuple[str, ...]:
        chosen = set(blocks)
        return tuple(block for block in self._blocks if block in chosen)

    def _found(self, chosen: frozenset[str] | None, at_least: int, needed: frozenset[str]) -> Found:
        return Found(
            blocks=None if chosen is None else self._ordered(chosen),
            at_least=at_least,
            needed=self._ordered(needed),
            none=self._known[frozenset()],
            all=self._known[frozenset(self._blocks)],
            alone_high=self._high,
            alone_low=self._low,
            asked=len(self._known),
        )
