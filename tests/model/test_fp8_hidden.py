"""The one step that all of an MLP's hidden features have in FP8: from a bound that no image can pass."""

from __future__ import annotations

import pytest
import torch

from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fused_layers import Affine, QuantizedLinear, Wiring, make_mlp
from swin_deploy.model.fusion_plan import FusionPlan, Linears

INPUTS, HIDDEN = 32, 80


def made(linears: Linears, norm: float | None) -> tuple[Affine, QuantizedLinear, QuantizedLinear]:
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(HIDDEN, INPUTS, generator=random, dtype=torch.float64)
    affine = Affine(weight, torch.randn(HIDDEN, generator=random, dtype=torch.float64))
    second = Affine(torch.randn(INPUTS, HIDDEN, generator=random, dtype=torch.float64), None)
    wiring = Wiring(FusionPlan(linears=linears), torch.float16, TwinOperators())
    first, last = make_mlp(wiring, affine, second, norm=norm)
    assert isinstance(first, QuantizedLinear) and isinstance(last, QuantizedLinear)
    return affine, first, last


def test_the_worst_row_just_fits() -> None:
    affine, first, _ = made("fp8", 1e-5)
    assert affine.bias is not None
    worst = affine.weight - affine.weight.mean(dim=1, keepdim=True)  # each row as its own feature likes it best
    normed = torch.nn.functional.layer_norm(worst, (INPUTS,), eps=0)
    largest = (normed * affine.weight).sum(dim=1) + affine.bias.abs()
    assert 448 * first.out_step >= float(largest.max()) > 448 * first.out_step / 4


def test_the_hidden_features_are_fp8_and_the_result_is_close() -> None:
    affine, first, last = made("fp8", 1e-5)
    x = torch.randn(50, INPUTS, generator=torch.Generator().manual_seed(2)).half()
    hidden = first(x)
    assert hidden.dtype == torch.float8_e4m3fn and last.rows is None
    exact = torch.nn.functional.layer_norm(x.double(), (INPUTS,), eps=1e-5) @ affine.weight.T + affine.bias
    wanted = torch.nn.functional.gelu(exact)
    found = hidden.double() * first.out_step
    assert float((found - wanted).norm() / wanted.norm()) < 0.05  # of three mantissa bits, here and in both factors


@pytest.mark.parametrize(("linears", "norm"), (("int8", 1e-5), ("fp8", None)))
def test_without_a_bound_each_row_has_its_own_step(linears: Linears, norm: float | None) -> None:
    _, first, last = made(linears, norm)
    assert not first.out_step and last.rows is not None
