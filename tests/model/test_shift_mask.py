"""The masks against loops over every pair of tokens, and against the masks of the code bases they come from."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swin_deploy.model.windows import MASK_VALUE, PADDING, padding_mask, shift_mask, window_order, window_regions

Size = tuple[int, int]
Geometry = tuple[Size, Size, Size]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CONVENTIONS = (MASK_VALUE, -np.inf)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Feature map, window and shift: rectangular, not covered by windows, smaller than one, shifted on any axis."""
    window = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    feature_map = draw(st.integers(1, 11)), draw(st.integers(1, 11))
    return feature_map, window, (draw(st.integers(0, window[0] - 1)), draw(st.integers(0, window[1] - 1)))


def over_geometries(test: Callable[..., None]) -> Callable[..., None]:
    """Hundreds of drawn geometries, and one of each kind that has to be among them."""
    test = example(((8, 8), (4, 4), (2, 2)))(test)  # the paper's figure 4
    test = example(((8, 12), (4, 3), (0, 1)))(test)  # shifted on one axis
    test = example(((7, 10), (3, 4), (2, 1)))(test)  # padded, and the shift is not half a window
    test = example(((2, 3), (5, 4), (3, 2)))(test)  # the window is larger than the map
    test = example(((1, 1), (1, 1), (0, 0)))(test)
    wrapped: Callable[..., None] = settings(max_examples=300, deadline=None)(given(geometries())(test))
    return wrapped


def rolled_windows(feature_map: Size, window: Size, shift: Size) -> list[list[tuple[int, int, int, int]]]:
    """By loops: each window's tokens as (rolled row, rolled column, padded row, padded column)."""
    height, width = feature_map
    while height % window[0]:
        height += 1
    while width % window[1]:
        width += 1
    windows = []
    for top in range(0, height, window[0]):
        for left in range(0, width, window[1]):
            tokens = []
            for row in range(top, top + window[0]):
                for column in range(left, left + window[1]):
                    tokens.append((row, column, (row + shift[0]) % height, (column + shift[1]) % width))
            windows.append(tokens)
    return windows


def brute_force(feature_map: Size, window: Size, shift: Size) -> Bools:
    """[nW, N, N]: whether two tokens are as far apart in the padded, unrolled map as they are in the rolled one."""
    together = [
        [
            [(row - row2, column - column2) == (from_row - from_row2, from_column - from_column2)
             for row2, column2, from_row2, from_column2 in tokens]
            for row, column, from_row, from_column in tokens
        ]
        for tokens in rolled_windows(feature_map, window, shift)
    ]  # fmt: skip
    return np.array(together)


def brute_order(feature_map: Size, window: Size, shift: Size, *, roll_first: bool) -> list[list[int]]:
    """By loops: the raster index of each token of each window, -1 for a padded one."""
    height, width = feature_map
    order = []
    for tokens in rolled_windows(feature_map, window, shift):
        indices = []
        for row, column, from_row, from_column in tokens:
            if roll_first:
                # The real map alone goes round; padding is set below and to the right of it afterwards.
                real = row < height and column < width
                from_row, from_column = (row + shift[0]) % height, (column + shift[1]) % width
            else:
                real = from_row < height and from_column < width
            indices.append(from_row * width + from_column if real else -1)
        order.append(indices)
    return order


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def holds(mask_function: Callable[[Size, Size, Size], Floats], geometry: Geometry) -> bool:
    """Whether a mask allows what the loops allow; a mask [N, N] stands for every window."""
    right = brute_force(*geometry)
    return bool(np.array_equal(np.broadcast_to(mask_function(*geometry), right.shape) == 0, right))


def test_the_brute_force_by_hand() -> None:
    # One row of four tokens, windows of two, shifted by one: 1 2 | 3 0. Tokens 3 and 0 met by the roll only.
    assert brute_force((1, 4), (1, 2), (0, 1)).tolist() == [
        [[True, True], [True, True]],
        [[True, False], [False, True]],
    ]
    # Three tokens are padded to four: 1 2 | p 0.
    assert brute_order((1, 3), (1, 2), (0, 1), roll_first=False) == [[1, 2], [-1, 0]]
    # Rolled first: 1 2 | 0 p.
    assert brute_order((1, 3), (1, 2), (0, 1), roll_first=True) == [[1, 2], [0, -1]]


