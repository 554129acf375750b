"""Launches of `quantize_rows`: one program reads some whole rows once and keeps them in registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.fp8_support import refuse_without_fp8
from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.row_tiles import row_tiles
from swin_deploy.kernels.tiling import divided

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "quantize_rows"]


def candidates(inputs: int) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first, for rows of `inputs` values."""
    return row_tiles(inputs)


def quantize_rows(
    run: Run,
    x: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    *,
    eps: float = 1e-5,
    fp8: bool = False,
    tiles: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """See `Operators.quantize_rows`.

    Raises:
        Unavailable: FP8 on a GPU that has none.
    """
    import torch

    if fp8:
        refuse_without_fp8(x)
    inputs = x.shape[-1]
    rows = x.numel() // inputs
    cut = Tiles.of(tiles, candidates(inputs)[0])
    values = run.empty(x.shape, torch.float8_e4m3fn if fp8 else torch.int8, x)
    steps = run.empty(x.shape[:-1], torch.float32, x)
    run.launch(
        Launch(
            "quantize_rows",
            (divided(rows, cut.rows), 1, 1),
            {
                "x": x,
                "norm_weight": norm_weight,
                "norm_bias": norm_bias,
                "values": values,
                "steps": steps,
                "rows": rows,
            },
            {"INPUTS": inputs, "EPS": eps, "BLOCK_ROWS": cut.rows, "BLOCK_INPUTS": cut.columns},
            cut.warps,
            cut.stages,
        )
    )
    return values, steps
