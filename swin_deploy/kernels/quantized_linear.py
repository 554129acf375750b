"""Launches of `quantized_linear`: one program makes one tile of the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.fp8_support import refuse_without_fp8
from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.tiling import covering, divided

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "quantized_linear"]


def candidates(inputs: int, outputs: int) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first, for a weight [outputs, inputs].

    The inner tile divides the inputs where it can (96 = 3 * 32), and the narrower column tile is the default where it
    multiplies fewer columns that do not exist.
    """
    inner = max(32, min(128, inputs & -inputs, covering(inputs)))
    narrow = 64 * divided(outputs, 64) < 128 * divided(outputs, 128)
    wide = (Tiles(128, 128, inner, 8, 3), Tiles(128, 64, inner, 4, 3))
    return (
        *(wide[::-1] if narrow else wide),
        Tiles(64, 128, inner, 4, 3),
        Tiles(64, 64, inner, 4, 4),
        Tiles(32, 64, inner, 4, 4),
        Tiles(128, 128, 64, 8, 4),
    )


def quantized_linear(
    run: Run,
    x: Tensor,
    steps: Tensor | None,
    weight: Tensor,
    weight_steps: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    *,
    gelu: bool = False,
    half: bool = True,
    out_step: float = 0.0,
    tiles: Sequence[int] = (),
) -> Tensor:
    """See `Operators.quantized_linear`.

    Raises:
        Unavailable: FP8 on a GPU that has none.
    """
    import torch

    if x.dtype != torch.int8 or out_step:
        refuse_without_fp8(x)
    outputs, inputs = weight.shape
    rows = x.numel() // inputs
    cut = Tiles.of(tiles, candidates(inputs, outputs)[0])
    assert residual is None or not out_step, "a residual is not added in FP8"
    dtype = torch.float16 if half else torch.bfloat16
    if residual is not None:
        dtype = residual.dtype
    if out_step:
        dtype = torch.float8_e4m3fn
    out = run.empty((*x.shape[:-1], outputs), dtype, x)
    run.launch(
        Launch(
            "quantized_linear",
            (divided(rows, cut.rows) * divided(outputs, cut.columns), 1, 1),
            {
                "x": x,
                "steps": steps,
                "weight": weight,
                "weight_steps": weight_steps,
                "bias": bias,
                "residual": residual,
                "out": out,
                "rows": rows,
            },
            {
                "INPUTS": inputs,
                "OUTPUTS": outputs,
                "GELU": gelu,
                "OUT_STEP": out_step,
                "BLOCK_ROWS": cut.rows,
                "BLOCK_OUTPUTS": cut.columns,
                "BLOCK_INPUTS": cut.inner,
            },
            cut.warps,
            cut.stages,
        )
    )
    return out