@over_geometries
def test_two_tokens_may_attend_iff_their_offset_is_the_same_in_the_padded_and_in_the_rolled_map(
    geometry: Geometry,
) -> None:
    right = brute_force(*geometry)
    for value in CONVENTIONS:
        mask = shift_mask(*geometry, value)
        assert mask.dtype == np.float64
        assert np.array_equal(mask == 0, right)
        assert (mask[~right] == value).all()


def test_an_unshifted_block_masks_nothing() -> None:
    assert not shift_mask((6, 4), (3, 2), (0, 0)).any()
    assert shift_mask((6, 4), (3, 2), (1, 0)).any()


def test_a_single_axis_shift_masks_along_that_axis_alone() -> None:
    mask = shift_mask((2, 4), (2, 2), (0, 1))
    assert not mask[0].any()
    # The last window holds column 3 and, wrapped around, column 0, in two rows: columns do not see each other.
    assert (mask[1] == MASK_VALUE).tolist() == [[False, True] * 2, [True, False] * 2] * 2


@over_geometries
def test_the_regions_are_the_mask_and_nine_at_most(geometry: Geometry) -> None:
    regions = window_regions(*geometry)
    assert np.array_equal(regions[:, :, None] == regions[:, None, :], brute_force(*geometry))
    assert set(regions.reshape(-1)) <= set(range(9))


def test_the_nine_regions_by_hand() -> None:
    assert window_regions((4, 4), (2, 2), (1, 1)).tolist() == [[0] * 4, [1, 2, 1, 2], [3, 3, 6, 6], [4, 5, 7, 8]]
    assert not window_regions((4, 4), (2, 2), (0, 0)).any()


@over_geometries
def test_the_order_says_where_each_token_of_a_window_comes_from(geometry: Geometry) -> None:
    feature_map, window, _ = geometry
    for roll_first in (False, True):
        order = window_order(*geometry, roll_first=roll_first)
        assert order.reshape(-1, window[0] * window[1]).tolist() == brute_order(*geometry, roll_first=roll_first)
        assert sorted(order[order != PADDING]) == list(range(feature_map[0] * feature_map[1]))


@over_geometries
def test_tokens_of_one_region_stand_side_by_side_in_the_map_as_in_the_window(geometry: Geometry) -> None:
    """Order and regions are made apart from one another; here they have to agree."""
    (_, width), window, _ = geometry
    order = window_order(*geometry).reshape(-1, window[0] * window[1])
    regions = window_regions(*geometry)
    for tokens, labels in zip(order, regions, strict=True):
        for query, key in np.ndindex(len(tokens), len(tokens)):
            if labels[query] == labels[key] and PADDING not in (tokens[query], tokens[key]):
                offset = (
                    tokens[query] // width - tokens[key] // width,
                    tokens[query] % width - tokens[key] % width,
                )
                assert offset == (
                    query // window[1] - key // window[1],
                    query % window[1] - key % window[1],
                )


@over_geometries
def test_a_padding_mask_hides_padded_tokens_from_all_but_themselves(geometry: Geometry) -> None:
    for roll_first in (False, True):
        order = brute_order(*geometry, roll_first=roll_first)
        for value in CONVENTIONS:
            mask = padding_mask(*geometry, value, roll_first=roll_first)
            for number, tokens in enumerate(order):
                for query, key in np.ndindex(len(tokens), len(tokens)):
                    allowed = query == key or -1 not in (tokens[query], tokens[key])
                    assert mask[number, query, key] == (0.0 if allowed else value)


