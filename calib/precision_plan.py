r"""Which arithmetic each linear of a network gets: a plan that a person can read, write and change.

A plan file is text, one line an entry:

    # Anything behind a number sign at the start of a line or after a space is a comment.
    default int8
    blocks.0.attn.qkv fp16
    /blocks\.[01]\.mlp/ fp16
    blocks.1.mlp.2 int8

`default` holds for all linears that no other line names; it is the first line, if there is one. Without it every linear
has to be named. A line names one linear exactly, or all that a regular expression between slashes is found in (as
`re.search` does: anchor it with ^ and $ where that matters). Of several lines for one linear the last wins. The
precisions are int8, fp8, and fp16 for what stays in float.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from calib.errors import BadData
from calib.text_file import read_text

__all__ = ["FLOAT", "PRECISIONS", "PrecisionPlan", "plan_from_text", "read_plan"]

PRECISIONS = ("int8", "fp8", "fp16")
"""What a linear may be given."""
FLOAT = "fp16"
"""The precision of a linear that is left alone; in an FP32 graph it is FP32."""

_SHOWN = 4


@dataclass(frozen=True)
class PrecisionPlan:
    """The precision of every linear that could be quantized.

    Attributes:
        precisions: Module path, e.g. `blocks.3.mlp.2`, to one of `PRECISIONS`, in the graph's order. Read-only.
    """

    precisions: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check every entry and take a read-only copy.

        Raises:
            BadData: there is no linear, or one has a name that no line holds or an unknown precision.
        """
        if not self.precisions:
            raise BadData("a plan without a linear", needed="at least one linear")
        for name, precision in self.precisions.items():
            if not name.isprintable():
                raise BadData(f"a linear is named {name!r}", needed="a name of printable characters")
            _known(precision, f"plan: {name}")
        object.__setattr__(self, "precisions", MappingProxyType(dict(self.precisions)))

    @classmethod
    def uniform(cls, names: Iterable[str], precision: str = "int8") -> PrecisionPlan:
        """All linears alike; `names` in the graph's order."""
        return cls(dict.fromkeys(names, precision))

    @classmethod
    def quantizing(cls, names: Iterable[str], chosen: Collection[str], precision: str = "int8") -> PrecisionPlan:
        """The linears `chosen` in `precision`, the others in float.

        Raises:
            BadData: one of `chosen` is not among `names`.
        """
        every = list(names)
        unknown = sorted(set(chosen) - set(every))
        if unknown:
            raise BadData(f"plan: no linear is named {unknown[0]}", needed=f"linears of the graph: {_some(every)}")
        return cls({name: precision if name in chosen else FLOAT for name in every})

    def excluding(self, patterns: Iterable[str]) -> PrecisionPlan:
        """The same plan with all linears in float whose names hold one of `patterns` (`re.search`).

        Raises:
            BadData: a pattern is no regular expression, or is found in no name.
        """
        changed = dict(self.precisions)
        for pattern in patterns:
            changed.update(dict.fromkeys(_matching(pattern, changed, f"the pattern {pattern!r}"), FLOAT))
        return PrecisionPlan(changed)

    @property
    def quantized(self) -> tuple[str, ...]:
        """The linears that are not left in float, in the graph's order."""
        return tuple(name for name, precision in self.precisions.items() if precision != FLOAT)

    def to_text(self, macs: Mapping[str, float] | None = None) -> str:
        """As a plan file, one line a linear.

        Args:
            macs: Multiply-accumulates of each linear; their share is then written behind it, as a comment.
        """
        total = sum(macs[name] for name in self.precisions) if macs else 0
        lines = ["# linear, precision" + (", share of the linears' multiply-accumulates" if total else "")]
        for name, precision in self.precisions.items():
            share = f"  # {100 * macs[name] / total:.2f} %" if macs and total else ""
            lines.append(f"{_written(name)} {precision}{share}")
        return "\n".join(lines) + "\n"


def plan_from_text(text: str, names: Iterable[str], source: str = "plan") -> PrecisionPlan:
    """Read a plan file.

    Args:
        text: What stands in it; see above for how it is written.
        names: The linears that can be quantized, in the graph's order.
        source: What to call the text in errors.

    Raises:
        BadData: a line that cannot be read, an unknown linear or precision, a pattern that matches nothing, a linear
            named twice, or one that no line names; the message has the line's number.
    """
    plan: dict[str, str | None] = dict.fromkeys(names)
    named: set[str] = set()
    first = True
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if not entry:
            continue
        where = f"{source}, line {number}"
        selector, precision = _entry(entry, where)
        if selector == "default":
            if not first:
                raise BadData(
                    f"{where}: default stands behind another line",
                    needed="default once, as the first line, since later lines win",
                )
            plan = dict.fromkeys(plan, precision)
        elif selector in plan:
            if selector in named:
                raise BadData(f"{where}: {selector} is named a second time", needed="one line a linear")
            named.add(selector)
            plan[selector] = precision
        elif len(selector) > 1 and selector.startswith("/") and selector.endswith("/"):
            plan.update(dict.fromkeys(_matching(selector[1:-1], plan, f"{where}: {selector}"), precision))
        else:
            raise BadData(
                f"{where}: no linear is named {selector}",
                needed=f"one of the {len(plan)} linears ({_some(plan)}) or a pattern between slashes",
            )
        first = False
    settled = {name: precision for name, precision in plan.items() if precision is not None}
    if len(settled) != len(plan):
        missing = [name for name in plan if name not in settled]
        raise BadData(
            f"{source} has no precision for {len(missing)} of {len(plan)} linears: {_some(missing)}",
            needed="a line for every linear, or a default",
            do="Write 'default int8' or 'default fp16' as the first line",
        )
    return PrecisionPlan(settled)


def read_plan(path: Path, names: Iterable[str]) -> PrecisionPlan:
    """Read a plan file from disk; see `plan_from_text`.

    Raises:
        BadData: the file cannot be read, or holds no plan for these linears.
    """
    text = read_text(path, "plan file", "a text file in UTF-8")
    return plan_from_text(text, names, f"plan file {path}")


def _entry(entry: str, where: str) -> tuple[str, str]:
    parts = entry.rsplit(None, 1)  # from the right: a pattern may hold spaces
    if len(parts) != 2:
        raise BadData(f"{where}: {entry!r}", needed="a linear, a pattern between slashes or default, then a precision")
    return parts[0], _known(parts[1], where)


def _known(precision: str, where: str) -> str:
    if precision not in PRECISIONS:
        raise BadData(f"{where}: unknown precision {precision!r}", needed="one of " + ", ".join(PRECISIONS))
    return precision


def _matching(pattern: str, names: Collection[str], what: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadData(f"{what} is no regular expression: {error}", needed="one that Python's re understands") from error
    found = [name for name in names if compiled.search(name)]
    if not found:
        raise BadData(f"{what} matches no linear", needed=f"one that is found in a name, such as {_some(names)}")
    return found


def _written(name: str) -> str:
    """How a line names exactly this linear: as it is, or as a pattern where that would be read as something else."""
    plain = name and name != "default" and not re.search(r"\s|^#|^/.*/$", name)
    return name if plain else f"/^{re.escape(name)}$/"


def _some(names: Iterable[str]) -> str:
    """A few of `names`, from all over the network rather than from its first block."""
    every = list(names)
    shown = every if len(every) <= _SHOWN else every[:: -(-len(every) // _SHOWN)]
    return ", ".join(shown) + (", ..." if len(shown) < len(every) else "")
