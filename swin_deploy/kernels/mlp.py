"""Launches of `mlp`: one program makes some whole rows, with the hidden features in its registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.tiling import MANY_ROWS, PROCESSORS, covering, divided, if_known

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "mlp"]


# Up to 192 channels ptxas spills none of these on sm_80, 90 and 120.
_WIDE = (Tiles(128, 32, 16, 8, 3), Tiles(64, 32, 16, 4, 3), Tiles(32, 32, 16, 4, 3), Tiles(16, 64, 16, 4, 2))
# Up to 96 channels a warp holds 32 rows: each weight that it takes from shared memory then serves twice as many.
_NARROW = (Tiles(128, 32, 16, 4, 3), *_WIDE)
_SINGLE = (Tiles(16, 32, 16, 8, 2), Tiles(16, 16, 16, 4, 2))


def candidates(channels: int, hidden: int, rows: int | None = None, *, half: bool = True) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first.

    Args:
        channels: C.
        hidden: F.
        rows: Rows of x; `None` where they depend on a batch that is not known.
        half: Whether x is FP16 or BF16, else FP32.
    """
    kept = (_NARROW if channels <= 96 else _WIDE) if half else _SINGLE
    fitted = (Tiles(t.rows, min(t.columns, covering(hidden)), t.inner, t.warps, t.stages) for t in kept)
    return tuple(sorted(dict.fromkeys(fitted), key=lambda tiles: _cost(tiles, rows or MANY_ROWS)))


def _cost(tiles: Tiles, rows: int) -> float:
    """An estimate of time, in rows: each program also reads all the weights, which takes as long as some 64 rows."""
    return max(1.0, divided(rows, tiles.rows) / PROCESSORS) * (tiles.rows + 64)


def mlp(
    run: Run,
    x: Tensor,
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
    second_bias: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    *,
    eps: float = 1e-5,
    tiles: Sequence[int] = (),
) -> Tensor:
    """See `Operators.mlp`."""
    hidden, channels = first.shape
    rows = x.numel() // channels
    cut = Tiles.of(tiles, candidates(channels, hidden, if_known(rows), half=x.element_size() == 2)[0])
    head = covering(channels) if channels <= 16 else 1 << (channels.bit_length() - 1)
    out = run.empty(x.shape, x.dtype, x)
    run.launch(
        Launch(
            "mlp",
            (divided(rows, cut.rows), 1, 1),
            {
                "x": x,
                "first": first,
                "first_bias": first_bias,
                "second": second,
                "second_bias": second_bias,
                "norm_weight": norm_weight,
                "norm_bias": norm_bias,
                "out": out,
                "rows": rows,
            },
            {
                "CHANNELS": channels,
                "HIDDEN": hidden,
                "EPS": eps,
                "BLOCK_ROWS": cut.rows,
                "BLOCK_HIDDEN": cut.columns,
                "HEAD": head,
                "TAIL": covering(channels - head) if channels > head else 0,
            },
            cut.warps,
            cut.stages,
        )
    )
    return out
