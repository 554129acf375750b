"""The GELU behind products, in Triton's interpreter."""

from __future__ import annotations

import math

import pytest
import torch
import triton
import triton.language as tl

from swin_deploy.kernels.interpreter_faults import mended
from swin_deploy.kernels.triton.gelu import gelu


@triton.jit
def gelu_kernel(x, y, EXACT: tl.constexpr, SIZE: tl.constexpr):
    place = tl.arange(0, SIZE)
    tl.store(y + place, gelu(tl.load(x + place), EXACT))


def apply(x: torch.Tensor, exact: bool) -> torch.Tensor:
    y = torch.full_like(x, float("nan"))
    with mended():
        gelu_kernel[(1,)](x, y, exact, x.numel())
    return y


def true_gelu(x: torch.Tensor) -> torch.Tensor:
    """By erfc in FP64, which keeps its digits where x is far below zero."""
    return x.double() * 0.5 * torch.special.erfc(-x.double() * math.sqrt(0.5))


@pytest.mark.parametrize(("exact", "relative"), [(False, 6e-5), (True, 1e-5)])
def test_it_is_close_wherever_half_precision_has_a_value(exact: bool, relative: float) -> None:
    x = torch.linspace(-12, 12, 1 << 14)
    wanted = true_gelu(x)
    error = (apply(x, exact).double() - wanted).abs()
    assert (error <= relative * wanted.abs() + 1e-6).all()
    assert not (error <= relative / 100 * wanted.abs() + 1e-9).all()  # the bound is not an idle one


@pytest.mark.parametrize("exact", [False, True])
def test_the_ends_of_the_line_are_those_of_erf(exact: bool) -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e5, -1e5, 0.0])
    wanted = torch.nn.functional.gelu(x.double()).float()  # PyTorch's own in FP32 makes NaN of +inf on some CPUs
    torch.testing.assert_close(apply(x, exact), wanted, equal_nan=True, rtol=1e-6, atol=0)