@over_geometries
def test_with_both_masks_every_row_keeps_a_key_and_real_tokens_never_see_padded_ones(geometry: Geometry) -> None:
    for roll_first in (False, True):
        padded = np.array(brute_order(*geometry, roll_first=roll_first)) == -1  # [nW, N]
        alone = padding_mask(*geometry, -np.inf, roll_first=roll_first)
        both = alone + shift_mask(*geometry, -np.inf)
        for mask in (alone, both):
            assert (mask == 0).any(axis=-1).all()
            weights = softmax(mask)
            assert np.isfinite(weights).all()
            np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-12)
            assert not weights[~padded[:, :, None] & padded[:, None, :]].any()
            assert (weights[padded[:, :, None] & np.eye(padded.shape[1], dtype=bool)] == 1.0).all()


def test_a_padding_mask_that_hides_padded_keys_alone_would_leave_rows_without_a_key() -> None:
    geometry = (5, 5), (4, 4), (2, 2)
    padded = window_order(*geometry).reshape(-1, 16) == PADDING
    careless = np.where(padded[:, None, :], -np.inf, 0.0) + shift_mask(*geometry, -np.inf)
    assert not (careless == 0).any(axis=-1).all()
    with np.errstate(invalid="ignore"):
        assert np.isnan(softmax(careless)).any()


def test_a_map_that_windows_cover_needs_no_padding_mask() -> None:
    assert not padding_mask((6, 8), (3, 4), (1, 2)).any()
    assert padding_mask((6, 7), (3, 4), (1, 2)).any()


def two_slices_everywhere(feature_map: Size, window: Size, shift: Size) -> Floats:
    """One window's own tokens, cut by two slices, for every window."""
    label = np.zeros(window)
    label[window[0] - shift[0] :, :] = 1
    label[:, window[1] - shift[1] :] = 2
    flat = label.reshape(-1)
    return np.where(flat[:, None] == flat[None, :], 0.0, MASK_VALUE)


def two_slices_in_the_last_window(feature_map: Size, window: Size, shift: Size) -> Floats:
    """The same, where it belongs: the second slice still writes over a corner of the first."""
    mask = shift_mask(feature_map, window, shift)
    mask[-1] = two_slices_everywhere(feature_map, window, shift)
    return mask


def no_mask(feature_map: Size, window: Size, shift: Size) -> Floats:
    return np.zeros_like(shift_mask(feature_map, window, shift))


def look_ahead(feature_map: Size, window: Size, shift: Size) -> Floats:
    tokens = window[0] * window[1]
    return np.where(np.tri(tokens, dtype=bool), 0.0, -np.inf)


def rows_only(feature_map: Size, window: Size, shift: Size) -> Floats:
    return shift_mask(feature_map, window, (shift[0], 0))


