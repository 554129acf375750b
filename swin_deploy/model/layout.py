"""The order of the token stream through the network: where it changes, and by which constant permutation.

LayerNorm, MLP and residuals work per token and do not care about order, so the deployment form keeps tokens in window
order and permutes only where the partition changes. Padded tokens take part in the stream; what stands in them is of no
account, since they are zeroed wherever a code base has zeros. This file is the single owner of that plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Backbone, Restoration
from swin_deploy.model.windows import PADDING, IntArray, merge_order, window_order

__all__ = ["BlockLayout", "BoolArray", "TokenLayout", "reorder", "token_layout"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BlockLayout:
    """What has to happen to the stream around one block.

    Attributes:
        permutation: [L] positions in the incoming stream, or `None` when the order already fits, or was made to fit by
            what stands before.
        merges: Whether patch merging stands between: groups of four neighbours are then adjacent after `permutation`.
        real: [L'] which tokens of the block's own stream are no padding, or `None` when all are.
        merged: [4*L'] which of the tokens that merge are no padding of an odd map, or `None` when all are.
        leaving: [L''] positions in the block's own stream that give the order of the next block, where this block
            applies them itself, before its last norm.
    """

    permutation: IntArray | None
    merges: bool
    real: BoolArray | None = None
    merged: BoolArray | None = None
    leaving: IntArray | None = None


@dataclass(frozen=True)
class TokenLayout:
    """The plan for a whole network.

    Attributes:
        blocks: One entry a block, in the order of `SwinSpec.blocks`.
        entry: [L] positions in raster order that give the order of the first block, where the patch embedding applies
            them itself, before its norm.
        exits: For each stage whose features leave in raster order: [H*W] the position of each raster token in the
            stream behind the stage's last block, or `None` where the stream is in raster order.
        end: For a classifier whose last stage is padded: [H*W] positions of the tokens that are no padding.
    """

    blocks: tuple[BlockLayout, ...]
    exits: dict[int, IntArray | None]
    entry: IntArray | None = None
    end: IntArray | None = None

    @property
    def permutations(self) -> int:
        """How many permutations the network needs."""
        around = [block.permutation for block in self.blocks] + [block.leaving for block in self.blocks]
        found = [self.entry, *around, *self.exits.values(), self.end]
        return sum(entry is not None for entry in found)


def token_layout(spec: SwinSpec) -> TokenLayout:
    """Plan the stream's order. A classifier's stays as it is at the end, since its head averages over tokens."""
    plan = []
    exits: dict[int, IntArray | None] = {}
    leaving = _leaving(spec)
    current = _raster(spec, 0)  # the patch embedding gives raster order
    for stage, block in spec.blocks():
        if block == 0 and isinstance(spec.task, Restoration):
            current = _raster(spec, stage)  # each group begins behind a convolution
        geometry = spec.geometry(stage, block)
        wanted = window_order(geometry.feature_map, geometry.window, geometry.shift, roll_first=geometry.roll_first)
        merges = spec.merging and stage > 0 and block == 0
        source = merge_order(spec.feature_map(stage - 1), wanted) if merges else wanted
        plan.append(
            BlockLayout(
                reorder(current, source),
                merges,
                _real(wanted),
                _merged(source, wanted) if merges else None,
            )
        )
        current = wanted
        if block == spec.stages[stage].depth - 1 and stage in leaving:
            exits[stage] = reorder(current, _raster(spec, stage))
    end = None
    if not exits and _real(current) is not None:
        end = reorder(current, _raster(spec, len(spec.stages) - 1))
    return _before_norms(spec, TokenLayout(tuple(plan), exits, end=end))


def _before_norms(spec: SwinSpec, layout: TokenLayout) -> TokenLayout:
    """Move each permutation that stands right behind a norm to before it: a norm per token does not mind the order.

    TensorRT for RTX fuses a gather into the kernel of the norm that reads it, and not into that of one that writes it:
    one kernel less at the patch embedding, and one a permutation in V2, whose blocks end in a norm.
    """
    blocks, entry = list(layout.blocks), None
    for index, (stage, position) in enumerate(spec.blocks()):
        order = blocks[index].permutation
        first = index == 0 and not isinstance(spec.task, Restoration)  # whose residual is the embedding in raster order
        # Features that leave are read in the order of their own stage.
        inner = index > 0 and spec.family == "v2" and not (position == 0 and stage - 1 in layout.exits)
        if order is None or not (first or inner):
            continue
        blocks[index] = replace(blocks[index], permutation=None)
        if first:
            entry = order
        else:
            blocks[index - 1] = replace(blocks[index - 1], leaving=order)
    return replace(layout, blocks=tuple(blocks), entry=entry)


def _leaving(spec: SwinSpec) -> tuple[int, ...]:
    if isinstance(spec.task, Backbone):
        return spec.task.stages
    return tuple(range(len(spec.stages))) if isinstance(spec.task, Restoration) else ()


def _raster(spec: SwinSpec, stage: int) -> IntArray:
    height, width = spec.feature_map(stage)
    return np.arange(height * width, dtype=np.int64)


def _real(order: IntArray) -> BoolArray | None:
    real = order != PADDING
    return None if real.all() else real


def _merged(source: IntArray, wanted: IntArray) -> BoolArray | None:
    """Tokens of an odd map's padding; those of a wholly padded group are zeroed later, with their merged token."""
    real = (source != PADDING) | np.repeat(wanted == PADDING, 4)
    return None if real.all() else real


def reorder(current: IntArray, wanted: IntArray) -> IntArray | None:
    """Positions in a stream ordered as `current` that give one ordered as `wanted`; `None` for the identity.

    A padded token takes whatever stands first: it is zeroed before it counts.
    """
    if np.array_equal(current, wanted):
        return None
    where = np.zeros(current.max() + 1, dtype=np.int64)
    present = current != PADDING
    where[current[present]] = np.flatnonzero(present)
    positions: IntArray = np.where(wanted == PADDING, 0, where[wanted])
    return positions
