"""Read a text file that a person wrote."""

from __future__ import annotations

from pathlib import Path

from calib.errors import BadData

__all__ = ["read_text"]


def read_text(path: Path, what: str, needed: str) -> str:
    """The file's text.

    Args:
        path: The file, in UTF-8.
        what: What it is, for the error.
        needed: What it should be, likewise.

    Raises:
        BadData: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadData(f"{what} {path} cannot be read: {error}", needed=needed) from error
