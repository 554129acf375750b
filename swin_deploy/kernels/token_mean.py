"""Launches of `token_mean`: one program an image, which reads each token once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.tiling import covering

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "token_mean"]


def candidates(channels: int) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first: about 32 values of a tile a thread, 64 spill."""
    columns = covering(channels)
    rows = max(1, min(16, 16384 // columns))
    warps = max(4, min(16, rows * columns // 1024))
    return Tiles(rows, columns, 16, warps, 1), Tiles(max(1, rows // 2), columns, 16, warps, 1)


def token_mean(run: Run, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()) -> Tensor:
    """See `Operators.token_mean`."""
    batch, tokens, channels = x.shape
    cut = Tiles.of(tiles, candidates(channels)[0])
    out = run.empty((batch, channels), x.dtype, x)
    run.launch(
        Launch(
            "token_mean",
            (batch, 1, 1),
            {"x": x, "weight": weight, "bias": bias, "out": out},
            {
                "TOKENS": tokens,
                "CHANNELS": channels,
                "EPS": eps,
                "BLOCK_ROWS": cut.rows,
                "BLOCK_CHANNELS": cut.columns,
            },
            cut.warps,
            cut.stages,
        )
    )
    return out
