"""Bias tables for another window, as the code bases themselves make them."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from swin_deploy.checkpoint.bias_tables import resize_bicubic, resize_geometric, resize_geometric_cubic

Size = tuple[int, int]
Resize = Callable[[Tensor, Size, Size], Tensor]
ALL = [resize_bicubic, resize_geometric, resize_geometric_cubic]
CHANGES: list[tuple[Size, Size]] = [
    ((7, 7), (12, 12)),
    ((12, 12), (7, 7)),
    ((7, 7), (8, 8)),
    ((6, 6), (24, 24)),
    ((7, 7), (12, 5)),
    ((4, 7), (8, 6)),
]


def random_table(window: Size, heads: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2 * window[0] - 1) * (2 * window[1] - 1), heads, generator=generator)


def grid(table: Tensor, window: Size) -> Tensor:
    """[rows, heads] to [2h-1, 2w-1, heads]."""
    return table.reshape(2 * window[0] - 1, 2 * window[1] - 1, -1)


@pytest.mark.parametrize("resize", ALL)
@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_the_table_has_the_new_windows_offsets(resize: Resize, old: Size, new: Size) -> None:
    resized = resize(random_table(old), old, new)
    assert resized.shape == ((2 * new[0] - 1) * (2 * new[1] - 1), 3)
    assert resized.dtype == torch.float32
    assert resized.is_contiguous()


@pytest.mark.parametrize("resize", ALL)
def test_each_head_is_interpolated_for_itself(resize: Resize) -> None:
    table = random_table((7, 7))
    whole = resize(table, (7, 7), (9, 9))
    for head in range(3):
        assert torch.allclose(whole[:, head : head + 1], resize(table[:, head : head + 1], (7, 7), (9, 9)), atol=1e-6)


@pytest.mark.parametrize("resize", ALL)
@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_table_of_one_value_stays_so(resize: Resize, old: Size, new: Size) -> None:
    resized = resize(torch.full_like(random_table(old), 2.5), old, new)
    assert torch.allclose(resized, torch.full_like(resized, 2.5), atol=1e-5)


@pytest.mark.parametrize("resize", ALL)
def test_rows_and_columns_are_not_exchanged(resize: Resize) -> None:
    table = random_table((4, 7))
    turned = grid(table, (4, 7)).transpose(0, 1).reshape(table.shape)
    wanted = grid(resize(table, (4, 7), (6, 9)), (6, 9)).transpose(0, 1)
    assert torch.allclose(grid(resize(turned, (7, 4), (9, 6)), (9, 6)), wanted, atol=1e-5)


def test_bicubic_is_what_the_official_loader_calls() -> None:
    table = random_table((7, 7))
    theirs = F.interpolate(table.permute(1, 0).view(1, 3, 13, 13), size=(23, 23), mode="bicubic")
    assert torch.equal(resize_bicubic(table, (7, 7), (12, 12)), theirs.view(3, 529).permute(1, 0))


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_geometric_is_what_timm_makes(old: Size, new: Size) -> None:
    pytest.importorskip("timm")
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    table = random_table(old)
    shape = ((2 * new[0] - 1) * (2 * new[1] - 1), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its old indexing
        theirs = resize_rel_pos_bias_table(table, new_window_size=new, new_bias_shape=shape, old_window_size=old)
    assert torch.allclose(resize_geometric(table, old, new), theirs, atol=1e-5)


def test_a_cubic_polynomial_goes_through_the_spline_unchanged() -> None:
    old, new = (7, 7), (12, 12)
    # The knots of this change: 0, 1, 1 + q, 1 + q + q^2, ..., with the sixth at 11 tokens.
    ratio = 1.243
    for _ in range(60):  # Newton's method on 1 + q + ... + q^5 = 11
        value = sum(ratio**power for power in range(6)) - 11
        ratio -= value / sum(power * ratio ** (power - 1) for power in range(1, 6))
    side = [sum(ratio**power for power in range(count)) for count in range(1, 7)]
    knots = torch.tensor([-knot for knot in reversed(side)] + [0.0] + side, dtype=torch.float64)

    def cubic(rows: Tensor, columns: Tensor) -> Tensor:
        first = 0.3 - 0.2 * rows + 0.01 * rows**2 + 0.004 * rows**3
        second = 1.0 + 0.1 * columns - 0.03 * columns**2 + 0.002 * columns**3
        return first[:, None] * second

    table = cubic(knots, knots).reshape(-1, 1)
    offsets = torch.arange(-11, 12, dtype=torch.float64)
    resized = resize_geometric_cubic(table, old, new).double().reshape(23, 23)
    assert torch.allclose(resized, cubic(offsets, offsets), rtol=1e-4, atol=1e-3)


def test_the_cubic_is_what_scipy_gave() -> None:
    # scipy.interpolate.RectBivariateSpline(knots, knots, table, s=0) with the knots of a change from 3 to 5 tokens.
    table = torch.tensor([[float((7 * i * i + 3 * i) % 11) - 5] for i in range(25)])
    resized = resize_geometric_cubic(table, (3, 3), (5, 5)).reshape(9, 9)
    third = [-2.0, -2.0, 4.5180868, 1.0, -4.0, 5.0, 6.57522386, -5.0, -5.0]
    sixth = [
        -4.04000068,
        -4.04000068,
        4.5425432,
        1.32952022,
        -5.80571187,
        2.04381187,
        7.81928303,
        1.78856509,
        1.78856509,
    ]
    assert torch.allclose(resized[[3, 6]], torch.tensor([third, sixth]), atol=1e-5)


@pytest.mark.parametrize("window", [(1, 1), (2, 2)])
def test_the_smallest_windows_have_a_spline_too(window: Size) -> None:
    table = random_table(window)
    resized = grid(resize_geometric_cubic(table, window, (5, 5)), (5, 5))
    assert torch.allclose(resized[4, 4], grid(table, window)[window[0] - 1, window[1] - 1], atol=1e-6)
