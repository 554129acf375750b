"""`linear` against its twin, in Triton's interpreter."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Run, Tiles
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.linear import candidates, linear
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fused_layers import Affine, Linear, Wiring
from swin_deploy.model.fusion_plan import FusionPlan
from tests.kernels.shorter_run import ShorterRun

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SMALL = Tiles(16, 16, 16).numbers()


def inputs(
    rows: int, inner: int, columns: int, dtype: torch.dtype, seed: int = 0, mean: float = 0.5
) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    weight = (normal(columns, inner) / inner**0.5).to(dtype)
    return {
        "x": (normal(rows, inner) + mean).to(dtype),
        "weight": weight,
        "bias": normal(columns),
        "column": weight.float().sum(dim=1),
        "residual": normal(rows, columns).to(dtype),
    }


def surrounded(x: Tensor) -> Tensor:
    """A copy of `x` with NaN before and behind it in memory."""
    memory = torch.full((x.numel() + 4096,), float("nan"), dtype=x.dtype)
    memory[2048:-2048] = x.flatten()
    return memory[2048:-2048].view(x.shape)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(48))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(3 * seed + list(TOLERANCE).index(dtype))  # no two types share their sizes
    rows, inner, columns = (int(torch.randint(1, top, (1,), generator=draw)) for top in (100, 150, 100))
    inner = inner if seed % 3 else 32 * (inner // 32 + 1)  # what divides, and what does not
    given = {name: surrounded(value) for name, value in inputs(rows, inner, columns, dtype, seed).items()}
    for index, name in enumerate(("bias", "column", "residual")):
        if seed >> index & 1:
            del given[name]
    given = {"bias": None, "column": None, "residual": None, **given}
    choice = candidates(inner, columns, rows, norm=given["column"] is not None, half=dtype != torch.float32)
    gelu = bool(seed & 8)
    found = linear(InterpretedRun(), **given, gelu=gelu, tiles=choice[seed % len(choice)].numbers())
    wanted = TwinOperators().linear(**given, gelu=gelu)
    torch.testing.assert_close(found, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_rows_whose_mean_is_far_from_zero_keep_their_digits() -> None:
    given = inputs(40, 96, 48, torch.float32, mean=100.0)
    found = linear(InterpretedRun(), **given)
    wanted = TwinOperators().linear(**{name: value.double() for name, value in given.items()})
    assert (found - wanted).abs().max() < 1e-3  # 100 deviations cost two digits, as the product itself does
    # The variance by the difference of two large sums has none left.
    x = given["x"]
    naive = (x.square().mean(1) - x.mean(1).square() - x.double().var(1, correction=0)).abs().max()
    assert naive > 1e-3


def error_of_a_layer(weight: Tensor, x: Tensor, run: Run) -> float:
    """Of the fused form's linear behind a norm, with its weights rounded as it rounds them, to FP64."""
    wiring = Wiring(FusionPlan(), x.dtype, LaunchedOperators(run))
    found = Linear(wiring, Affine(weight, None), norm=1e-5)(x)
    exact = F.linear(F.layer_norm(x.double(), x.shape[-1:]), weight)
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_centred_weights_keep_what_a_large_mean_would_cost(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    weight = 0.05 + 0.02 * torch.randn(48, 96, generator=random, dtype=torch.float64)
    x = (1000 + torch.randn(64, 96, generator=random)).to(dtype)
    centred = error_of_a_layer(weight, x, InterpretedRun())
    monkeypatch.setattr(Affine, "centred", lambda self: self)
    assert 4 * centred < error_of_a_layer(weight, x, InterpretedRun())


def test_a_row_of_equal_values_becomes_its_bias() -> None:
    given = inputs(20, 96, 48, torch.float16) | {"x": torch.full((20, 96), 3.0, dtype=torch.float16), "residual": None}
    found = linear(InterpretedRun(), **given)
    torch.testing.assert_close(found, given["bias"].half().expand(20, 48), rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("name", ["column", "bias", "residual", "weight"])
def test_a_wrong_operand_does_not_pass(name: str) -> None:
    given = inputs(40, 48, 40, torch.float16)
    wrong = given | {name: given[name].roll(1, 0)}
    found, wanted = linear(InterpretedRun(), **wrong), TwinOperators().linear(**given)
    assert not torch.allclose(found, wanted, rtol=TOLERANCE[torch.float16], atol=TOLERANCE[torch.float16])


@pytest.mark.parametrize(
    ("dtype", "norm", "gelu", "value"),
    list(itertools.product(TOLERANCE, (False, True), (False, True), (float("nan"), float("inf"), -float("inf")))),
)
def test_values_that_are_not_finite_reach_what_they_reach_in_the_twin(
    dtype: torch.dtype, norm: bool, gelu: bool, value: float
) -> None:
    given = inputs(40, 40, 24, dtype)
    if not norm:
        del given["column"]
    for name, place in (("x", (3, 0)), ("x", (17, 39)), ("weight", (5, 7)), ("residual", (20, 23))):
        given[name][place] = value
    given = {"column": None, **given}
    found = linear(InterpretedRun(), **given, gelu=gelu, tiles=SMALL)
    wanted = TwinOperators().linear(**given, gelu=gelu)
    assert torch.equal(found.isfinite(), wanted.isfinite())
    if not norm and not gelu:  # behind those one may have an infinity where the other has NaN
        assert torch.equal(found.isnan(), wanted.isnan())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_its_error_is_at_most_twice_that_of_torch_in_half_precision(dtype: torch.dtype) -> None:
    given = inputs(64, 192, 96, dtype)
    exact = TwinOperators().linear(**{name: value.double() for name, value in given.items()}, gelu=True)
    found = linear(InterpretedRun(), **given, gelu=True)
    x, weight = F.layer_norm(given["x"], (192,)), given["weight"]
    half = F.gelu(F.linear(x, weight, given["bias"].to(dtype))) + given["residual"]
    ours, theirs = ((result.double() - exact).norm() / exact.norm() for result in (found, half))
    assert ours <= 2 * theirs


def test_every_program_writes_a_tile_of_its_own() -> None:
    given = inputs(170, 16, 40, torch.float16)  # 11 rows of 3 tiles, in groups of 8 and 3
    assert linear(InterpretedRun(), **given, tiles=SMALL).isfinite().all()
    assert 0 < linear(ShorterRun(), **given, tiles=SMALL).isnan().sum() <= 16 * 16
