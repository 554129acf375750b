"""Launches of `linear`: one program makes one tile of the result, all of the inner axis long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.tiling import MANY_ROWS, PROCESSORS, covering, divided, if_known

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "linear"]

# Row tiles whose programs follow one another; a wave of programs then reads about as much of x as of the weights.
_GROUP = 8

# At the sizes of Swin-T and Swin-B ptxas spills nothing of these on sm_80, 90, 100 and 120 (8 bytes in two cases), and
# they fit the 99 KiB of sm_86's shared memory.
_HALF = (
    Tiles(128, 128, 64, 8, 3),
    Tiles(128, 64, 64, 4, 3),
    Tiles(64, 128, 64, 4, 3),
    Tiles(64, 64, 64, 4, 4),
    Tiles(64, 32, 64, 4, 4),
    Tiles(32, 64, 64, 4, 4),
    Tiles(32, 32, 128, 4, 4),
    Tiles(16, 32, 128, 4, 4),
)
# These read less, but spill on some architecture: for measurements to choose, never a default.
_LARGE = (Tiles(128, 256, 32, 8, 4), Tiles(256, 128, 32, 8, 4), Tiles(128, 128, 32, 4, 4))
# FP32 is multiplied without tensor cores, a number a lane: small tiles keep the sums in registers.
_SINGLE = (Tiles(64, 64, 32, 8, 3), Tiles(32, 64, 32, 4, 3), Tiles(32, 32, 32, 4, 3))


def candidates(
    inner: int, columns: int, rows: int | None = None, *, norm: bool = False, half: bool = True
) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first.

    Args:
        inner: K.
        columns: N.
        rows: Rows of x; `None` where they depend on a batch that is not known.
        norm: Whether a norm stands before the product.
        half: Whether x is FP16 or BF16, else FP32.
    """
    ordered = sorted(_HALF if half else _SINGLE, key=lambda tiles: _cost(tiles, rows or MANY_ROWS, columns, norm))
    fitted = (_fitted(tiles, inner, columns, norm) for tiles in (*ordered, *(_LARGE if half else ())))
    return tuple(dict.fromkeys(fitted))


def _fitted(tiles: Tiles, inner: int, columns: int, norm: bool) -> Tiles:
    """`tiles` with no more columns than there are, and a depth that divides the inner axis where one does."""
    # The norm's sums take registers by the depth: at 32 two programs of the largest tile still share a multiprocessor.
    deepest = min(tiles.inner, 32 if norm and tiles.rows >= 128 else 128, covering(inner))
    depth = next((depth for depth in (128, 64, 32, 16) if depth <= deepest and inner % depth == 0), deepest)
    stages = tiles.stages + (depth < tiles.inner)  # as many bytes on their way as with deeper tiles
    return Tiles(tiles.rows, min(tiles.columns, covering(columns)), depth, tiles.warps, stages)


def _cost(tiles: Tiles, rows: int, columns: int, norm: bool) -> float:
    """An estimate of time, in products of numbers: enough to order tiles by, no more.

    A step along the inner axis multiplies rows * columns numbers and reads rows + columns, with a norm its rows twice;
    a multiprocessor multiplies some 32 times as many as it reads. Programs share the multiprocessors, and none takes
    less than its own time.
    """
    programs = divided(rows, tiles.rows) * divided(columns, tiles.columns)
    step = tiles.rows * tiles.columns + 32 * (tiles.rows * (1 + norm) + tiles.columns)
    return max(1.0, programs / PROCESSORS) * step


def linear(
    run: Run,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    column: Tensor | None,
    residual: Tensor | None,
    *,
    eps: float = 1e-5,
    gelu: bool = False,
    tiles: Sequence[int] = (),
) -> Tensor:
    """See `Operators.linear`."""
    columns, inner = weight.shape
    rows = x.numel() // inner
    choice = candidates(inner, columns, if_known(rows), norm=column is not None, half=x.element_size() == 2)[0]
    cut = Tiles.of(tiles, choice)
    out = run.empty((*x.shape[:-1], columns), x.dtype, x)
    run.launch(
        Launch(
            "linear",
            (divided(rows, cut.rows) * divided(columns, cut.columns), 1, 1),
            {"x": x, "weight": weight, "bias": bias, "column": column, "residual": residual, "out": out, "rows": rows},
            {
                "INNER": inner,
                "COLUMNS": columns,
                "EPS": eps,
                "GELU": gelu,
                "BLOCK_ROWS": cut.rows,
                "BLOCK_COLUMNS": cut.columns,
                "BLOCK_INNER": cut.inner,
                "GROUP": _GROUP,
            },
            cut.warps,
            cut.stages,
        )
    )
    return out
