"""What the shapes of a checkpoint tell: its keys under canonical names, and the facts of each stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.dialect import Layout
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable, Shape
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BIAS_TABLE", "Facts", "StageFacts", "offsets", "size_text", "stage_facts"]

Size = tuple[int, int]
BIAS_TABLE = "attn.relative_position_bias_table"


class Facts:
    """The shapes of a checkpoint under canonical names, with their own keys in every message."""

    def __init__(
        self, table: KeyTable, layout: Layout, tensors: Mapping[str, Tensor], hints: ArchitectureHints
    ) -> None:
        self.table, self.layout, self.tensors, self.hints = table, layout, tensors, hints
        self.evidence: list[str] = []

    def key(self, name: str) -> str:
        """Their key of a canonical name; the first, where several make up the tensor."""
        return next(key for key in self.layout.sources(name) if key is not None)

    def has(self, name: str) -> bool:
        """Whether any of the keys of `name` is there."""
        return any(key in self.table.shapes for key in self.layout.sources(name) if key is not None)

    def shape(self, name: str, rank: int) -> Shape:
        """The shape of the first of their keys; see `KeyTable.shape`."""
        return self.table.shape(self.key(name), rank)

    def agreed(self, fact: str, *told: tuple[str, int, int]) -> int:
        """See `KeyTable.agreed`, with canonical names."""
        return self.table.agreed(fact, *((self.key(name), rank, axis) for name, rank, axis in told))

    def prefix(self, stage: int, block: int) -> str:
        """What all their keys of a block begin with."""
        return self.key(f"stages.{stage}.blocks.{block}.norm1.weight").rsplit(".", 2)[0] + "."

    def depth(self, stage: int) -> int:
        """Number of blocks of a stage, by the keys."""
        depth = 0
        while any(key.startswith(self.prefix(stage, depth)) for key in self.table.shapes):
            depth += 1
        return depth

    def stages(self) -> int:
        """Number of stages, by the keys."""
        count = 0
        while self.depth(count):
            count += 1
        return count


@dataclass(frozen=True)
class StageFacts:
    """What the weights of a stage tell.

    Attributes:
        depth: Number of blocks.
        dim: Channels.
        mlp_dim: Hidden channels of the MLP.
        heads: Attention heads.
        table: V1: the window of its bias tables; V2: the window of a saved coordinate table; `None` where neither is
            there.
        normaliser: V2: the window that the saved coordinates were normalised by.
    """

    depth: int
    dim: int
    mlp_dim: int
    heads: int
    table: Size | None
    normaliser: Size | None = None


def stage_facts(facts: Facts, index: int) -> StageFacts:
    """What the shapes of one stage tell.

    Raises:
        BadInput: a key is missing or mis-shaped, or the number of heads is in no shape and no hint.
    """
    prefix, depth = f"stages.{index}.blocks.0.", facts.depth(index)
    dim = facts.agreed(
        f"channels of stage {index}", (prefix + "norm1.weight", 1, 0), (prefix + "attn.proj.weight", 2, 1)
    )
    mlp_dim = facts.agreed(
        f"hidden channels of stage {index}", (prefix + "mlp.0.weight", 2, 0), (prefix + "mlp.2.weight", 2, 1)
    )
    last = f"stages.{index}.blocks.{depth - 1}."
    window = normaliser = None
    if facts.layout.family == "v2":
        fact = prefix + "attn.logit_scale"
        heads = facts.agreed(f"heads of stage {index}", (fact, 3, 0), (prefix + "attn.cpb_mlp.2.weight", 2, 0))
        window, normaliser = _saved_coordinates(facts, index)
    elif facts.has(prefix + BIAS_TABLE):
        fact = prefix + BIAS_TABLE
        heads = facts.agreed(f"heads of stage {index}", (fact, 2, 1), (last + BIAS_TABLE, 2, 1))
        rows = facts.agreed(f"offsets in a window of stage {index}", (fact, 2, 0), (last + BIAS_TABLE, 2, 0))
        window = _table_window(facts, index, rows)
    elif facts.hints.heads is not None and facts.hints.attention != "window":
        fact, heads = facts.hints.source, facts.hints.heads[min(index, len(facts.hints.heads) - 1)]
    else:
        facts.shape(prefix + BIAS_TABLE, 2)  # raises: the key is missing
        raise AssertionError("a missing key was not refused")
    if dim % heads:
        raise BadInput(
            f"{facts.table.origin}: stage {index} has {dim} channels and, by {_key(facts, fact)}, {heads} heads",
            needed="channels divisible by heads",
            do="Check the key's shape",
        )
    return StageFacts(depth, dim, mlp_dim, heads, window, normaliser)


def _key(facts: Facts, name: str) -> str:
    return facts.key(name) if name.startswith("stages.") else name


def _table_window(facts: Facts, index: int, rows: int) -> Size:
    """The window whose offsets number `rows`."""
    key = facts.key(f"stages.{index}.blocks.0.{BIAS_TABLE}")
    saved = facts.tensors.get(key.removesuffix("relative_position_bias_table") + "relative_position_index")
    if saved is not None:
        flat = saved.flatten()
        # Along a row of the window the offset falls by one a token; it falls by more where the next row begins.
        columns = next((i for i in range(1, len(flat)) if int(flat[i - 1] - flat[i]) != 1), 0)
        tokens = math.isqrt(len(flat))
        if columns and tokens % columns == 0:
            found = tokens // columns, columns
            if offsets(found) == rows:
                return found
    clipped = _clipped_as_stated(facts, index)
    if clipped is not None and offsets(clipped) == rows:
        return clipped
    side = (math.isqrt(rows) + 1) // 2
    if (2 * side - 1) ** 2 == rows:
        return side, side
    stated = facts.hints.window_of(index)
    if stated is not None:
        candidates = [(a, b) for a in range(1, stated[0] + 1) for b in range(1, stated[1] + 1)]
        fitting = [pair for pair in candidates if offsets(pair) == rows]
        if stated in fitting or len(fitting) == 1:
            return stated if stated in fitting else fitting[0]
    raise BadInput(
        f"{facts.table.origin}: {key} has {rows} rows",
        needed="(2*window-1)^2 rows of a square window, or --window HxW of an oblong one",
        do="Check the key's shape, or give --window",
    )


def offsets(window: Size) -> int:
    """How many offsets there are between tokens of a window."""
    return (2 * window[0] - 1) * (2 * window[1] - 1)


def _clipped_as_stated(facts: Facts, index: int) -> Size | None:
    """The stated window, clipped to the map that the stage had in training; nothing where one of them is not stated."""
    stated, trained = facts.hints.window_of(index), facts.hints.trained_size or facts.hints.image_size
    if stated is None or trained is None or facts.hints.window_option or not facts.has("patch_embed.proj.weight"):
        return None
    step = facts.shape("patch_embed.proj.weight", 4)[2] * 2**index
    return min(stated[0], -(-trained[0] // step)), min(stated[1], -(-trained[1] // step))


def _saved_coordinates(facts: Facts, index: int) -> tuple[Size | None, Size | None]:
    """Window and normalising window of a saved coordinate table, where there is one."""
    logit = facts.key(f"stages.{index}.blocks.0.attn.logit_scale")
    saved = logit.removesuffix("logit_scale") + "relative_coords_table"
    if saved not in facts.table.shapes:
        return None, None
    one, rows, columns, axes = facts.table.shape(saved, 4)
    if (one, rows % 2, columns % 2, axes) != (1, 1, 1, 2):
        raise BadInput(
            f"{facts.table.origin}: {saved} has the shape {one}x{rows}x{columns}x{axes}",
            needed="1 x (2*window-1) x (2*window-1) x 2",
            do="Drop the key and give --window and --pretrained-window",
        )
    window = ((rows + 1) // 2, (columns + 1) // 2)
    farthest = facts.tensors[saved].reshape(-1, 2).amax(0).double().tolist()
    return window, (
        _normaliser(saved, facts.table, window[0], farthest[0]),
        _normaliser(saved, facts.table, window[1], farthest[1]),
    )


def _normaliser(key: str, table: KeyTable, window: int, farthest: float) -> int:
    """The window by which one axis of a saved coordinate table was normalised."""
    if window == 1:
        return 1  # only the offset 0, which no divisor changes
    if not 1e-3 < farthest < 10.0:  # 0.004 is 2 tokens in a window of 1,000, and 3.2 the other way round
        raise BadInput(
            f"{table.origin}: {key} has {farthest:.3g} as its largest coordinate",
            needed="log-spaced offsets of a window",
            do="Drop the key and give --window and --pretrained-window",
        )
    # The inverse of sign(x) * log2(|x| + 1) / log2(8) with x = 8 * (window - 1) / (pretrained - 1).
    return round(8 * (window - 1) / math.expm1(farthest * math.log(8))) + 1


def size_text(size: Size) -> str:
    """`7`, or `7x9` where the two sides differ."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
