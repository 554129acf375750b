"""Launches of `window_attention`: a program goes over many images, so that what they share is read once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swin_deploy.kernels.launch import Launch, Run, Tiles
from swin_deploy.kernels.tiling import covering, divided

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["candidates", "window_attention"]

# Shared memory of a program on the GPUs that have least of it (8.6, 8.9, 12.0), less what layouts are changed in.
_SHARED = 90 * 1024


def candidates(tokens: int, head_dim: int, size: int = 2) -> tuple[Tiles, ...]:
    """The tiles worth trying, the default first.

    Args:
        tokens: Of a window.
        head_dim: Channels of a head.
        size: Bytes of an element. FP32 has no tensor cores here: more warps, and smaller tiles, hold its sums.
    """
    rows = min(64, covering(tokens))
    warps = rows // 16 * (1 if size == 2 else 2)
    once = covering(tokens)
    # Least padded work first, then fewer tiles; with wide heads the registers hold the smaller ones only.
    columns = sorted((32, 64), key=lambda tile: (divided(tokens, tile) * tile, tile if head_dim > 32 else -tile))
    if size > 2:
        columns = [once] if once * head_dim <= 64 * 32 else [32]
    elif once <= 64:
        columns = [once, *(tile for tile in columns if tile < once)]
    elif once == 128:  # in one tile, if the registers hold it: of V1 everywhere, of V2 from 9.0 to 11.0
        columns.append(once)
    found = []
    for tile in columns:
        stages = _stages(rows, tile, covering(head_dim), size) if tile >= tokens and size == 2 else 1
        for programs in (2048, 1024, 4096):
            found.append(Tiles(rows, tile, programs, warps, stages))
    if size == 2 and once > 128:
        found.append(Tiles(128, columns[0], 2048, 8, 1))
    return tuple(found)


def window_attention(
    run: Run,
    qkv: Tensor,
    padding: Tensor,
    constant: Tensor,
    mask: Tensor | None,
    positions: Tensor,
    logit_scale: Tensor | None,
    *,
    heads: int,
    tiles: Sequence[int] = (),
) -> Tensor:
    """See `Operators.window_attention`."""
    batch, length, dim = qkv.shape[0], qkv.shape[1], qkv.shape[2] // (3 * heads)
    windows, tokens = positions.shape
    # A sum of bias and mask easily is not, and would be read in another order.
    assert constant.is_contiguous() and (mask is None or mask.is_contiguous()), "constants must be contiguous"
    cut = Tiles.of(tiles, candidates(tokens, dim, qkv.dtype.itemsize)[0])
    out = run.empty((batch, length, heads * dim), qkv.dtype, qkv)
    across = heads * windows * divided(tokens, cut.rows)
    run.launch(
        Launch(
            "window_attention",
            (across, _smaller(batch, max(1, cut.inner // across)), 1),
            {
                "qkv": qkv,
                "padding": padding,
                "constant": constant,
                "mask": mask,
                "positions": positions,
                "logit_scale": logit_scale,
                "out": out,
                "batch": batch,
            },
            {
                "LENGTH": length,
                "HEADS": heads,
                "HEAD_DIM": dim,
                "TOKENS": tokens,
                "WINDOWED": int(constant.shape[0] > 1),
                "PADDED": windows * tokens > length,
                "BLOCK_ROWS": cut.rows,
                "BLOCK_KEYS": cut.columns,
                "BLOCK_DIM": covering(dim),
            },
            cut.warps,
            cut.stages,
        )
    )
    return out


def _stages(rows: int, columns: int, dim: int, size: int) -> int:
    """Of the pipeline: three, so that an image is fetched while another is computed, if shared memory holds as many."""
    each = (rows + 2 * columns) * dim * size
    return max(1, min(3, _SHARED // each))


def _smaller(batch: Any, bound: int) -> Any:
    """The smaller of a batch, which may be symbolic while traced, and a number."""
    if isinstance(batch, int):
        return min(batch, bound)
    from torch import sym_min

    return sym_min(batch, bound)
