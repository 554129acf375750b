"""Window geometry against direct loops; the masks have tests/model/test_shift_mask.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_deploy.model.windows import (
    PADDING,
    merge_order,
    padded_size,
    region_labels,
    relative_position_index,
    window_order,
)

Size = tuple[int, int]


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Length, window and shift of one axis; the window divides the length, every shift below the window is drawn."""
    window = draw(st.integers(1, 5))
    return window * draw(st.integers(1, 4)), window, draw(st.integers(0, window - 1))


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Size, Size, Size]:
    """Feature map, window and shift."""
    rows, columns = draw(axes()), draw(axes())
    return (rows[0], columns[0]), (rows[1], columns[1]), (rows[2], columns[2])


def rolled_windows(feature_map: Size, window: Size, shift: Size) -> list[list[tuple[int, int, int, int]]]:
    """By loops: each window's tokens as (rolled row, rolled column, unrolled row, unrolled column)."""
    height, width = feature_map
    return [
        [
            (top + row, left + column, (top + row + shift[0]) % height, (left + column + shift[1]) % width)
            for row in range(window[0])
            for column in range(window[1])
        ]
        for top in range(0, height, window[0])
        for left in range(0, width, window[1])
    ]


@given(geometries())
@settings(max_examples=100, deadline=None)
def test_window_order_is_the_permutation_of_roll_and_partition(geometry: tuple[Size, Size, Size]) -> None:
    (height, width), window, shift = geometry
    order = window_order(*geometry)

    raster = torch.arange(height * width).reshape(height, width)
    rolled = torch.roll(raster, (-shift[0], -shift[1]), dims=(0, 1))
    cut = [tile.reshape(-1) for band in rolled.split(window[0], 0) for tile in band.split(window[1], 1)]

    assert sorted(order) == list(range(height * width))
    assert order.tolist() == torch.cat(cut).tolist()
    assert order.tolist() == [
        row * width + column for tokens in rolled_windows(*geometry) for _, _, row, column in tokens
    ]


def test_the_window_order_of_a_padded_map_by_hand() -> None:
    # A row of three is padded to four: 0 1 | 2 p.
    assert window_order((1, 3), (1, 2), (0, 0)).tolist() == [0, 1, 2, PADDING]
    # Shifted by one: padded, then rolled, the padded token is in the middle; rolled, then padded, it is at the end.
    assert window_order((1, 3), (1, 2), (0, 1)).tolist() == [1, 2, PADDING, 0]
    assert window_order((1, 3), (1, 2), (0, 1), roll_first=True).tolist() == [1, 2, 0, PADDING]


@given(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 5)] * 2), st.booleans(), st.data())
@settings(max_examples=150, deadline=None)
def test_window_order_is_what_pad_roll_and_partition_do_to_a_map(
    feature_map: Size, window: Size, roll_first: bool, data: st.DataObject
) -> None:
    shift = data.draw(st.tuples(st.integers(0, window[0] - 1), st.integers(0, window[1] - 1)))
    height, width = feature_map
    fill = (0, -width % window[1], 0, -height % window[0])
    back = (-shift[0], -shift[1])
    raster = torch.arange(1, height * width + 1).reshape(height, width)  # from 1: the zeros of the padding stand out
    if roll_first:
        rolled = functional.pad(torch.roll(raster, back, dims=(0, 1)), fill)
    else:
        rolled = torch.roll(functional.pad(raster, fill), back, dims=(0, 1))
    cut = [tile.reshape(-1) for band in rolled.split(window[0], 0) for tile in band.split(window[1], 1)]

    order = window_order(feature_map, window, shift, roll_first=roll_first)
    assert PADDING == -1
    assert (order + 1).tolist() == torch.cat(cut).tolist()


@pytest.mark.parametrize("roll_first", [False, True])
def test_a_map_that_windows_cover_has_one_order_and_no_padding(roll_first: bool) -> None:
    order = window_order((6, 8), (3, 4), (1, 2), roll_first=roll_first)
    assert PADDING not in order
    assert np.array_equal(order, window_order((6, 8), (3, 4), (1, 2)))
    assert PADDING in window_order((6, 9), (3, 4), (1, 2), roll_first=roll_first)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_merge_order_makes_the_official_concatenation_a_reshape(rows: int, columns: int, seed: int) -> None:
    height, width, channels = 2 * rows, 2 * columns, 3
    next_order = np.random.default_rng(seed).permutation(rows * columns)
    order = merge_order((height, width), next_order)

    x = torch.arange(height * width * channels).reshape(1, height, width, channels)
    concatenated = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
    wanted = concatenated.reshape(1, rows * columns, 4 * channels)[:, next_order]
    got = x.reshape(1, height * width, channels)[:, order].reshape(1, rows * columns, 4 * channels)

    assert sorted(order) == list(range(height * width))
    assert torch.equal(got, wanted)


