"""What Linformer, Performer and Routing attention share: windows, heads, and one region at a time.

Shapes: B images, C channels, nW windows of N tokens, h heads of d channels, n windows that share a region of t tokens.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.reference import from_windows, split_heads, to_windows
from swin_deploy.model.variants.regions import Group, groups, pieces
from swin_deploy.model.windows import relative_position_index

__all__ = ["BiasedRegionAttention", "FoldedRegionAttention", "RegionAttention"]


class RegionAttention(nn.Module):
    """The paper form: each region of each window is attended to as if it stood alone, so that nothing can leak.

    Args:
        spec: The stage.
        geometry: The block's.
        real: Leave out padded tokens; their output is zero then.
    """

    def __init__(self, spec: StageSpec, geometry: BlockGeometry, *, real: bool = False) -> None:
        super().__init__()
        self.spec, self.geometry = spec, geometry
        self.heads, self.head_dim, self.scale = spec.heads, spec.head_dim, spec.head_dim**-0.5
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim)
        self.proj = nn.Linear(spec.dim, spec.dim)
        found = pieces(geometry, real=real)
        self.pieces = len(found)
        for number, piece in enumerate(found):
            self.register_buffer(f"tokens{number}", torch.from_numpy(piece.tokens), persistent=False)
            self.register_buffer(f"positions{number}", torch.from_numpy(piece.positions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        windows = to_windows(x, self.geometry)  # [B*nW, N, C]
        q, k, v = (self._stream(part) for part in split_heads(self.qkv(windows), self.heads))  # [B, h, nW*N, d]
        out = torch.zeros_like(v)
        for number in range(self.pieces):
            tokens = cast(Tensor, getattr(self, f"tokens{number}"))  # [t]
            at = cast(Tensor, getattr(self, f"positions{number}"))  # [n, t]
            out[:, :, at] = self.attend(q[:, :, at], k[:, :, at], v[:, :, at], tokens)  # [B, h, n, t, d]
        out = out.transpose(1, 2).reshape(-1, self.geometry.tokens, self.spec.dim)  # [B*nW, N, C]
        return from_windows(self.proj(out), self.geometry)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor) -> Tensor:
        """Query, key and value of one region, each [B, h, n, t, d], to its output; `tokens` [t] are its places."""
        raise NotImplementedError

    def _stream(self, x: Tensor) -> Tensor:
        """[B*nW, h, N, d] to [B, h, nW*N, d]."""
        x = x.reshape(-1, self.geometry.windows, self.heads, self.geometry.tokens, self.head_dim)  # [B, nW, h, N, d]
        return x.transpose(1, 2).flatten(2, 3)  # [B, h, nW*N, d]


class BiasedRegionAttention(RegionAttention):
    """The same with V1's relative position bias table, of which each variant makes what it can."""

    relative_position_index: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry, *, real: bool = False) -> None:
        super().__init__(spec, geometry, real=real)
        rows = (2 * geometry.window[0] - 1) * (2 * geometry.window[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, spec.heads))
        index = torch.from_numpy(relative_position_index(geometry.window))
        self.register_buffer("relative_position_index", index, persistent=False)

    def bias(self) -> Tensor:
        """The bias of each pair of tokens, [h, N, N]."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)


class FoldedRegionAttention(nn.Module):
    """The way from the window-ordered stream to heads and back, around an `attend` for all windows of a group at once.

    Attributes:
        parts: What `attend` needs to know of each group, as the variant made it.
        apart: [L] the order of the stream in which the windows of a group stand together; `None` for a single group.
        together: [L] the way back.
    """

    apart: Tensor | None
    together: Tensor | None

    def __init__(self, spec: StageSpec, geometry: BlockGeometry, *, real: bool = False) -> None:
        super().__init__()
        self.heads, self.head_dim = spec.heads, spec.head_dim
        self.windows, self.tokens = geometry.windows, geometry.tokens
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim)
        self.proj = nn.Linear(spec.dim, spec.dim)
        found = groups(geometry, real=real)
        self.sizes = [len(group.windows) for group in found]
        self.parts = nn.ModuleList(self.part(spec, group) for group in found)
        order = np.concatenate([group.windows for group in found])[:, None] * geometry.tokens
        order = (order + np.arange(geometry.tokens)).reshape(-1)  # [L]
        single = len(found) == 1
        for name, positions in (("apart", order), ("together", np.argsort(order))):
            self.register_buffer(name, None if single else torch.from_numpy(positions), persistent=False)

    def part(self, spec: StageSpec, group: Group) -> nn.Module:
        """What `attend` needs to know of a group of windows."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        if self.apart is not None:
            x = x.index_select(1, self.apart)
        qkv = self.qkv(x).reshape(-1, self.windows, self.tokens, 3, self.heads, self.head_dim)  # [B, nW, N, 3, h, d]
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # each [B, nW, h, N, d]
        if len(self.parts) == 1:
            x = self.attend(self.parts[0], q, k, v)  # [B, nW, h, N, d]
        else:
            shares = zip(*(part.split(self.sizes, dim=1) for part in (q, k, v)), strict=True)
            x = torch.cat([self.attend(part, *share) for part, share in zip(self.parts, shares, strict=True)], dim=1)
        x = x.reshape(-1, self.heads, self.tokens, self.head_dim)  # [B*nW, h, N, d]
        x = x.transpose(1, 2).reshape(-1, self.windows * self.tokens, self.heads * self.head_dim)  # [B, L, C]
        x = self.proj(x)
        return x if self.together is None else x.index_select(1, self.together)

    def attend(self, part: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Query, key and value of a group of windows, each [B, n, h, N, d], to the same."""
        raise NotImplementedError

    @torch.no_grad()
    def take_linears(self, paper: RegionAttention, *, query: float, key: float = 1.0) -> None:
        """Copy `qkv` and `proj` of the paper form, with the factors on query and key in the weights."""
        factors = torch.tensor([query, key, 1.0], dtype=torch.float64).repeat_interleave(paper.spec.dim)  # [3*C]
        factors = factors.to(paper.qkv.weight)
        self.qkv.weight.copy_(paper.qkv.weight * factors[:, None])
        self.qkv.bias.copy_(paper.qkv.bias * factors)
        self.proj.load_state_dict(paper.proj.state_dict())
