"""Bring a V1 relative position bias table to another window, in the ways the code bases themselves do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["resize_bicubic", "resize_geometric", "resize_geometric_cubic"]

Size = tuple[int, int]


def resize_bicubic(table: Tensor, old: Size, new: Size) -> Tensor:
    """Bicubic over the grid of offsets, corners not aligned, FP32.

    Args:
        table: [(2*old[0]-1)*(2*old[1]-1), heads].
        old: The table's window in tokens.
        new: The window wanted.

    Returns:
        [(2*new[0]-1)*(2*new[1]-1), heads]. Source: the official code's loader (`load_pretrained` of its utils.py), and
        mmdetection's and
        mmsegmentation's.
    """
    import torch.nn.functional as F

    grid = _grid(table, old)[None]  # [1, heads, 2h-1, 2w-1]
    resized = F.interpolate(grid, size=(2 * new[0] - 1, 2 * new[1] - 1), mode="bicubic")
    return resized[0].flatten(1).T.contiguous()


def resize_geometric(table: Tensor, old: Size, new: Size) -> Tensor:
    """Bilinear between knots whose distances grow geometrically from the centre, FP32.

    The old offsets are spread so that the outermost one reaches the new outermost one, while those near the centre keep
    their distance of one token: near neighbours matter most. Beyond the last knot the value stays.

    Args:
        table: [(2*old[0]-1)*(2*old[1]-1), heads].
        old: The table's window in tokens.
        new: The window wanted.

    Returns:
        [(2*new[0]-1)*(2*new[1]-1), heads]. Source: timm's `resize_rel_pos_bias_table`, which follows BEiT.
    """
    grid = _grid(table, old)  # [heads, 2h-1, 2w-1]
    rows, columns = _weights(old[0], new[0]), _weights(old[1], new[1])  # [2*new-1, 2*old-1] each
    resized = rows.to(grid) @ grid @ columns.to(grid).T  # [heads, 2*new[0]-1, 2*new[1]-1]
    return resized.flatten(1).T.contiguous()


def resize_geometric_cubic(table: Tensor, old: Size, new: Size) -> Tensor:
    """A cubic spline through the knots of `resize_geometric`; beyond the last knot the value stays.

    Args:
        table: [(2*old[0]-1)*(2*old[1]-1), heads].
        old: The table's window in tokens.
        new: The window wanted.

    Returns:
        [(2*new[0]-1)*(2*new[1]-1), heads]. Source: mmpretrain's `resize_relative_position_bias_table`, which calls
        SciPy's FITPACK: its interpolating splines have no knot at the second point from either end.
    """
    grid = _grid(table, old).double()  # [heads, 2h-1, 2w-1]
    rows, columns = _spline(old[0], new[0]), _spline(old[1], new[1])  # [2*new-1, 2*old-1] each
    resized = rows @ grid @ columns.T  # [heads, 2*new[0]-1, 2*new[1]-1]
    return resized.flatten(1).T.float().contiguous()


def _grid(table: Tensor, window: Size) -> Tensor:
    """[rows, heads] to [heads, 2h-1, 2w-1]."""
    return table.float().T.reshape(-1, 2 * window[0] - 1, 2 * window[1] - 1)


def _weights(old: int, new: int) -> Tensor:
    """What each new offset takes of each old one, [2*new-1, 2*old-1]; each row sums to 1."""
    import torch

    knots = torch.tensor(_knots(2 * old - 1, 2 * new - 1))  # [2*old-1], ascending, in new tokens
    offsets = torch.arange(-(new - 1), new, dtype=knots.dtype)
    right = torch.searchsorted(knots, offsets).clamp(max=len(knots) - 1)
    left = (right - 1).clamp(min=0)
    to_left, to_right = (offsets - knots[left]).clamp(min=0), (knots[right] - offsets).clamp(min=0)
    alone = (to_left == 0) & (to_right == 0)
    to_left[alone] = to_right[alone] = 1.0
    weights = torch.zeros(len(offsets), len(knots), dtype=knots.dtype)
    rows = torch.arange(len(offsets))
    weights.index_put_((rows, left), to_right / (to_left + to_right), accumulate=True)
    weights.index_put_((rows, right), to_left / (to_left + to_right), accumulate=True)
    return weights


def _knots(source: int, target: int) -> list[float]:
    """Where the `source` old offsets stand among the `target` new ones: 0, 1, 1+q, 1+q+q^2, ... to both sides."""
    low, high = 1.01, 1.5
    ratio = high
    while high - low > 1e-6:
        ratio = (low + high) / 2.0
        if (1.0 - ratio ** (source // 2)) / (1.0 - ratio) > target // 2:
            high = ratio
        else:
            low = ratio
    side, reach = [], 1.0
    for step in range(source // 2):
        side.append(reach)
        reach += ratio ** (step + 1)
    return [-knot for knot in reversed(side)] + [0.0] + side


def _spline(old: int, new: int) -> Tensor:
    """As `_weights`, of the cubic spline through the knots: its value is linear in the values at the knots."""
    import torch

    knots = torch.tensor(_knots(2 * old - 1, 2 * new - 1), dtype=torch.float64)
    offsets = torch.arange(-(new - 1), new, dtype=torch.float64).clamp(knots[0], knots[-1])
    count = len(knots)
    if count < 5:  # one or three knots: the polynomial through them
        powers = torch.arange(count)
        polynomial: Tensor = offsets[:, None] ** powers @ torch.linalg.inv(knots[:, None] ** powers)
        return polynomial
    values = torch.eye(count, dtype=torch.float64)
    steps = knots.diff()
    slopes = values.diff(dim=0) / steps[:, None]
    # The second derivatives at the knots: equal slopes from both sides inside, and equal third derivatives from both
    # sides of the second point from either end.
    system = torch.zeros(count, count, dtype=torch.float64)
    wanted = torch.zeros(count, count, dtype=torch.float64)
    for i in range(1, count - 1):
        system[i, i - 1 : i + 2] = torch.stack((steps[i - 1], 2 * (steps[i - 1] + steps[i]), steps[i]))
    wanted[1:-1] = 6 * slopes.diff(dim=0)
    for row, i in ((0, 0), (-1, count - 3)):
        system[row, i : i + 3] = torch.stack((-steps[i + 1], steps[i] + steps[i + 1], -steps[i]))
    curvature = torch.linalg.solve(system, wanted)  # [count, count]
    left = (torch.searchsorted(knots, offsets, right=True) - 1).clamp(max=count - 2)
    step = steps[left][:, None]
    b = (offsets - knots[left])[:, None] / step
    a = 1 - b
    bend = (a**3 - a) * curvature[left] + (b**3 - b) * curvature[left + 1]
    weights: Tensor = a * values[left] + b * values[left + 1] + bend * step**2 / 6
    return weights
