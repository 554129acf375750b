"""What a page consists of, whatever it shows: a head, and sections of tables, pictures, notes and facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from swin_deploy.report.page.table import Cell, Table

__all__ = ["Facts", "Figure", "Folded", "Heading", "Note", "Page", "Part", "Section", "TableOf", "figures"]


@dataclass(frozen=True)
class TableOf:
    """A table, in a frame of its own that scrolls where the page is narrow."""

    kind: ClassVar[str] = "table"
    table: Table


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        svg: Markup made by `inline_svg`, trusted.
        caption: How to read it.
    """

    kind: ClassVar[str] = "figure"
    svg: str
    caption: str


@dataclass(frozen=True)
class Note:
    """A paragraph.

    Attributes:
        text: As it is.
        look: A class of page.css, such as `skipped`; without, plain text.
        command: Something to type, set below it.
    """

    kind: ClassVar[str] = "note"
    text: str
    look: str = ""
    command: str = ""


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    kind: ClassVar[str] = "facts"
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Folded:
    """Parts that are shown when asked for, and in print."""

    kind: ClassVar[str] = "folded"
    title: str
    parts: tuple[Part, ...]


Part = TableOf | Figure | Note | Heading | Facts | Folded


@dataclass(frozen=True)
class Section:
    """Parts under a title.

    Attributes:
        name: Its place in the page's address.
        title: Its heading.
        parts: In order.
    """

    name: str
    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: What it is about.
        subtitle: One line below it.
        verdict: Marks beside the title.
        lead: Sentences that say how it ended and what to do, the most important first.
        sections: In order.
        foot: One line at the end.
        look: A class of page.css for the whole, or nothing.
    """

    title: str
    subtitle: str
    verdict: tuple[Cell, ...]
    lead: tuple[Note, ...]
    sections: tuple[Section, ...]
    foot: str = ""
    look: str = ""


def figures(*found: tuple[str, str]) -> tuple[Figure, ...]:
    """Those that could be drawn, of markup and caption."""
    return tuple(Figure(svg, caption) for svg, caption in found if svg)
