"""Which tiles `linear` and `mlp` take of themselves, and what compiling them for GPUs that are not here says."""

from __future__ import annotations

import pytest
import torch

from swin_deploy.kernels import ahead_of_time, linear, mlp
from swin_deploy.kernels.launch import Launch, Tiles
from swin_deploy.kernels.tiling import divided

SHAPES = [(96, 288), (192, 576), (384, 1152), (768, 1000), (3072, 768), (40, 17)]


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("inner", "columns"), SHAPES)
def test_every_tile_of_linear_fits_the_smallest_shared_memory(inner: int, columns: int, norm: bool, half: bool) -> None:
    for tiles in linear.candidates(inner, columns, norm=norm, half=half):
        operands = (tiles.rows + tiles.columns) * tiles.inner * (2 if half else 4)
        assert tiles.stages * operands <= 99 * 1024
        assert inner % tiles.inner == 0 or inner % 16


def test_a_small_batch_gets_small_tiles_and_more_programs() -> None:
    one, many = (linear.candidates(384, 1152, rows)[0] for rows in (196, 128 * 196))
    assert (many.rows, many.columns) == (128, 128)
    assert divided(196, one.rows) * divided(1152, one.columns) > 4 * divided(196, 128) * divided(1152, 128)
    assert mlp.candidates(96, 384, 3136)[0].rows < mlp.candidates(96, 384, 128 * 3136)[0].rows
    assert linear.candidates(384, 1152, None)[0] == many


class Noted:
    """Notes launches, on tensors that hold nothing."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, like: torch.Tensor) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    def launch(self, launch: Launch) -> None:
        self.launches.append(launch)


def launches(rows: int, channels: int, tiles: Tiles | None = None) -> list[Launch]:
    """A V1 block's `linear` with all that it can do, and its `mlp`."""
    run = Noted()

    def half(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=torch.float16, device="meta")

    def single(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta")

    hidden = 4 * channels
    x, first, second = half(rows, channels), half(hidden, channels), half(channels, hidden)
    cut = tiles.numbers() if tiles else ()
    linear.linear(run, x, first, single(hidden), single(hidden), half(rows, hidden), gelu=True, tiles=cut)
    if tiles is None:
        mlp.mlp(run, x, first, single(hidden), second, single(channels), None, None)
    return run.launches


@pytest.mark.skipif(ahead_of_time.unavailable() is not None, reason=str(ahead_of_time.unavailable()))
@pytest.mark.parametrize(
    "architectures", [("8.6", "9.0"), pytest.param(("8.0", "10.0", "12.0"), marks=pytest.mark.slow)]
)
def test_default_tiles_leave_nothing_to_local_memory(architectures: tuple[str, ...]) -> None:
    sources = [ahead_of_time.KernelSource.of(launch) for launch in launches(100_000, 192)]
    made = ahead_of_time.compile_kernels(sources, architectures)
    assert not made.refused
    assert {cubin.stack for cubin in made.cubins.values()} == {0}


@pytest.mark.skipif(ahead_of_time.unavailable() is not None, reason=str(ahead_of_time.unavailable()))
def test_a_tile_that_is_too_large_is_seen_to_spill() -> None:
    source = ahead_of_time.KernelSource.of(launches(100_000, 192, Tiles(128, 256, 16, 4, 1))[0])
    made = ahead_of_time.compile_kernels([source], ["8.6"])
    assert made.refused or made.cubins[source.id, "8.6"].stack > 0
