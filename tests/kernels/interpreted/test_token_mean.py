"""`token_mean` against its twin, in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.token_mean import candidates, token_mean
from swin_deploy.kernels.twins import TwinOperators
from tests.kernels.shorter_run import ShorterRun

TOLERANCE = {torch.float32: 3e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def drawn(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    batch, tokens, channels = (int(torch.randint(1, top, (1,), generator=random)) for top in (4, 60, 300))
    x = (torch.randn(batch, tokens, channels, generator=random) + 3).to(dtype)
    return x, torch.randn(channels, generator=random), torch.randn(channels, generator=random)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype) -> None:
    given = drawn(seed, dtype)
    choice = candidates(given[0].shape[-1])
    found = token_mean(InterpretedRun(), *given, eps=1e-5, tiles=choice[seed % len(choice)].numbers())
    wanted = TwinOperators().token_mean(*given, eps=1e-5)
    torch.testing.assert_close(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("value", (float("nan"), float("inf")))
def test_a_value_that_is_not_finite_reaches_its_own_image_alone(value: float) -> None:
    x, weight, bias = drawn(2, torch.float32)
    x = x[:1].repeat(3, 1, 1)
    x[1, -1, 0] = value
    found = token_mean(InterpretedRun(), x, weight, bias, eps=1e-5)
    assert torch.equal(found.isnan(), TwinOperators().token_mean(x, weight, bias, eps=1e-5).isnan())
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()


def test_an_output_that_no_program_writes_is_seen() -> None:
    assert token_mean(ShorterRun(), *drawn(2, torch.float16), eps=1e-5).isnan().any()


def test_a_token_left_out_is_seen() -> None:
    x, weight, bias = drawn(2, torch.float32)
    found = token_mean(InterpretedRun(), x, weight, bias, eps=1e-5)
    assert not torch.allclose(found, TwinOperators().token_mean(x[:, 1:], weight, bias, eps=1e-5), atol=1e-3)
