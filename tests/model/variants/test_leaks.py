"""Nothing crosses from one mask region into another: one region is perturbed, and all others stay equal bit for bit.

What mixes tokens before there is a score of each pair cannot be kept apart by a mask on scores. Versions that try are
written here as well, and the same test has to find them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.reference import from_windows, split_heads, to_windows
from swin_deploy.model.variants.linformer import Linformer
from swin_deploy.model.variants.performer import Performer
from swin_deploy.model.variants.routing import Routing
from swin_deploy.model.windows import shift_mask
from tests.model.variants.cases import (
    GEOMETRIES,
    V1_STAGE,
    V2_STAGE,
    from_stream,
    make,
    raster,
    spread,
    to_stream,
)
from tests.model.variants.naive import regions

SHIFTED = {name: geometry for name, geometry in GEOMETRIES.items() if geometry.shifted}
CASES = [("channel-gate", "v1"), ("channel-gate", "v2"), ("linformer", "v1"), ("performer", "v1"), ("routing", "v1")]


def leaks(attention: Callable[[Tensor], Tensor], geometry: BlockGeometry, size: float) -> list[str]:
    """Perturb each region of each window in turn: where an output outside of it changed, or none inside did."""
    x = raster(geometry, 2)
    before, found = attention(x), []
    generator = torch.Generator().manual_seed(7)
    for number, window in enumerate(regions(geometry)):
        for region, tokens in enumerate(window):
            inside = torch.zeros(geometry.feature_map, dtype=torch.bool)
            for token in tokens:
                if token.where is not None:
                    inside[token.where] = True
            if not inside.any():
                continue
            noise = size * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            after = attention(torch.where(inside[..., None], x + noise, x))
            changed = (after != before).any(dim=-1).any(dim=0)
            if (changed & ~inside).any():
                found.append(f"window {number}, region {region}: leaked")
            if not (changed & inside).any():
                found.append(f"window {number}, region {region}: deaf")
    return found


class Held(nn.Module):
    """A gate that does not look at the map."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, h: Tensor) -> Tensor:
        return self.values.reshape(1, *(1 for _ in h.shape[2:]), -1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("place", SHIFTED)
@pytest.mark.parametrize(("name", "family"), CASES)
@torch.no_grad()
def test_a_region_does_not_hear_of_another(name: str, family: str, place: str, dtype: torch.dtype) -> None:
    geometry = SHIFTED[place]
    paper = make(name, geometry, V1_STAGE if family == "v1" else V2_STAGE).to(dtype)
    folded = paper.folded()
    if name == "channel-gate":
        # The gate is global by design: it is held, and the attention behind it is looked at. That has the published
        # models' mask of -100, which a score a hundred times as large would outweigh, as it would in plain Swin.
        paper.gate = folded.gate = Held(torch.rand(16, dtype=dtype))
    for size in (1.0,) if name == "channel-gate" else (1.0, 1e4):
        assert leaks(lambda x: paper(x.to(dtype)), geometry, size) == []
        assert leaks(lambda x: from_stream(folded(to_stream(x.to(dtype), geometry)), geometry), geometry, size) == []


@torch.no_grad()
def test_a_gate_that_is_not_held_is_heard_everywhere() -> None:
    geometry = GEOMETRIES["shifted"]
    x, attention = raster(geometry, 1), make("channel-gate", geometry)
    before = attention(x)
    x[0, 0, 0] += 1.0
    assert ((attention(x) != before).any(dim=-1)).all()


class OneProjection(Linformer):
    """Keys and values of a whole window are projected together, and the mask is added, projected like the bias."""

    def forward(self, x: Tensor) -> Tensor:
        windows = to_windows(x, self.geometry)
        q, k, v = split_heads(self.qkv(windows), self.heads)
        g = self.geometry
        mask = torch.from_numpy(shift_mask(g.feature_map, g.window, g.shift))[:, None]  # [nW, 1, N, N]
        bias = (self.bias() + mask) @ self.key_projection.T  # [nW, h, N, slots]
        scores = self.scale * q @ (self.key_projection @ k).transpose(-2, -1)
        scores = (scores.unflatten(0, (-1, g.windows)) + bias).flatten(0, 1)
        out = scores.softmax(dim=-1) @ (self.value_projection @ v)
        return from_windows(self.proj(out.transpose(1, 2).flatten(2)), g)


class OneStabiliser(Performer):
    """Sums are apart, but the exponent taken away is the window's largest, and an epsilon is added behind it."""

    def forward(self, x: Tensor) -> Tensor:
        k = split_heads(self.qkv(to_windows(x, self.geometry)), self.heads)[1] * self.scale**0.5
        self.exponents = (k @ self.features.T - (k**2).sum(dim=-1, keepdim=True) / 2).amax(dim=(-2, -1))  # [B*nW, h]
        self.exponents = self.exponents.unflatten(0, (len(x), -1)).transpose(1, 2)  # [B, h, nW]
        return super().forward(x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor) -> Tensor:
        number = next(i for i in range(self.pieces) if getattr(self, f"tokens{i}") is tokens)
        windows = getattr(self, f"positions{number}")[:, 0] // self.geometry.tokens
        largest = self.exponents[:, :, windows, None, None]
        q, k = q * self.scale**0.5, k * self.scale**0.5
        phi_k = (k @ self.features.T - (k**2).sum(dim=-1, keepdim=True) / 2 - largest).exp() + 1e-6
        phi_q = (q @ self.features.T).softmax(dim=-1)
        return (phi_q @ (phi_k.mT @ v)) / (phi_q @ phi_k.sum(dim=-2, keepdim=True).mT)


class OneTopK(Routing):
    """Clusters are filled from the whole window, and a mask is added to the scores of those that meet in one."""

    def forward(self, x: Tensor) -> Tensor:
        g, clusters = self.geometry, self.centroids.shape[1]
        q, k, v = split_heads(self.qkv(to_windows(x, g)), self.heads)  # [B*nW, h, N, d]
        places, size = torch.arange(g.tokens), -(-g.tokens // clusters)
        queries, keys = (self._chosen(part[:, :, None], places, size)[:, :, 0] for part in (q, k))  # [B*nW, h, c, size]
        mask = torch.from_numpy(shift_mask(g.feature_map, g.window, g.shift, -torch.inf)).repeat(len(x), 1, 1)
        scores = self.scale * q @ k.transpose(-2, -1) + self.bias() + mask[:, None]  # [B*nW, h, N, N]
        out = torch.zeros_like(q)
        for window in range(len(q)):
            for head in range(self.heads):
                for cluster in range(clusters):
                    rows, columns = queries[window, head, cluster], keys[window, head, cluster]
                    weights = scores[window, head][rows][:, columns].softmax(dim=-1).nan_to_num()
                    out[window, head, rows] += weights @ v[window, head, columns]
        return from_windows(self.proj(out.transpose(1, 2).flatten(2)), g)


@pytest.mark.parametrize("leaking", [OneProjection, OneStabiliser, OneTopK])
@torch.no_grad()
def test_versions_that_mask_what_is_mixed_already_are_found_out(
    leaking: Callable[[StageSpec, BlockGeometry], Any],
) -> None:
    geometry = GEOMETRIES["shifted"]
    attention = leaking(V1_STAGE, geometry).double().eval()
    spread(attention)
    found = leaks(attention, geometry, 1.0)
    assert found
    assert all("leaked" in line for line in found)
    # All of them in windows that hold more than one region, the last column and the last row of 2 x 3 windows.
    assert {int(line.split()[1].rstrip(",")) for line in found} == {2, 3, 4, 5}
