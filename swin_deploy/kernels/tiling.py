"""Arithmetic of tiles, on plain and on symbolic numbers."""

from __future__ import annotations

__all__ = ["covering", "divided"]


def covering(size: int) -> int:
    """The smallest tile that covers `size`: a power of 2, at least the 16 that a tensor core takes."""
    return max(16, 1 << (size - 1).bit_length())


def divided(size: int, tile: int) -> int:
    """How many tiles cover `size`, which may be symbolic."""
    return (size + tile - 1) // tile
