"""Compare a checkpoint's keys with the ones its architecture must have, and name every difference."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from swin_deploy.errors import BadInput

__all__ = ["KeyTable"]

Shape = tuple[int, ...]
_SHOWN = 5


class KeyTable:
    """The keys and shapes of one checkpoint file.

    Args:
        origin: The file, for messages.
        shapes: Every key with its shape.
    """

    def __init__(self, origin: str, shapes: Mapping[str, Shape]) -> None:
        self.origin, self.shapes = origin, shapes

    def shape(self, key: str, rank: int) -> Shape:
        """The shape of a key that must be there.

        Raises:
            BadInput: the key is missing (the nearest one is named) or has another number of axes.
        """
        found = self.shapes.get(key)
        if found is None:
            raise BadInput(f"{self.origin}: key {key} is missing{self._nearest(key)}", needed="a complete state_dict")
        if len(found) != rank:
            raise BadInput(f"{self.origin}: {key} has the shape {_text(found)}", needed=f"{rank} axes")
        return found

    def count(self, template: str) -> int:
        """How many of `template.format(0)`, `template.format(1)`, ... are prefixes of keys."""
        number = 0
        while any(key.startswith(template.format(number)) for key in self.shapes):
            number += 1
        return number

    def require_exactly(self, expected: Mapping[str, Shape], ignored: Collection[str]) -> None:
        """Fail unless the keys are those `expected`, besides buffers that are rebuilt.

        Raises:
            BadInput: naming missing, unexpected and mis-shaped keys.
        """
        missing = [key for key in expected if key not in self.shapes]
        extra = [key for key in self.shapes if key not in expected and key not in ignored]
        wrong = [
            f"{key} has the shape {_text(self.shapes[key])} instead of {_text(shape)}"
            for key, shape in expected.items()
            if key in self.shapes and tuple(self.shapes[key]) != tuple(shape)
        ]
        problems = []
        if missing:
            problems.append(f"missing: {_some(missing)}{self._nearest(missing[0]) if not extra else ''}")
        if extra:
            problems.append(f"unexpected: {_some(extra)}")
        problems.extend(wrong[:_SHOWN])
        if problems:
            raise BadInput(
                f"{self.origin}: {'; '.join(problems)}",
                needed="exactly the keys of the architecture that the other keys describe",
                do="Rename or drop the keys in question, or check that the file belongs to this kind of model",
            )

    def _nearest(self, key: str) -> str:
        close = difflib.get_close_matches(key, self.shapes, n=1, cutoff=0.8)
        return f" (did you mean {close[0]}?)" if close else ""


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _text(shape: Shape) -> str:
    return "x".join(str(axis) for axis in shape) or "scalar"
