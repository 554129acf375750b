"""The oracle: Swin V1 and V2 as the papers write them, in plain PyTorch.

Nothing is folded, fused or reordered here, so that it can be read beside the papers; it is equal to timm's models
(tests/model/test_reference.py) and every later form is judged against it.
Shapes: B images, H x W tokens, C channels, nW windows of N tokens, h heads of d channels.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import BlockGeometry, StageSpec, SwinSpec
from swin_deploy.model.windows import relative_position_index, shift_mask

__all__ = ["LOGIT_SCALE_MAX", "ReferenceSwin", "relative_coordinates"]

# V2 clamps its learned logit scale at ln(1 / 0.01), section 3.3.
LOGIT_SCALE_MAX = math.log(1.0 / 0.01)


def relative_coordinates(window: tuple[int, int], pretrained: tuple[int, int]) -> Tensor:
    """V2's log-spaced relative coordinates, normalised by the window the bias MLP was trained with.

    In float32 and in the order of operations the published weights were trained with, so that a float64 model
    differs from theirs by nothing but its own arithmetic.

    Returns:
        [2*window[0]-1, 2*window[1]-1, 2]. Source: V2, equation 4, with the official scaling by 8.
    """
    axes = [torch.arange(-(w - 1), w, dtype=torch.float32) for w in window]
    table = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    # A window of one token has the offset 0 only: any divisor will do, and 0 would not.
    table = table / torch.tensor([max(p - 1, 1) for p in pretrained], dtype=torch.float32) * 8
    return torch.sign(table) * torch.log2(table.abs() + 1.0) / math.log2(8)


class WindowAttentionV1(nn.Module):
    """Scaled dot-product attention in a window, with a relative position bias table."""

    relative_position_index: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.heads, self.scale = spec.heads, spec.head_dim**-0.5
        window = geometry.window
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim)
        self.proj = nn.Linear(spec.dim, spec.dim)
        rows = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, spec.heads))
        self.register_buffer(
            "relative_position_index", torch.from_numpy(relative_position_index(window)), persistent=False
        )

    def bias(self) -> Tensor:
        """The relative position bias, [h, N, N]."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows: `x` [B*nW, N, C], `mask` [nW, N, N]."""
        q, k, v = _split_heads(self.qkv(x), self.heads)
        scores = (q * self.scale) @ k.transpose(-2, -1) + self.bias()
        return cast(Tensor, self.proj(_weigh(scores, v, mask)))


