"""Window geometry against direct loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_deploy.model.windows import (
    MASK_VALUE,
    effective_window,
    merge_order,
    region_labels,
    relative_position_index,
    shift_mask,
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
@settings(max_examples=150, deadline=None)
def test_two_tokens_may_attend_iff_their_offset_is_the_same_before_and_after_the_roll(
    geometry: tuple[Size, Size, Size],
) -> None:
    mask = shift_mask(*geometry)
    for number, tokens in enumerate(rolled_windows(*geometry)):
        for query, (row, column, true_row, true_column) in enumerate(tokens):
            for key, (row2, column2, true_row2, true_column2) in enumerate(tokens):
                together = (row - row2, column - column2) == (true_row - true_row2, true_column - true_column2)
                assert mask[number, query, key] == (0.0 if together else MASK_VALUE)


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


def test_an_unshifted_block_masks_nothing() -> None:
    assert not shift_mask((6, 4), (3, 2), (0, 0)).any()


def test_a_single_axis_shift_masks_along_that_axis_alone() -> None:
    mask = shift_mask((2, 4), (2, 2), (0, 1))
    assert not mask[0].any()
    # The last window holds column 3 and, wrapped around, column 0, in two rows: columns do not see each other.
    assert (mask[1] == MASK_VALUE).tolist() == [[False, True] * 2, [True, False] * 2] * 2


@pytest.mark.parametrize(
    ("feature_map", "window", "clipped", "shift"),
    [
        ((14, 14), (7, 7), (7, 7), (3, 3)),
        ((7, 7), (7, 7), (7, 7), (0, 0)),  # one window: nothing to shift
        ((4, 4), (7, 7), (4, 4), (0, 0)),
        ((7, 14), (7, 7), (7, 7), (0, 3)),
        ((16, 8), (8, 8), (8, 8), (4, 0)),
        ((2, 2), (1, 1), (1, 1), (0, 0)),
    ],
)
def test_a_window_that_covers_an_axis_is_clipped_and_not_shifted_there(
    feature_map: Size, window: Size, clipped: Size, shift: Size
) -> None:
    assert effective_window(feature_map, window) == (clipped, shift)
