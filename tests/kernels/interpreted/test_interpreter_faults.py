"""That the interpreter multiplies and rounds as a GPU does while a launch of ours runs, and not otherwise."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from swin_deploy.kernels.interpreter_faults import mended


@triton.jit
def _product(x, y, out):
    i = tl.arange(0, 16)
    place = i[:, None] * 16 + i[None, :]
    tl.store(out + place, tl.dot(tl.load(x + place), tl.load(y + place)))


@triton.jit
def _cast(x, out):
    i = tl.arange(0, 256)
    tl.store(out + i, tl.load(x + i).to(out.dtype.element_ty))


def product() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(16, 16, generator=random).to(torch.bfloat16) for _ in range(2))
    out = torch.empty(16, 16)
    _product[(1,)](x, y, out)
    return out, x.float() @ y.float()


def cast(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-448, 448, 256)
    out = torch.empty(256).to(dtype)
    _cast[(1,)](x, out)
    return out.float(), x.to(dtype).float()


def test_bf16_products_are_of_numbers() -> None:
    with mended():
        found, wanted = product()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_casts_round() -> None:
    for dtype in (torch.float8_e4m3fn, torch.bfloat16, torch.float16):
        with mended():
            found, wanted = cast(dtype)
        assert torch.equal(found, wanted), dtype


def test_behind_it_the_interpreter_is_as_it_was() -> None:
    # Where this fails, Triton has mended itself, and its fault can leave `interpreter_faults`.
    with mended():
        pass
    assert not torch.allclose(*product())
    for dtype in (torch.float8_e4m3fn, torch.bfloat16):
        assert not torch.equal(*cast(dtype)), dtype
