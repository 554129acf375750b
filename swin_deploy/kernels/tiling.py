"""Arithmetic of tiles, on plain and on symbolic numbers."""

from __future__ import annotations

__all__ = ["MANY_ROWS", "PROCESSORS", "covering", "divided", "if_known"]

PROCESSORS = 128
"""What a choice of tiles reckons with: the multiprocessors of a large GPU."""
MANY_ROWS = 1 << 15
"""Likewise: rows, where they depend on a batch that is not known."""


def covering(size: int) -> int:
    """The smallest tile that covers `size`: a power of 2, at least the 16 that a tensor core takes."""
    return max(16, 1 << (size - 1).bit_length())


def divided(size: int, tile: int) -> int:
    """How many tiles cover `size`, which may be symbolic."""
    return (size + tile - 1) // tile


def if_known(size: int) -> int | None:
    """`size`, or `None` where it is symbolic."""
    return size if isinstance(size, int) else None
