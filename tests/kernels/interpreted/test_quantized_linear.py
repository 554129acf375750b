"""`quantized_linear` against its twin, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.quantized_linear import candidates, quantized_linear
from swin_deploy.kernels.twins import TwinOperators
from tests.kernels.shorter_run import ShorterRun

Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def drawn(seed: int, *, fp8: bool = False, dtype: torch.dtype = torch.float16) -> Given:
    """With a residual in `dtype` for every other seed, with a bias for every third but one."""
    random = torch.Generator().manual_seed(seed)
    rows, inputs, outputs = (int(torch.randint(1, top, (1,), generator=random)) for top in (150, 270, 150))
    x, weight = (torch.randn(count, inputs, generator=random) * 40 for count in (rows, outputs))
    x, weight = ((v.clamp(-400, 400) if fp8 else v.round().clamp(-127, 127)) for v in (x, weight))
    grid = torch.float8_e4m3fn if fp8 else torch.int8
    steps, weight_steps = (torch.rand(count, generator=random) * 0.01 for count in (rows, outputs))
    bias = torch.randn(outputs, generator=random) if seed % 3 else None
    residual = torch.randn(rows, outputs, generator=random).to(dtype) if seed % 2 else None
    return x.to(grid), steps, weight.to(grid), weight_steps, bias, residual


@pytest.mark.parametrize("fp8", (False, True))
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype, fp8: bool) -> None:
    given = drawn(seed, fp8=fp8, dtype=dtype)
    choice = candidates(given[0].shape[1], given[2].shape[0])
    gelu, half = seed % 4 > 1, dtype != torch.bfloat16
    found = quantized_linear(InterpretedRun(), *given, gelu=gelu, half=half, tiles=choice[seed % len(choice)].numbers())
    wanted = TwinOperators().quantized_linear(*given, gelu=gelu, half=half)
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("seed", range(12))
def test_a_result_in_fp8_agrees_with_its_twin(seed: int) -> None:
    x, steps, weight, weight_steps, bias, _ = drawn(seed, fp8=True)
    given = (x, None if seed % 2 else steps, weight, weight_steps, bias, None)
    gelu, step = seed % 4 > 1, 2.0**-8 if seed % 3 else 0.25  # the first is too small for the largest values
    found = quantized_linear(InterpretedRun(), *given, gelu=gelu, out_step=step)
    wanted = TwinOperators().quantized_linear(*given, gelu=gelu, out_step=step)
    assert found.dtype == wanted.dtype == torch.float8_e4m3fn
    # A value between two of the grid may fall to either, by the order of its sum or by the cheaper GELU.
    torch.testing.assert_close(found.float(), wanted.float(), rtol=1 / 8, atol=2**-9)
    assert float((found.float() != wanted.float()).float().mean()) < 0.02
    assert found.float().abs().max() <= 448


def test_in_fp8_too_a_step_that_is_not_a_number_reaches_its_own_row_alone() -> None:
    x, steps, weight, weight_steps, bias, _ = drawn(7, fp8=True)
    steps[0] = float("nan")
    found = quantized_linear(InterpretedRun(), x, steps, weight, weight_steps, bias, None, out_step=2.0**-8).float()
    assert found[0].isnan().all() and found[1:].isfinite().all()


def test_tensors_that_are_not_contiguous_are_made_so() -> None:
    x, steps, *others = drawn(0)
    turned, every_other = x.t().contiguous().t(), steps.repeat_interleave(2)[::2]
    assert not turned.is_contiguous() and not every_other.is_contiguous()
    found, wanted = (
        LaunchedOperators(InterpretedRun()).quantized_linear(*given, *others)
        for given in ((turned, every_other), (x, steps))
    )
    assert torch.equal(found, wanted)
    # The kernel itself reads memory as it lies.
    assert not torch.equal(quantized_linear(InterpretedRun(), turned, steps, *others), wanted)


def test_a_sum_of_integers_is_exact() -> None:
    x = torch.full((3, 3000), 127, dtype=torch.int8)
    x[1] = -127
    x[2, ::2] = -126  # FP32 sums of such products would round
    steps, residual = torch.ones(3), torch.zeros(3, 16)
    weight = torch.full((16, 3000), 127, dtype=torch.int8)
    found = quantized_linear(InterpretedRun(), x, steps, weight, torch.ones(16), None, residual)
    assert found[:, 0].tolist() == [127.0 * 127 * 3000, -127.0 * 127 * 3000, 127.0 * 1500]


def test_a_step_that_is_not_a_number_reaches_its_own_row_alone() -> None:
    given = drawn(7, fp8=True)
    given[1][0] = float("nan")
    found = quantized_linear(InterpretedRun(), *given, gelu=True)
    assert found[0].isnan().all() and found[1:].isfinite().all()


def test_an_output_that_no_program_writes_is_seen() -> None:
    assert quantized_linear(ShorterRun(), *drawn(6)).isnan().any()


@pytest.mark.parametrize("place", range(6))
def test_each_argument_counts(place: int) -> None:
    given = drawn(7)
    wanted = TwinOperators().quantized_linear(*given)
    changed = list(given)
    changed[place] = given[place].roll(1, 0)
    assert not torch.allclose(quantized_linear(InterpretedRun(), *changed), wanted, atol=1e-2)
