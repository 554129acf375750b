"""Which parts of a network quantization hurts: blocks, kinds of layers and single linears, each quantized alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from calib.errors import BadData
from calib.plan_judge import Choice, Figures
from calib.search_log import RememberingJudge

__all__ = ["Damage", "Sensitivity", "block_of", "kind_of", "rank"]

# The path of a block, wherever in a user's own network it lies.
_BLOCK = re.compile(r"(?:^|.*\.)blocks\.\d+(?=\.)")
# A place in a sequence, with a number behind it where a module holds several linears.
_PLACE = re.compile(r"\d+(_\d+)?")
_MLP = {"mlp.0": "fc1", "mlp.2": "fc2"}


@dataclass(frozen=True)
class Damage:
    """What quantizing one group does, with everything else in float.

    Attributes:
        group: The block's path, the kind's name or the linear's module.
        linears: The modules of the group, in the graph's order.
        figures: What the judge measured.
    """

    group: str
    linears: tuple[str, ...]
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """As it stands in a report: `noise` is a share of the outputs' power, drops are percentage points."""
        task = self.figures.task
        return {
            "group": self.group,
            "linears": len(self.linears),
            "noise": self.figures.noise,
            "sqnr_db": self.figures.sqnr_db,
            "drop": None if task is None else task.drop,
            "drop_upper": None if task is None else task.upper,
        }


@dataclass(frozen=True)
class Sensitivity:
    """The damage of each part, the worst first.

    Noise power adds up as far as the parts' errors are independent, so the sum over the linears beside the noise of
    all together tells how far single measurements can be trusted to predict a plan.

    Attributes:
        together: All linears quantized.
        blocks: Each block; linears outside of blocks are in none.
        kinds: qkv, proj, fc1, fc2, and whatever else a network's own names make.
        linears: Each by itself.
    """

    together: Damage
    blocks: tuple[Damage, ...]
    kinds: tuple[Damage, ...]
    linears: tuple[Damage, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "together": self.together.to_json(),
            "sum_of_linears_noise": sum(damage.figures.noise for damage in self.linears),
            "blocks": [damage.to_json() for damage in self.blocks],
            "kinds": [damage.to_json() for damage in self.kinds],
            "linears": [damage.to_json() for damage in self.linears],
        }


def block_of(module: str) -> str | None:
    """The path of the innermost block that the linear is in, e.g. `blocks.3`; `None` outside of blocks."""
    found = _BLOCK.match(module)
    return found.group() if found else None


def kind_of(module: str) -> str:
    """What the linear does in its block: qkv, proj, fc1 or fc2, or the last part of its path that is no number.

    What stands behind such a part is kept: `ff.3` of a network of one's own is the kind `ff.3`.
    """
    parts = module.split(".")
    named = max((place for place, part in enumerate(parts) if not _PLACE.fullmatch(part)), default=0)
    kind = ".".join(parts[named:])
    return _MLP.get(kind, kind)


def rank(choice: Choice, judge: RememberingJudge) -> Sensitivity:
    """Measure each group alone: as many evaluations as there are blocks, kinds and linears, and one.

    Args:
        choice: The linears that could be quantized, in the graph's order, each with the variant to try.
        judge: Measures; groups of the same linears are measured once.

    Raises:
        BadData: there is no linear.
    """
    if not choice:
        raise BadData("no linear to rank", needed="at least one that can be quantized")

    def damage(group: str, members: Iterable[str]) -> Damage:
        linears = tuple(members)
        return Damage(group, linears, judge.figures({module: choice[module] for module in linears}))

    blocks: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for module in choice:
        block = block_of(module)
        if block is not None:
            blocks.setdefault(block, []).append(module)
        kinds.setdefault(kind_of(module), []).append(module)
    return Sensitivity(
        damage("all", choice),
        _worst_first(damage(group, members) for group, members in blocks.items()),
        _worst_first(damage(group, members) for group, members in kinds.items()),
        _worst_first(damage(module, (module,)) for module in choice),
    )


def _worst_first(damages: Iterable[Damage]) -> tuple[Damage, ...]:
    # By the ratio, not the noise, which is the same but underflows; stable, so equal ones stay in the graph's order.
    return tuple(sorted(damages, key=lambda damage: damage.figures.sqnr_db))
