"""`add_norm` against its twin, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swin_deploy.kernels.add_norm import add_norm, candidates
from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.twins import TwinOperators
from tests.kernels.shorter_run import ShorterRun

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def inputs(rows: int, channels: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, channels, generator=random).to(dtype) for _ in range(2))
    return x, y, torch.randn(channels, generator=random), torch.randn(channels, generator=random)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(10))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    rows, channels = (int(torch.randint(1, top, (1,), generator=draw)) for top in (70, 300))
    x, *others = inputs(rows, channels, dtype, seed)
    given = (x if seed % 3 else None, *others)
    choice = candidates(channels)
    tiles = choice[seed % len(choice)].numbers()
    found = add_norm(InterpretedRun(), *given, eps=1e-5, tiles=tiles)
    torch.testing.assert_close(
        found, TwinOperators().add_norm(*given, eps=1e-5), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def test_values_that_are_not_finite_stay_in_their_row() -> None:
    x, y, weight, bias = inputs(40, 24, torch.float32)
    y[3, 5], x[20, 7] = float("nan"), float("inf")
    found = add_norm(InterpretedRun(), x, y, weight, bias, eps=1e-5)
    assert found[3].isnan().all() and found[20, 7].isinf()
    found[20, 7] = 0
    assert found[torch.arange(40) != 3].isfinite().all()


def test_an_output_that_no_program_writes_is_seen() -> None:
    assert add_norm(ShorterRun(), *inputs(40, 24, torch.float16), eps=1e-5).isnan().any()


@pytest.mark.parametrize("place", range(4))
def test_each_argument_counts(place: int) -> None:
    given = list(inputs(20, 24, torch.float32))
    wanted = TwinOperators().add_norm(*given, eps=1e-5)
    given[place] = given[place].roll(1, 0)
    assert not torch.allclose(add_norm(InterpretedRun(), *given, eps=1e-5), wanted, atol=1e-2)


def test_the_widest_rows_have_tiles() -> None:
    x, y, weight, bias = inputs(3, 1536, torch.float16)
    for tiles in candidates(1536):
        found = add_norm(InterpretedRun(), x, y, weight, bias, eps=1e-5, tiles=tiles.numbers())
        torch.testing.assert_close(found, TwinOperators().add_norm(x, y, weight, bias, eps=1e-5), rtol=2e-3, atol=4e-3)
