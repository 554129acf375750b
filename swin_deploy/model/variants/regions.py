"""Which tokens of a window may mix, for attention that mixes tokens before there is a score of every pair.

Softmax attention can be told so by a mask on its N x N scores. Attention that sums, projects or routes keys first has
no such scores: a mask would come too late, and what has been mixed would leak without any error. So the tokens are told
apart beforehand, by the regions of `window_regions`. The paper forms take each region by itself (`pieces`). The folded
forms take the windows that are one region as they are, and for the others, the last row and column of a shifted map,
compute all regions of a window side by side and keep what belongs together (`groups`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.windows import PADDING, IntArray, window_order, window_regions

__all__ = ["LOWEST", "BoolArray", "Group", "Piece", "groups", "pieces"]

BoolArray = npt.NDArray[np.bool_]

# Put in place of scores that do not count, never added to them: FP16's lowest number, since a softmax over -inf alone
# is NaN, and TensorRT's fused kernels may see a tile of such scores alone. exp(LOWEST - x) is 0 in every type, FP64
# included, for any score x above -64,000.
LOWEST = -65504.0


@dataclass(frozen=True)
class Piece:
    """Windows in which the same tokens make up one region.

    Attributes:
        tokens: [t] places of the region's tokens in a window.
        positions: [n, t] positions of the same tokens in the window-ordered stream, a row for each of the n windows.
    """

    tokens: IntArray
    positions: IntArray


@dataclass(frozen=True)
class Group:
    """Windows that are attended to together.

    Attributes:
        windows: [n] their numbers.
        members: Which tokens make up each region, [n, R, N], or [1, 1, N] where every window is one region. R is the
            largest number of regions in a window, 4 at most; windows with fewer have empty ones.
    """

    windows: IntArray
    members: BoolArray

    @property
    def whole(self) -> bool:
        """Whether each window is one region of all its tokens."""
        return bool(self.members.all())


def pieces(geometry: BlockGeometry, *, real: bool = False) -> tuple[Piece, ...]:
    """Every region of every window once; windows whose region has the same tokens are taken together.

    Args:
        geometry: Of the block.
        real: Leave out padded tokens; otherwise they belong to a region like any other token.
    """
    windows: dict[tuple[int, ...], list[int]] = {}
    for number, labels in enumerate(_labels(geometry, real)):
        for label in range(int(labels.max()) + 1):
            windows.setdefault(tuple(np.flatnonzero(labels == label).tolist()), []).append(number)
    found = []
    for places, numbers in windows.items():
        tokens = np.array(places, dtype=np.int64)
        starts = np.array(numbers, dtype=np.int64) * geometry.tokens
        found.append(Piece(tokens, starts[:, None] + tokens))
    return tuple(found)


def groups(geometry: BlockGeometry, *, real: bool = False) -> tuple[Group, ...]:
    """The windows in one group, or in two: those that are one region, and the others.

    Two only where the first are no fewer than the others: it saves them the cost of the others' regions, and costs
    bringing the windows into another order and back.
    """
    labels = _labels(geometry, real)
    regions = np.arange(max(int(labels.max()) + 1, 1))
    members: BoolArray = labels[:, None, :] == regions[:, None]  # [nW, R, N]
    whole = members[:, 0].all(axis=-1)
    single = np.ones((1, 1, geometry.tokens), dtype=np.bool_)
    if whole.all():
        return (Group(np.arange(len(labels)), single),)
    if whole.sum() * 2 < len(labels):
        return (Group(np.arange(len(labels)), members),)
    return Group(np.flatnonzero(whole), single), Group(np.flatnonzero(~whole), members[~whole])


def _labels(geometry: BlockGeometry, real: bool) -> IntArray:
    """[nW, N]: the regions of each window, numbered from 0; `PADDING` for tokens that are in none."""
    labels = window_regions(geometry.feature_map, geometry.window, geometry.shift)
    if real:
        order = window_order(geometry.feature_map, geometry.window, geometry.shift, roll_first=geometry.roll_first)
        labels[order.reshape(labels.shape) == PADDING] = PADDING
    # Most windows are alike, so that each kind is numbered once.
    kinds, kind = np.unique(labels, axis=0, return_inverse=True)
    for row in kinds:
        present = row != PADDING
        row[present] = np.unique(row[present], return_inverse=True)[1]
    numbered: IntArray = kinds[kind.reshape(-1)]
    return numbered