class WindowAttentionV2(nn.Module):
    """Cosine attention in a window, with a continuous relative position bias from a small MLP."""

    relative_position_index: Tensor
    relative_coords_table: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.heads = spec.heads
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim)  # the key's third of the bias is zero in V2
        self.proj = nn.Linear(spec.dim, spec.dim)
        self.logit_scale = nn.Parameter(torch.zeros(spec.heads, 1, 1))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, spec.heads, bias=False))
        assert spec.pretrained_window is not None
        window = geometry.window
        table = relative_coordinates(window, spec.pretrained_window)
        self.register_buffer("relative_coords_table", table, persistent=False)
        self.register_buffer(
            "relative_position_index", torch.from_numpy(relative_position_index(window)), persistent=False
        )

    def bias(self) -> Tensor:
        """The relative position bias, [h, N, N]."""
        rows = self.cpb_mlp(self.relative_coords_table).reshape(-1, self.heads)  # [(2w-1)^2, h]
        return 16 * torch.sigmoid(rows[self.relative_position_index].permute(2, 0, 1))

    def scale(self) -> Tensor:
        """The clamped factor of the cosine scores, [h, 1, 1]."""
        return self.logit_scale.clamp(max=LOGIT_SCALE_MAX).exp()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows: `x` [B*nW, N, C], `mask` [nW, N, N]."""
        q, k, v = _split_heads(self.qkv(x), self.heads)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return cast(Tensor, self.proj(_weigh(scores * self.scale() + self.bias(), v, mask)))


class Block(nn.Module):
    """A (shifted-)window attention block: pre-norm in V1, residual post-norm in V2."""

    mask: Tensor | None

    def __init__(self, family: str, spec: StageSpec, geometry: BlockGeometry, eps: float) -> None:
        super().__init__()
        self.family, self.geometry = family, geometry
        self.norm1 = nn.LayerNorm(spec.dim, eps=eps)
        self.attn = (WindowAttentionV1 if family == "v1" else WindowAttentionV2)(spec, geometry)
        self.norm2 = nn.LayerNorm(spec.dim, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(spec.dim, spec.mlp_dim), nn.GELU(), nn.Linear(spec.mlp_dim, spec.dim))
        mask = None
        if geometry.shifted:
            mask = torch.from_numpy(shift_mask(geometry.feature_map, geometry.window, geometry.shift))
            mask = mask.to(torch.get_default_dtype())
        self.register_buffer("mask", mask, persistent=False)

    def attend(self, x: Tensor) -> Tensor:
        """Roll, cut into windows, attend, put back, roll back: [B, H, W, C] to the same."""
        batch, height, width, channels = x.shape
        (rows, columns), shift = self.geometry.window, self.geometry.shift
        x = torch.roll(x, (-shift[0], -shift[1]), dims=(1, 2))
        x = x.reshape(batch, height // rows, rows, width // columns, columns, channels)  # [B, nWh, w, nWw, w, C]
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * columns, channels)  # [B*nW, N, C]
        x = self.attn(x, self.mask)
        x = x.reshape(batch, height // rows, width // columns, rows, columns, channels)  # [B, nWh, nWw, w, w, C]
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)  # [B, H, W, C]
        return torch.roll(x, shift, dims=(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        if self.family == "v1":
            x = x + self.attend(self.norm1(x))
            return x + cast(Tensor, self.mlp(self.norm2(x)))
        x = x + cast(Tensor, self.norm1(self.attend(x)))
        return x + cast(Tensor, self.norm2(self.mlp(x)))


class PatchMerging(nn.Module):
    """Halve the resolution, double the channels; V1 normalises before the linear, V2 after it."""

    def __init__(self, family: str, dim_in: int, dim_out: int, eps: float) -> None:
        super().__init__()
        self.family = family
        self.norm = nn.LayerNorm(4 * dim_in if family == "v1" else dim_out, eps=eps)
        self.reduction = nn.Linear(4 * dim_in, dim_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H/2, W/2, 2C]."""
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        if self.family == "v1":
            return cast(Tensor, self.reduction(self.norm(x)))
        return cast(Tensor, self.norm(self.reduction(x)))


class Stage(nn.Module):
    """One resolution level: patch merging (from the second on), then blocks."""

    def __init__(self, spec: SwinSpec, index: int) -> None:
        super().__init__()
        stage = spec.stages[index]
        self.merge = PatchMerging(spec.family, spec.stages[index - 1].dim, stage.dim, spec.norm_eps) if index else None
        self.blocks = nn.ModuleList(
            Block(spec.family, stage, spec.geometry(index, block), spec.norm_eps) for block in range(stage.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H', W', C']."""
        if self.merge is not None:
            x = self.merge(x)
        for block in self.blocks:
            x = block(x)
        return x


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        dim = spec.stages[0].dim
        self.proj = nn.Conv2d(spec.channels, dim, spec.patch, spec.patch)
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, Hpx, Wpx] to [B, H, W, C]."""
        x = self.proj(images).permute(0, 2, 3, 1)  # [B, H, W, C]
        return x if self.norm is None else cast(Tensor, self.norm(x))


class ReferenceSwin(nn.Module):
    """A Swin classifier in paper form. Its `state_dict` names are the canonical names of the toolkit."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = PatchEmbed(spec)
        self.stages = nn.ModuleList(Stage(spec, index) for index in range(len(spec.stages)))
        self.norm = nn.LayerNorm(spec.stages[-1].dim, eps=spec.norm_eps)
        self.head = nn.Linear(spec.stages[-1].dim, spec.classes)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed `images` [B, channels, Hpx, Wpx] to logits [B, classes]."""
        x = self.patch_embed(images)
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.head(self.norm(x).mean(dim=(1, 2))))


def _split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """[B*nW, N, 3C] to query, key and value, each [B*nW, h, N, d]."""
    windows, tokens, channels = qkv.shape
    q, k, v = qkv.reshape(windows, tokens, 3, heads, channels // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def _weigh(scores: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Mask and normalise `scores` [B*nW, h, N, N], then weigh `v` [B*nW, h, N, d]: [B*nW, N, C]."""
    windows, heads, tokens, _ = scores.shape
    if mask is not None:
        scores = scores.reshape(-1, mask.shape[0], heads, tokens, tokens) + mask[:, None]  # [B, nW, h, N, N]
        scores = scores.reshape(windows, heads, tokens, tokens)  # [B*nW, h, N, N]
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(windows, tokens, -1)  # [B*nW, N, C]
