"""Read the small files of /sys, /proc and /etc, where a file that is missing or refuses is no error but no answer."""

from __future__ import annotations

from pathlib import Path

__all__ = ["number_in", "text_in"]


def text_in(path: Path) -> str | None:
    """The file's text without blanks and NUL at its ends, or `None` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().strip("\0")
    except OSError:  # a sensor that is switched off answers a read with EAGAIN or EINVAL
        return None


def number_in(path: Path) -> int | None:
    """The integer that the file holds, or `None`."""
    text = text_in(path)
    try:
        return None if text is None else int(text.split()[0])
    except (ValueError, IndexError):
        return None
