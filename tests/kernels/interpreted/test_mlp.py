"""`mlp` against its twin, in Triton's interpreter."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Tiles
from swin_deploy.kernels.mlp import candidates, mlp
from swin_deploy.kernels.twins import TwinOperators
from tests.kernels.shorter_run import ShorterRun

TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 3.2e-2}
SMALL = Tiles(16, 16, 16).numbers()


def inputs(
    rows: int, channels: int, hidden: int, dtype: torch.dtype, *, post_norm: bool, seed: int = 0
) -> dict[str, Tensor | None]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    return {
        "x": (normal(rows, channels) + 0.5).to(dtype),
        "first": (normal(hidden, channels) / channels**0.5).to(dtype),
        "first_bias": normal(hidden),
        "second": (normal(channels, hidden) / hidden**0.5).to(dtype),
        "second_bias": normal(channels),
        "norm_weight": normal(channels) if post_norm else None,
        "norm_bias": normal(channels) if post_norm else None,
    }


def surrounded(x: Tensor) -> Tensor:
    """A copy of `x` with NaN before and behind it in memory."""
    memory = torch.full((x.numel() + 4096,), float("nan"), dtype=x.dtype)
    memory[2048:-2048] = x.flatten()
    return memory[2048:-2048].view(x.shape)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(24))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(3 * seed + list(TOLERANCE).index(dtype))  # no two types share their sizes
    rows, channels, hidden = (int(torch.randint(1, top, (1,), generator=draw)) for top in (100, 130, 150))
    if seed % 3 == 0:  # sizes as networks have them
        channels, hidden = ((96, 384), (64, 256), (24, 96))[seed // 3 % 3]
    given = inputs(rows, channels, hidden, dtype, post_norm=bool(seed & 1), seed=seed)
    given = {name: None if value is None else surrounded(value) for name, value in given.items()}
    choice = candidates(channels, hidden, rows, half=dtype != torch.float32)
    found = mlp(InterpretedRun(), **given, tiles=choice[seed % len(choice)].numbers())
    torch.testing.assert_close(found, TwinOperators().mlp(**given), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("post_norm", [False, True])
@pytest.mark.parametrize("name", ["first", "first_bias", "second", "second_bias", "x"])
def test_a_wrong_operand_does_not_pass(name: str, post_norm: bool) -> None:
    given = inputs(20, 24, 96, torch.float16, post_norm=post_norm)
    wrong = given | {name: given[name].roll(1, 0)}
    found, wanted = mlp(InterpretedRun(), **wrong), TwinOperators().mlp(**given)
    assert not torch.allclose(found, wanted, rtol=TOLERANCE[torch.float16], atol=TOLERANCE[torch.float16])


@pytest.mark.parametrize(
    ("dtype", "post_norm", "value"),
    list(itertools.product(TOLERANCE, (False, True), (float("nan"), float("inf"), -float("inf")))),
)
def test_values_that_are_not_finite_stay_in_their_row(dtype: torch.dtype, post_norm: bool, value: float) -> None:
    given = inputs(40, 40, 50, dtype, post_norm=post_norm)  # neither size is covered exactly
    given["x"][3, 0] = given["x"][39, 39] = value
    found, wanted = mlp(InterpretedRun(), **given, tiles=SMALL), TwinOperators().mlp(**given)
    assert torch.equal(found.isfinite(), wanted.isfinite())
    assert wanted[[3, 39]].isfinite().logical_not().all() and wanted.isfinite().sum() == 38 * 40


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_its_error_is_at_most_twice_that_of_torch_in_half_precision(dtype: torch.dtype) -> None:
    given = inputs(64, 96, 384, dtype, post_norm=False)
    exact = TwinOperators().mlp(**{name: None if value is None else value.double() for name, value in given.items()})
    found = mlp(InterpretedRun(), **given)
    hidden = F.gelu(F.linear(F.layer_norm(given["x"], (96,)), given["first"], given["first_bias"].to(dtype)))
    half = given["x"] + F.linear(hidden, given["second"], given["second_bias"].to(dtype))
    ours, theirs = ((result.double() - exact).norm() / exact.norm() for result in (found, half))
    assert ours <= 2 * theirs


def test_an_output_that_no_program_writes_is_seen() -> None:
    given = inputs(40, 24, 96, torch.float16, post_norm=False)
    assert mlp(InterpretedRun(), **given, tiles=SMALL).isfinite().all()
    assert mlp(ShorterRun(), **given, tiles=SMALL)[32:].isnan().all()
