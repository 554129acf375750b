"""`patch_embed` against its twin, in Triton's interpreter."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.patch_embed import candidates, patch_embed
from swin_deploy.kernels.twins import TwinOperators
from tests.kernels.shorter_run import ShorterRun

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@dataclass(frozen=True)
class Case:
    """What `patch_embed` is called with.

    Attributes:
        given: Its tensors.
        tiles: Its tiles.
    """

    given: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None]
    tiles: list[int]

    def twin(self) -> Tensor:
        return TwinOperators().patch_embed(*self.given, eps=1e-5)

    def kernel(self, run: InterpretedRun | None = None) -> Tensor:
        return patch_embed(run or InterpretedRun(), *self.given, eps=1e-5, tiles=self.tiles)


def drawn(seed: int, dtype: torch.dtype) -> Case:
    """A random geometry: patches of any shape, a map of any shape, a random order."""
    random = torch.Generator().manual_seed(seed)

    def number(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (1,), generator=random))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    channels, colours, batch = number(3, 140), number(1, 4), number(1, 3)
    patch, feature_map = (number(1, 5), number(1, 5)), (number(1, 9), number(1, 9))
    height, width = (size * count for size, count in zip(patch, feature_map, strict=True))
    images = normal(batch, colours, height, width).to(dtype if seed % 3 == 0 else torch.float32)
    weight = normal(channels, colours, *patch).to(dtype)
    order = torch.randperm(feature_map[0] * feature_map[1], generator=random).to(torch.int32)
    norm = (normal(channels), normal(channels)) if seed % 4 else (None, None)
    choice = candidates(channels)
    return Case((images, weight, normal(channels), order, *norm), choice[seed % len(choice)].numbers())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", range(24))
def test_it_agrees_with_its_twin(seed: int, dtype: torch.dtype) -> None:
    case = drawn(seed, dtype)
    found, wanted = case.kernel(), case.twin()
    # One patch of one value has no deviation but its rounding: eps is what it is divided by.
    torch.testing.assert_close(found, wanted, rtol=TOLERANCE[dtype], atol=4 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16))
def test_a_value_that_is_not_finite_reaches_its_own_token_alone(dtype: torch.dtype) -> None:
    case = drawn(5, dtype)
    images, weight = case.given[:2]
    rows, columns = weight.shape[2:]
    for value in (float("nan"), float("inf")):
        images.copy_(images.nan_to_num(0.0, 0.0, 0.0))
        images[0, 0, rows, 0] = value
        touched = case.given[3] == images.shape[3] // columns  # the first patch of the second row
        found, wanted = case.kernel(), case.twin()
        assert found[0, touched].isnan().all() and found[0, ~touched].isfinite().all() and found[1:].isfinite().all()
        assert torch.equal(found.isnan(), wanted.isnan())


def test_without_a_norm_a_weight_that_is_not_finite_reaches_its_own_channel_alone() -> None:
    case = drawn(8, torch.float32)
    assert case.given[4] is None
    case.given[1][2, 0, 0, 0] = float("nan")
    found = case.kernel()
    assert found[..., 2].isnan().all() and int(found.isnan().sum()) == found[..., 2].numel()


def test_an_output_that_no_program_writes_is_seen() -> None:
    assert drawn(3, torch.float16).kernel(ShorterRun()).isnan().any()


def test_another_order_is_seen() -> None:
    case = drawn(3, torch.float32)
    wanted = case.twin()
    case.given[3].copy_(case.given[3].roll(1))
    assert not torch.allclose(case.kernel(), wanted, atol=1e-2)