def test_merge_order_of_a_2x2_map_goes_down_the_columns() -> None:
    assert merge_order((2, 2), np.zeros(1, dtype=np.int64)).tolist() == [0, 2, 1, 3]


def test_merge_order_of_an_odd_map_by_hand() -> None:
    # Three columns of one row: each group lacks its lower half, the last group its right half too.
    assert merge_order((1, 3), np.arange(2)).tolist() == [0, PADDING, 1, PADDING, 2, PADDING, PADDING, PADDING]
    # A padded token of the next stage is four padded ones.
    assert merge_order((2, 2), np.array([PADDING, 0])).tolist() == [PADDING] * 4 + [0, 2, 1, 3]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_merge_order_of_any_map_is_the_concatenation_of_the_map_padded_with_zeros(
    height: int, width: int, padded: int, seed: int
) -> None:
    rows, columns, channels = -(-height // 2), -(-width // 2), 3
    tokens = np.concatenate([np.arange(rows * columns), np.full(padded, PADDING)])
    next_order = np.random.default_rng(seed).permutation(tokens)
    order = merge_order((height, width), next_order)

    x = torch.arange(1, height * width * channels + 1).reshape(1, height, width, channels)
    even = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
    parts = [even[:, 0::2, 0::2], even[:, 1::2, 0::2], even[:, 0::2, 1::2], even[:, 1::2, 1::2]]
    merged = torch.cat(parts, dim=-1).reshape(1, rows * columns, 4 * channels)
    wanted = with_a_zero_token(merged)[:, next_order]  # PADDING is the last index, too
    got = with_a_zero_token(x.reshape(1, height * width, channels))[:, order].reshape(1, -1, 4 * channels)

    assert torch.equal(got, wanted)
    assert sorted(order[order != PADDING]) == list(range(height * width))


def with_a_zero_token(tokens: torch.Tensor) -> torch.Tensor:
    """[B, L, C] to [B, L+1, C], so that index -1 picks zeros."""
    return functional.pad(tokens, (0, 0, 0, 1))


@given(st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=36, deadline=None)
def test_relative_position_index_counts_offsets_row_by_row(height: int, width: int) -> None:
    index = relative_position_index((height, width))
    tokens = [(row, column) for row in range(height) for column in range(width)]
    for query, (row, column) in enumerate(tokens):
        for key, (row2, column2) in enumerate(tokens):
            offset = (row - row2 + height - 1, column - column2 + width - 1)
            assert index[query, key] == offset[0] * (2 * width - 1) + offset[1]
    assert set(index.reshape(-1)) == set(range((2 * height - 1) * (2 * width - 1)))


def test_the_index_of_a_2x2_window_by_hand() -> None:
    # The offsets (query minus key) of a 2x2 window lie in a 3x3 table; no offset is its middle, row 4.
    assert relative_position_index((2, 2)).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_region_labels_by_hand() -> None:
    assert region_labels(8, 4, 0).tolist() == [0] * 8
    assert region_labels(8, 4, 1).tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    assert region_labels(6, 3, 2).tolist() == [0, 0, 0, 1, 2, 2]
    assert region_labels(4, 4, 1).tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize(("size", "window", "shift"), [(7, 4, 1), (8, 4, 4), (8, 4, -1), (0, 4, 1), (8, 0, 0)])
def test_an_axis_that_windows_do_not_cover_or_a_shift_of_a_window_is_refused(
    size: int, window: int, shift: int
) -> None:
    with pytest.raises(ValueError, match="windows must cover it, shift within"):
        region_labels(size, window, shift)


def test_a_map_is_padded_to_whole_windows_and_no_further() -> None:
    assert padded_size((7, 8), (4, 4)) == (8, 8)
    assert padded_size((8, 9), (4, 4)) == (8, 12)
    assert padded_size((2, 3), (5, 7)) == (5, 7)
    for feature_map, window in (((0, 4), (4, 4)), ((4, -1), (4, 4)), ((4, 4), (4, 0))):
        with pytest.raises(ValueError, match="must be positive"):
            padded_size(feature_map, window)
