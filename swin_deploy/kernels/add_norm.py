"""Launches of `add_norm`: one program makes some whole rows, which it keeps in registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.row_tiles import row_tiles
from swin_deploy.kernels.tiling import divided

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add_norm", "candidates"]


def candidates(channels: int) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first."""
    return row_tiles(channels)


def add_norm(
    run: Run, x: Tensor | None, y: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()
) -> Tensor:
    """See `Operators.add_norm`."""
    channels = y.shape[-1]
    rows = y.numel() // channels
    cut = Tiles.of(tiles, candidates(channels)[0])
    out = run.empty(y.shape, y.dtype, y)
    run.launch(
        Launch(
            "add_norm",
            (divided(rows, cut.rows), 1, 1),
            {"x": x, "y": y, "weight": weight, "bias": bias, "out": out, "rows": rows},
            {"CHANNELS": channels, "EPS": eps, "BLOCK_ROWS": cut.rows, "BLOCK_CHANNELS": cut.columns},
            cut.warps,
            cut.stages,
        )
    )
    return out
