"""Names that a bundle's own files give to files: none may lead out of its folder."""

from __future__ import annotations

from typing import Any

from swin_deploy.errors import BadInput

__all__ = ["plain_name", "refuse_outside"]


def plain_name(name: Any, *, source: str) -> str:
    """A name that files are named after: no folder, no surprise. `source` is the file that holds it.

    Raises:
        BadInput: it is something else.
    """
    text = str(name)
    if not text or text.startswith(".") or not all(letter.isalnum() or letter in "._-" for letter in text):
        raise BadInput(f"{source} holds the name {text!r}", needed="letters, digits, dots, dashes and underscores")
    return text


def refuse_outside(name: str, *, source: str) -> None:
    """Refuse a path that leads, or might lead, out of the folder in which `source` stands.

    Raises:
        BadInput: it does.
    """
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or ":" in parts[0] or set(parts) & {"", ".", ".."}:
        raise BadInput(
            f"{source} names the file {name!r}",
            needed="names inside the bundle's folder",
            do="Do not use this bundle: swin-deploy bundle does not write such names",
        )
