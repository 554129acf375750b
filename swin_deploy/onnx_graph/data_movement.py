"""The operators that hand numbers on as they are: no arithmetic, so nothing is rounded and no type is better."""

from __future__ import annotations

__all__ = ["DATA_MOVEMENT"]

DATA_MOVEMENT = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
