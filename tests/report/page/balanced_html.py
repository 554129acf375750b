"""Reads a page as a browser would not: every element that is opened has to be closed, in order, and ids are unique."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

_VOID = {"meta", "link", "br", "hr", "img", "input", "col", "wbr"}


class Balanced(HTMLParser):
    """A page, taken apart.

    Attributes:
        faults: What is wrong with it, in words.
        opened: How often each element occurs.
        ids: All of them.
        texts: Everything between elements but style, stripped.
        references: Values of href, src and xlink:href.
    """

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.opened: Counter[str] = Counter()
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.references: list[str] = []
        self._stack: list[str] = []
        self.feed(page)
        self.close()
        self.faults += [f"{name} is never closed" for name in self._stack]
        self.faults += [f"the id {name} occurs {count} times" for name, count in Counter(self.ids).items() if count > 1]
        known = set(self.ids)
        inside = [value[1:] for value in self.references if value.startswith("#")]
        self.faults += [f"#{name} leads nowhere" for name in inside if name not in known]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in _VOID:
            self._stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened[tag] += 1
        named = [name for name, _ in attrs]
        self.faults += [f"{tag} has {name} twice" for name, count in Counter(named).items() if count > 1]
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "xlink:href", "action"):
                self.references.append(str(value))
            if name.startswith("on"):
                self.faults.append(f"{tag} has the script {name}")

    def handle_endtag(self, tag: str) -> None:
        if not self._stack or self._stack.pop() != tag:
            self.faults.append(f"{tag} is closed where it is not open")

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self._stack:
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        """All texts, one a line."""
        return "\n".join(self.texts)
