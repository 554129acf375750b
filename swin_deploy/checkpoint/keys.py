"""Compare a checkpoint's keys with the ones its architecture must have, and name every difference."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping

from swin_deploy.errors import BadInput

__all__ = ["KeyTable"]

Shape = tuple[int, ...]
_SHOWN = 5
_MEND = "Rename or drop the keys in question, or check that the file belongs to this kind of model"


class KeyTable:
    """The keys and shapes of one checkpoint file.

    Args:
        origin: The file, for messages.
        shapes: Every key with its shape.
        usual: Kinds of keys that belong to the layout, and are thus no misspelling of another.
    """

    def __init__(self, origin: str, shapes: Mapping[str, Shape], usual: Collection[str] = ()) -> None:
        self.origin, self.shapes, self.usual = origin, shapes, usual

    def knowing(self, keys: Collection[str]) -> KeyTable:
        """The same table, which suggests none of `keys` for a missing one, whatever the numbers in them."""
        return KeyTable(self.origin, self.shapes, frozenset(map(_kind, keys)))

    def shape(self, key: str, rank: int) -> Shape:
        """The shape of a key that must be there.

        Raises:
            BadInput: the key is missing (the nearest one is named) or has another number of axes.
        """
        found = self.shapes.get(key)
        if found is None:
            raise BadInput(
                f"{self.origin}: key {key} is missing{self._nearest(key)}",
                needed="the complete state_dict of the whole network",
                do=_MEND,
            )
        if len(found) != rank or 0 in found:
            raise BadInput(
                f"{self.origin}: {key} has the shape {_text(found)}",
                needed=f"{rank} {'axis' if rank == 1 else 'axes'}, none of them empty",
                do=_MEND,
            )
        return found

    def agreed(self, fact: str, *told: tuple[str, int, int]) -> int:
        """A number that several keys tell, so that a mis-shaped one is named rather than believed.

        Args:
            fact: What the number is, for the message.
            told: Key, number of axes, and the axis that tells it.

        Raises:
            BadInput: a key is missing, has another number of axes, or the keys contradict each other.
        """
        values = {key: self.shape(key, rank)[axis] for key, rank, axis in told}
        if len(set(values.values())) > 1:
            raise BadInput(
                f"{self.origin}: {fact}: " + ", ".join(f"{value} by {key}" for key, value in values.items()),
                needed="keys whose shapes agree",
                do=_MEND,
            )
        return next(iter(values.values()))

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
        if len(wrong) > _SHOWN:
            problems.append(f"and {len(wrong) - _SHOWN} more of another shape")
        if problems:
            raise BadInput(
                f"{self.origin}: {'; '.join(problems)}",
                needed="exactly the keys of the architecture that the other keys describe",
                do=_MEND,
            )

    def _nearest(self, key: str) -> str:
        strangers = [name for name in self.shapes if _kind(name) not in self.usual]
        close = difflib.get_close_matches(key, strangers, n=1, cutoff=0.75)
        return f" (did you mean {close[0]}?)" if close else ""


def _kind(key: str) -> str:
    return re.sub(r"\d+", "#", key)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _text(shape: Shape) -> str:
    return "x".join(str(axis) for axis in shape) or "scalar"
