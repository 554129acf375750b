"""The order of the token stream through the network: where it changes, and by which constant permutation.

LayerNorm, MLP and residuals work per token and do not care about order, so the deployment form keeps tokens in window
order and permutes only where the partition changes. This file is the single owner of that plan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.model.windows import IntArray, merge_order, window_order

__all__ = ["BlockLayout", "TokenLayout", "token_layout"]


@dataclass(frozen=True)
class BlockLayout:
    """What has to happen to the stream before one block.

    Attributes:
        permutation: [L] positions in the incoming stream, or `None` when the order already fits.
        merges: Whether patch merging stands between: groups of four neighbours are then adjacent after `permutation`.
    """

    permutation: IntArray | None
    merges: bool


@dataclass(frozen=True)
class TokenLayout:
    """The plan for a whole network, one entry a block in the order of `SwinSpec.blocks`."""

    blocks: tuple[BlockLayout, ...]

    @property
    def permutations(self) -> int:
        """How many permutations the network needs."""
        return sum(block.permutation is not None for block in self.blocks)


def token_layout(spec: SwinSpec) -> TokenLayout:
    """Plan the stream's order; nothing restores raster order at the end, since the head averages over tokens."""
    plan = []
    current = np.arange(np.prod(spec.feature_map(0)), dtype=np.int64)  # the patch embedding gives raster order
    for stage, block in spec.blocks():
        geometry = spec.geometry(stage, block)
        wanted = window_order(geometry.feature_map, geometry.window, geometry.shift)
        merges = stage > 0 and block == 0
        source = merge_order(spec.feature_map(stage - 1), wanted) if merges else wanted
        plan.append(BlockLayout(_reorder(current, source), merges))
        current = wanted
    return TokenLayout(tuple(plan))


def _reorder(current: IntArray, wanted: IntArray) -> IntArray | None:
    """Positions in a stream ordered as `current` that give one ordered as `wanted`; `None` for the identity."""
    if np.array_equal(current, wanted):
        return None
    where = np.empty_like(current)
    where[current] = np.arange(current.size)
    return where[wanted]
