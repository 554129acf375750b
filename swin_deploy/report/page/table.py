"""A table as texts with a look, which a page lays out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swin_deploy.parity.gates import Verdict

__all__ = ["Cell", "Table", "badge", "cells"]


@dataclass(frozen=True)
class Cell:
    """One text.

    Attributes:
        text: As it is; the page escapes it.
        look: A class of page.css, or nothing.
        badge: Whether it is set as a mark of its own, in the colour of `look`.
    """

    text: str
    look: str = ""
    badge: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under one head.

    Attributes:
        caption: What the table holds, read out before it.
        heads: A title for each column.
        rows: As many cells each; the first names the row.
        numbers: The columns that hold numbers, set to the right.
        look: A class of page.css for the whole, or nothing.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    look: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.heads) for row in self.rows), f"a ragged table: {self.caption}"


def cells(*texts: str) -> tuple[Cell, ...]:
    """Plain ones."""
    return tuple(map(Cell, texts))


def badge(verdict: Verdict | str) -> Cell:
    """A verdict, in its colour."""
    word = verdict.value if isinstance(verdict, Verdict) else verdict
    known: Iterable[str] = (*(entry.value for entry in Verdict), "ORACLE")
    return Cell(word, word.lower() if word in known else "info", badge=True)
