"""`window_attention` against its twin, in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.kernels.window_attention import candidates, window_attention
from swin_deploy.model.windows import shift_mask, window_order
from tests.kernels.shorter_run import ShorterRun

TOLERANCE = {torch.float32: 4e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@dataclass(frozen=True)
class Case:
    """The arguments of one call."""

    qkv: Tensor
    padding: Tensor
    constant: Tensor
    mask: Tensor | None
    positions: Tensor
    logit_scale: Tensor | None
    heads: int

    def by(self, operator, **more) -> Tensor:
        given = (self.qkv, self.padding, self.constant, self.mask, self.positions, self.logit_scale)
        return operator(*given, heads=self.heads, **more)

    def kernel(self, tiles: Sequence[int] = ()) -> Tensor:
        return self.by(lambda *given, **more: window_attention(InterpretedRun(), *given, **more), tiles=tiles)

    def twin(self) -> Tensor:
        return self.by(TwinOperators().window_attention)


# Rows, keys, programs to aim at, warps, stages: many tiles a window, many images a program.
SMALL = [16, 16, 16, 1, 1]


def make(
    seed: int,
    dtype: torch.dtype,
    *,
    window: tuple[int, int] = (7, 7),
    feature_map: tuple[int, int] = (14, 14),
    shift: tuple[int, int] = (0, 0),
    heads: int = 2,
    dim: int = 32,
    batch: int = 2,
    v2: bool = False,
    apart: bool = False,
    value: float = -100.0,
    roll_first: bool = False,
) -> Case:
    random = torch.Generator().manual_seed(seed)
    order = window_order(feature_map, window, shift, roll_first=roll_first)
    length, tokens = feature_map[0] * feature_map[1], window[0] * window[1]
    shuffle = np.append(torch.randperm(length, generator=random).numpy(), -1)  # any order of the stream
    positions = torch.from_numpy(shuffle[order].reshape(-1, tokens).astype(np.int32))
    mask = None
    constant = torch.randn(1, heads, tokens, tokens, generator=random)
    if any(shift):
        mask = torch.from_numpy(shift_mask(feature_map, window, shift, value)).float()[:, None]
    if mask is not None and not apart:
        constant, mask = (constant + mask).contiguous(), None
    scale = torch.rand(heads, generator=random) * 20 + 1 if v2 else None
    return Case(
        torch.randn(batch, length, 3 * heads * dim, generator=random).to(dtype),
        torch.randn(3 * heads * dim, generator=random),
        constant.to(dtype),
        None if mask is None else mask.to(dtype),
        positions,
        scale,
        heads,
    )


def drawn(seed: int, dtype: torch.dtype) -> Case:
    """A random geometry: window, map, shift, heads, channels, padding, V1 or V2, mask joined or apart."""
    draw = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=draw))

    window = (pick(1, 6), pick(1, 7))
    feature_map = (pick(1, 2 * window[0]), pick(1, window[1]))
    if pick(0, 1):
        window, feature_map = window[::-1], feature_map[::-1]
    return make(
        seed,
        dtype,
        window=window,
        feature_map=feature_map,
        shift=(pick(0, window[0] - 1), pick(0, window[1] - 1)) if pick(0, 2) else (0, 0),
        heads=pick(1, 2),
        dim=8 * pick(2, 4) if pick(0, 3) else 64,
        batch=pick(1, 2),
        v2=bool(pick(0, 1)),
        apart=bool(pick(0, 1)),
        value=-100.0 if pick(0, 1) else float("-inf"),
        roll_first=bool(pick(0, 1)),
    )


def assert_equal(case: Case, tiles: list[int] | None = None) -> None:
    tolerance = TOLERANCE[case.qkv.dtype]
    torch.testing.assert_close(case.kernel(tiles or []), case.twin(), rtol=tolerance, atol=2 * tolerance)


def differs(found: Tensor, wanted: Tensor) -> bool:
    return not torch.allclose(found, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("seed", range(135))
def test_random_geometries_agree_with_the_twin(seed: int) -> None:
    # Default tiles; one program for all images; tiles so small that every window takes many. No two types share a seed.
    tiles = ([], [64, 64, 16, 4, 1], SMALL)[seed // 3 % 3]
    assert_equal(drawn(seed, list(TOLERANCE)[seed % 3]), tiles)


@pytest.mark.parametrize(
    ("window", "dim", "options"),
    [
        ((7, 7), 32, {"batch": 3, "feature_map": (7, 14), "shift": (0, 3)}),
        ((8, 8), 32, {"batch": 3, "feature_map": (8, 16), "shift": (0, 4), "v2": True}),
        ((8, 8), 16, {"feature_map": (7, 16), "shift": (4, 4)}),
        ((10, 10), 64, {"feature_map": (10, 8), "shift": (0, 5)}),
        ((12, 12), 32, {"feature_map": (12, 12), "shift": (0, 6), "apart": True}),
        ((14, 14), 24, {"feature_map": (14, 14)}),
        ((16, 16), 32, {"batch": 1, "feature_map": (16, 14), "shift": (8, 8), "v2": True, "value": float("-inf")}),
        ((24, 24), 32, {"batch": 1, "feature_map": (24, 24), "v2": True}),
    ],
)
def test_every_candidate_agrees_at_the_windows_of_published_models(window, dim, options) -> None:
    case = make(0, torch.float16, window=window, dim=dim, heads=1, **options)
    for tiles in candidates(window[0] * window[1], dim):
        if tiles.inner == 2048:
            assert_equal(case, [tiles.rows, tiles.columns, 16, tiles.warps, tiles.stages])


def test_full_precision_has_tiles_of_its_own() -> None:
    assert_equal(make(0, torch.float32, window=(12, 12), feature_map=(12, 12), heads=1, batch=1))


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("tiles", [[], SMALL], ids=["one tile", "many tiles"])
def test_what_is_not_finite_reaches_what_it_reaches_in_the_twin(tiles: list[int], v2: bool) -> None:
    case = make(1, torch.float16, window=(4, 5), feature_map=(4, 8), shift=(0, 2), heads=1, dim=16, v2=v2)
    clean = case.kernel(tiles)
    random = torch.Generator().manual_seed(2)
    for value in (float("nan"), float("inf"), float("-inf")):
        for part in range(3):
            qkv = case.qkv.clone()
            token = int(torch.randint(0, qkv.shape[1], (1,), generator=random))
            channel = int(torch.randint(0, 16, (1,), generator=random))
            qkv[1, token, 16 * part + channel] = value
            spoiled = replace(case, qkv=qkv)
            with np.errstate(invalid="ignore"):
                found, wanted = spoiled.kernel(tiles), spoiled.twin()
            assert not wanted.isfinite().all()
            assert torch.equal(found.isfinite(), wanted.isfinite())
            if not tiles:  # a running maximum may make an infinity of what is NaN, and the other way round
                assert torch.equal(found.isnan(), wanted.isnan())
            assert torch.equal(found[0], clean[0])  # the other image


def test_a_query_that_is_not_a_number_spoils_its_own_row_only() -> None:
    case = make(1, torch.float32, feature_map=(7, 14), shift=(0, 3))
    case.qkv[0, 17, 5] = float("nan")  # a channel of the first head's query
    spoiled = case.kernel().isnan()
    assert spoiled[0, 17, :32].all() and int(spoiled.sum()) == 32


def test_no_region_sees_another() -> None:
    case = make(3, torch.float32, shift=(3, 3), value=float("-inf"), heads=1, batch=1)
    mask = shift_mask((14, 14), (7, 7), (3, 3))
    window, token = 3, 0  # the last window has four regions
    allowed = torch.zeros(196, dtype=torch.bool)
    allowed[case.positions[window, np.flatnonzero(mask[window, token] == 0)].long()] = True
    qkv = case.qkv.clone()
    qkv[0, int(case.positions[window, token])] += 1
    before, after = case.kernel(), replace(case, qkv=qkv).kernel()
    assert torch.equal(before[0, ~allowed], after[0, ~allowed])
    assert (before[0, allowed] != after[0, allowed]).any(dim=1).all()


def test_a_hidden_tile_before_the_first_seen_one_adds_nothing() -> None:
    case = make(4, torch.float16, window=(1, 48), feature_map=(1, 48), heads=1, batch=1)
    case.constant[..., :20] = float("-inf")
    assert_equal(case, SMALL)


@pytest.mark.parametrize("v2", [False, True])
def test_half_precision_is_no_further_from_the_truth_than_twice_torchs_own(v2: bool) -> None:
    case = make(5, torch.float16, feature_map=(7, 14), shift=(0, 3), v2=v2)
    exact = replace(case, qkv=case.qkv.double(), constant=case.constant.double()).twin()
    q, k, v = case.qkv[:, case.positions.long()].unflatten(-1, (3, 2, 32)).permute(3, 0, 1, 4, 2, 5)
    if v2:
        q, k = torch.nn.functional.normalize(q, dim=-1), torch.nn.functional.normalize(k, dim=-1)
        q = q * case.logit_scale[:, None, None].half()
    y = (q @ k.transpose(-2, -1) + case.constant).softmax(dim=-1) @ v  # [B, nW, h, N, d]
    halves = torch.empty_like(exact, dtype=torch.float16)
    halves[:, case.positions.long()] = y.transpose(2, 3).flatten(-2)

    def error(found: Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    assert 0 < error(case.kernel()) <= 2 * error(halves) < 1e-2


@pytest.mark.parametrize("name", ["qkv", "padding", "constant", "mask", "positions", "logit_scale"])
def test_each_argument_counts(name: str) -> None:
    case = make(6, torch.float32, window=(4, 4), feature_map=(6, 8), shift=(1, 1), v2=True, apart=True, batch=1)
    wrong = getattr(case, name).roll(1, dims=0 if name in ("mask", "logit_scale") else -1)
    assert differs(replace(case, **{name: wrong.contiguous()}).kernel(), case.twin())


def test_a_mask_left_out_is_seen() -> None:
    case = make(6, torch.float32, window=(4, 4), feature_map=(8, 8), shift=(2, 2), apart=True)
    assert differs(replace(case, mask=None).kernel(), case.twin())


def test_an_output_that_no_program_writes_is_seen() -> None:
    case = make(7, torch.float16)
    assert case.by(lambda *given, **more: window_attention(ShorterRun(), *given, **more)).isnan().any()


def test_a_constant_in_another_order_of_memory_is_refused() -> None:
    case = make(7, torch.float16)
    with pytest.raises(AssertionError, match="contiguous"):
        replace(case, constant=case.constant.transpose(2, 3)).kernel()


def test_small_batches_keep_many_programs_and_large_ones_share() -> None:
    grids = []

    class Noted(InterpretedRun):
        def launch(self, launch: Launch) -> None:
            grids.append(launch.grid)

    case = make(8, torch.float16, heads=3)  # 4 windows and 3 heads
    for batch in (1, 8, 400):
        large = replace(case, qkv=torch.empty(batch, *case.qkv.shape[1:], dtype=torch.float16))
        large.by(lambda *given, **more: window_attention(Noted(), *given, **more))
    assert grids == [(12, 1, 1), (12, 8, 1), (12, 2048 // 12, 1)]