@pytest.mark.parametrize(
    "wrong",
    [two_slices_everywhere, two_slices_in_the_last_window, rows_only, no_mask, look_ahead],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("geometry", [((8, 8), (4, 4), (2, 2)), ((9, 10), (3, 4), (1, 3))], ids=str)
def test_a_wrong_mask_fails_the_brute_force(
    wrong: Callable[[Size, Size, Size], Floats], geometry: tuple[Size, Size, Size]
) -> None:
    assert holds(shift_mask, geometry)
    assert not holds(wrong, geometry)


@pytest.mark.parametrize("kept", [0.0, 1.0])
def test_a_mask_multiplied_into_the_scores_forbids_nothing(kept: float) -> None:
    """Whether it says 0 and -100 or 1 and 0: a score of 0 is a score, and exp(0) is 1."""
    right = brute_force((8, 8), (4, 4), (2, 2))
    mask = shift_mask((8, 8), (4, 4), (2, 2)) if kept == 0.0 else right.astype(np.float64)
    scores = np.random.default_rng(0).uniform(0.1, 1.0, right.shape)
    attends = softmax(scores * mask) > 1e-9
    assert not np.array_equal(attends, right)
    assert np.array_equal(softmax(scores + shift_mask((8, 8), (4, 4), (2, 2))) > 1e-9, right)


@pytest.mark.parametrize(
    ("feature_map", "window", "shift"),
    [
        ((0, 4), (2, 2), (1, 1)),
        ((4, -4), (2, 2), (1, 1)),
        ((-4, -4), (2, 2), (1, 1)),
        ((4, 4), (0, 2), (0, 1)),
        ((4, 4), (2, -2), (1, 0)),
        ((4, 4), (2, 2), (2, 0)),
        ((4, 4), (2, 2), (0, 3)),
        ((4, 4), (2, 2), (-1, 0)),
    ],
)
def test_a_geometry_that_is_none_is_refused(feature_map: Size, window: Size, shift: Size) -> None:
    functions: list[Callable[[Size, Size, Size], Any]] = [shift_mask, padding_mask, window_order, window_regions]
    for function in functions:
        with pytest.raises(ValueError, match=r"must be positive|shift"):
            function(feature_map, window, shift)
        function((4, 4), (2, 2), (1, 0))


@pytest.mark.parametrize("value", [0.0, 100.0, np.inf, np.nan])
def test_a_mask_value_that_forbids_nothing_is_refused(value: float) -> None:
    functions: list[Callable[..., Any]] = [shift_mask, padding_mask]
    for function in functions:
        with pytest.raises(ValueError, match="must be negative"):
            function((4, 4), (2, 2), (1, 1), value)
        function((4, 4), (2, 2), (1, 1), -1.0)


# Below: the code bases that the models come from.

COVERED: list[Geometry] = [
    ((8, 8), (4, 4), (2, 2)),
    ((14, 21), (7, 7), (3, 3)),
    ((9, 6), (3, 3), (1, 1)),
    ((10, 15), (5, 5), (4, 4)),
]
RECTANGULAR: list[Geometry] = [((8, 12), (4, 6), (2, 3)), ((6, 12), (3, 4), (0, 2)), ((6, 12), (3, 4), (1, 0))]
PADDED: list[Geometry] = [((5, 5), (4, 4), (2, 2)), ((7, 10), (4, 4), (2, 2)), ((9, 13), (7, 7), (3, 3))]


def timm_block(geometry: Geometry, dim: int = 8) -> Any:
    pytest.importorskip("timm")
    from timm.models.swin_transformer import SwinTransformerBlock

    feature_map, window, shift = geometry
    return SwinTransformerBlock(
        dim, feature_map, num_heads=1, window_size=window, shift_size=shift, always_partition=True
    )


@pytest.mark.parametrize("geometry", COVERED + RECTANGULAR + PADDED, ids=str)
def test_timm_has_the_same_mask(geometry: Geometry) -> None:
    mask = timm_block(geometry).attn_mask.numpy()
    assert np.array_equal(mask, shift_mask(*geometry))
    feature_map, window, shift = geometry
    assert not np.array_equal(mask, shift_mask(feature_map, window, (shift[0], shift[1] - 1 if shift[1] else 1)))


@pytest.mark.parametrize("geometry", COVERED + PADDED, ids=str)
@pytest.mark.parametrize("module", ["swin", "swinv2"])
def test_transformers_has_the_same_mask(module: str, geometry: Geometry) -> None:
    pytest.importorskip("transformers")
    if module == "swin":
        from transformers.models.swin.modeling_swin import SwinLayer as Layer
    else:
        from transformers.models.swinv2.modeling_swinv2 import Swinv2Layer as Layer
    (height, width), (window, _), (shift, _) = geometry
    layer = SimpleNamespace(window_size=window, shift_size=shift)
    # The layer calls it with the padded map.
    padded = -(-height // window) * window, -(-width // window) * window
    mask = Layer.get_attn_mask(layer, *padded, torch.float32, torch.device("cpu"))
    assert np.array_equal(mask.numpy(), shift_mask(*geometry))


def attention_in_raster_order(geometry: Geometry, *, roll_first: bool) -> Floats:
    """[L, L]: how much each token attends to each, where all scores are 0 and only the mask counts."""
    (height, width), window, _ = geometry
    order = window_order(*geometry, roll_first=roll_first).reshape(-1, window[0] * window[1])
    attention = np.zeros((height * width, height * width))
    for tokens, weights in zip(order, softmax(shift_mask(*geometry)), strict=True):
        real = tokens != PADDING
        attention[np.ix_(tokens[real], tokens[real])] = weights[np.ix_(real, real)]
    return attention


def one_hot_map(feature_map: Size) -> torch.Tensor:
    """[1, H, W, H*W]: a channel a token, so that what comes out of an attention is its weights."""
    tokens = feature_map[0] * feature_map[1]
    return torch.eye(tokens, dtype=torch.float64).reshape(1, *feature_map, tokens)


def values_only(channels: int) -> torch.Tensor:
    """[3C, C]: queries and keys of 0, values as they come."""
    zero, one = torch.zeros(channels, channels), torch.eye(channels)
    return torch.cat([zero, zero, one]).double()


@pytest.mark.parametrize("geometry", COVERED[:3] + RECTANGULAR + PADDED, ids=str)
def test_torchvision_attends_as_order_and_mask_say(geometry: Geometry) -> None:
    """It has no mask to read: its attention is run, in FP64, where exp(-100) is a number too."""
    pytest.importorskip("torchvision")
    from torchvision.models.swin_transformer import shifted_window_attention

    feature_map, window, shift = geometry
    x = one_hot_map(feature_map)
    channels = x.shape[-1]
    bias = torch.zeros(1, 1, window[0] * window[1], window[0] * window[1], dtype=torch.float64)
    identity = torch.eye(channels, dtype=torch.float64)
    out = shifted_window_attention(x, values_only(channels), identity, bias, list(window), 1, list(shift))
    got = out.reshape(channels, channels).numpy()
    np.testing.assert_allclose(got, attention_in_raster_order(geometry, roll_first=False), rtol=1e-12, atol=0)
    if geometry in PADDED:
        assert not np.allclose(got, attention_in_raster_order(geometry, roll_first=True))


@pytest.mark.parametrize("geometry", COVERED[:3] + RECTANGULAR + PADDED, ids=str)
def test_timm_attends_as_order_and_mask_say_and_rolls_before_it_pads(geometry: Geometry) -> None:
    feature_map = geometry[0]
    x = one_hot_map(feature_map)
    channels = x.shape[-1]
    block = timm_block(geometry, channels).double().eval()
    attention = block.attn
    attention.fused_attn = False
    with torch.no_grad():
        attention.qkv.weight.copy_(values_only(channels))
        attention.proj.weight.copy_(torch.eye(channels))
        for parameter in (attention.qkv.bias, attention.proj.bias, attention.relative_position_bias_table):
            parameter.zero_()
        got = block._attn(x).reshape(channels, channels).numpy()
    np.testing.assert_allclose(got, attention_in_raster_order(geometry, roll_first=True), rtol=1e-12, atol=0)
    if geometry in PADDED:
        assert not np.allclose(got, attention_in_raster_order(geometry, roll_first=False))


@pytest.mark.parametrize("geometry", PADDED, ids=str)
def test_where_timm_pads_its_mask_lets_tokens_meet_that_the_roll_brought_together(geometry: Geometry) -> None:
    """So `shift_mask` is what timm's models were trained with, though not what the order of its roll asks for."""
    (_, width), window, _ = geometry
    met = {True: 0, False: 0}
    for roll_first in met:
        order = window_order(*geometry, roll_first=roll_first).reshape(-1, window[0] * window[1])
        for tokens, allowed in zip(order, shift_mask(*geometry) == 0, strict=True):
            for query, key in np.argwhere(allowed):
                if PADDING not in (tokens[query], tokens[key]):
                    rows = abs(tokens[query] // width - tokens[key] // width)
                    columns = abs(tokens[query] % width - tokens[key] % width)
                    met[roll_first] += bool(rows >= window[0] or columns >= window[1])
    assert met[False] == 0
    assert met[True] > 0
