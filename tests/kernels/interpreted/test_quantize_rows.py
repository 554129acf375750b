"""`quantize_rows` against its twin, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.quantize_rows import candidates, quantize_rows
from swin_deploy.kernels.twins import TwinOperators
from tests.kernels.shorter_run import ShorterRun

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def drawn(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None, Tensor | None]:
    random = torch.Generator().manual_seed(seed)
    rows, inputs = (int(torch.randint(1, top, (1,), generator=random)) for top in (40, 300))
    x = torch.randn(rows, inputs, generator=random) * torch.rand(rows, 1, generator=random) * 20
    if seed % 2:
        return x.to(dtype), None, None
    return x.to(dtype), torch.randn(inputs, generator=random), torch.randn(inputs, generator=random)


@pytest.mark.parametrize("fp8", (False, True))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype, fp8: bool) -> None:
    x, scale, shift = drawn(seed, dtype)
    choice = candidates(x.shape[-1])
    grid, steps = quantize_rows(InterpretedRun(), x, scale, shift, fp8=fp8, tiles=choice[seed % len(choice)].numbers())
    wanted_grid, wanted_steps = TwinOperators().quantize_rows(x, scale, shift, fp8=fp8)
    assert grid.dtype == wanted_grid.dtype == (torch.float8_e4m3fn if fp8 else torch.int8)
    if scale is None:
        assert torch.equal(grid.view(torch.uint8), wanted_grid.view(torch.uint8)) and torch.equal(steps, wanted_steps)
        return
    # The norm's sums have another order: a value between two of the grid may fall to either.
    torch.testing.assert_close(steps, wanted_steps, rtol=1e-4, atol=0)
    apart = (grid.float() - wanted_grid.float()).abs()
    assert bool((apart <= (wanted_grid.float().abs() / 8).clamp_min(2**-9) if fp8 else apart <= 1).all())
    assert float((apart > 0).float().mean()) < 0.01


def test_numbers_worked_out_by_hand() -> None:
    x = torch.tensor([[127.0, 0.5, 1.5, -2.5, -127.0], [0.0, 0.0, 0.0, 0.0, 0.0], [1e-40, 0.0, 0.0, 0.0, 0.0]])
    grid, steps = quantize_rows(InterpretedRun(), x, None, None)
    assert grid.tolist() == [[127, 0, 2, -2, -127], [0] * 5, [0] * 5]
    assert steps.tolist() == [1.0, 1.0, 1.0]
    eighths, steps = quantize_rows(InterpretedRun(), torch.tensor([[448.0, 17.0, 19.0, -0.001]]), None, None, fp8=True)
    assert eighths.float().tolist() == [[448.0, 16.0, 20.0, -(2.0**-9) * 1]] and steps.tolist() == [1.0]


@pytest.mark.parametrize("value", (float("nan"), float("inf"), float("-inf")))
@pytest.mark.parametrize("norm", (False, True))
def test_a_value_that_is_not_finite_makes_the_step_of_its_own_row_nan(value: float, norm: bool) -> None:
    x, scale, shift = drawn(2 if norm else 3, torch.float32)
    x[1, 2] = value
    grid, steps = quantize_rows(InterpretedRun(), x, scale, shift)
    others = torch.arange(len(x)) != 1
    assert steps[1].isnan() and steps[others].isfinite().all()
    assert not grid[1].any() and grid[others].any(dim=1).all()
    assert torch.equal(grid[1], TwinOperators().quantize_rows(x, scale, shift)[0][1])


def test_an_output_that_no_program_writes_is_seen() -> None:
    assert quantize_rows(ShorterRun(), *drawn(2, torch.float16))[1].isnan().any()
