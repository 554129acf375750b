"""Launches of `patch_embed`: one program makes all channels of some tokens, since the norm needs them whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.tiling import covering, divided

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "patch_embed"]


def candidates(channels: int) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first.

    About 64 sums a thread: twice as many leave too few warps on a multiprocessor to hide a load's latency. 16 pixels at
    a time, one colour of a patch of 4 x 4, is what Triton loads in whole vectors, and all of them ahead.
    """
    columns = covering(channels)
    rows = max(16, min(64, 8192 // columns))
    warps = max(4, min(8, rows * columns // 2048))
    return (
        Tiles(rows, columns, 16, warps, 3),
        Tiles(max(16, rows // 2), columns, 16, 4, 3),
        Tiles(2 * rows, columns, 16, 8, 3),
    )


def patch_embed(
    run: Run,
    images: Tensor,
    weight: Tensor,
    bias: Tensor,
    order: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    *,
    eps: float,
    tiles: Sequence[int] = (),
) -> Tensor:
    """See `Operators.patch_embed`."""
    channels, colours, patch_rows, patch_columns = weight.shape
    batch, tokens = images.shape[0], order.shape[0]
    cut = Tiles.of(tiles, candidates(channels)[0])
    out = run.empty((batch, tokens, channels), weight.dtype, images)
    run.launch(
        Launch(
            "patch_embed",
            (batch * divided(tokens, cut.rows), 1, 1),
            {
                "images": images,
                "weight": weight,
                "bias": bias,
                "order": order,
                "norm_weight": norm_weight,
                "norm_bias": norm_bias,
                "out": out,
            },
            {
                "TOKENS": tokens,
                "CHANNELS": channels,
                "COLOURS": colours,
                "HEIGHT": images.shape[2],
                "WIDTH": images.shape[3],
                "PATCH_ROWS": patch_rows,
                "PATCH_COLUMNS": patch_columns,
                "EPS": eps,
                "BLOCK_ROWS": cut.rows,
                "BLOCK_CHANNELS": cut.columns,
                "BLOCK_PIXELS": cut.inner,
            },
            cut.warps,
            cut.stages,
        )
    )
    return out
