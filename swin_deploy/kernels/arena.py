"""Where in one block of memory each tensor between launches lives: those that never live together share bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Arena", "Life", "plan_arena"]


@dataclass(frozen=True)
class Life:
    """How large a tensor is, and from when to when it is needed.

    Attributes:
        bytes: Its size.
        first: Index of the launch that writes it.
        last: Index of the last launch that reads it.
    """

    bytes: int
    first: int
    last: int

    def __post_init__(self) -> None:
        """A tensor has a size, and is written before it is read."""
        assert self.bytes > 0 and 0 <= self.first <= self.last, f"{self.bytes} bytes, {self.first} to {self.last}"

    def meets(self, other: Life) -> bool:
        """Whether both are needed by one launch, or at one time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """A plan.

    Attributes:
        offsets: Of each tensor, in bytes.
        bytes: The size of the block.
    """

    offsets: tuple[int, ...]
    bytes: int


def plan_arena(lives: Sequence[Life], alignment: int) -> Arena:
    """Give each tensor the lowest place that is free all its life, the largest tensors first.

    Launches run one behind the other on one stream, so that a launch's inputs may be overwritten by the next one, and
    never by itself. Source: Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020, greedy
    by size.
    """
    offsets: dict[int, int] = {}
    for index in sorted(range(len(lives)), key=lambda entry: (-lives[entry].bytes, lives[entry].first)):
        taken = sorted(
            (offsets[other], offsets[other] + lives[other].bytes)
            for other in offsets
            if lives[index].meets(lives[other])
        )
        place = 0
        for start, end in taken:
            if place + lives[index].bytes <= start:
                break
            place = max(place, -(-end // alignment) * alignment)
        offsets[index] = place
    top = max((offsets[index] + life.bytes for index, life in enumerate(lives)), default=0)
    return Arena(tuple(offsets[index] for index in range(len(lives))), -(-top // alignment) * alignment)
