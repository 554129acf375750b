"""The oracle: Swin V1 and V2 as the papers write them, in plain PyTorch.

Nothing is folded, fused or reordered here, so that it can be read beside the papers; it is equal to timm's models
(tests/model/test_reference.py) and every later form is judged against it.
Shapes: B images, H x W tokens, C channels, nW windows of N tokens, h heads of d channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.variants.registry import find_variant
from swin_deploy.model.windows import relative_position_index, window_regions

__all__ = [
    "LOGIT_SCALE_MAX",
    "Block",
    "ReferenceSwin",
    "WindowAttentionV1",
    "WindowAttentionV2",
    "fit_image",
    "from_windows",
    "relative_coordinates",
    "split_heads",
    "tail",
    "to_windows",
]

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


class WindowAttention(nn.Module):
    """What both families share: the way from a feature map to windows and back, and the shift mask."""

    regions: Tensor | None

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.heads, self.geometry = spec.heads, geometry
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim)
        self.proj = nn.Linear(spec.dim, spec.dim)
        regions = None
        if geometry.shifted:
            regions = torch.from_numpy(window_regions(geometry.feature_map, geometry.window, geometry.shift))  # [nW, N]
        self.register_buffer("regions", regions, persistent=False)

    @property
    def mask(self) -> Tensor | None:
        """The shift mask, [nW, N, N]: made when it is read, since one a block takes gigabytes for a large image."""
        if self.regions is None:
            return None
        same = self.regions[:, :, None] == self.regions[:, None, :]  # [nW, N, N]
        # In the weights' own type, so that the module can be rounded whole.
        return torch.where(same, 0.0, self.geometry.mask_value).to(self.qkv.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows: [B, H, W, C] to the same."""
        windows = to_windows(x, self.geometry)  # [B*nW, N, C]
        return from_windows(self.attend(windows), self.geometry)

    def attend(self, x: Tensor) -> Tensor:
        """[B*nW, N, C] to the same."""
        raise NotImplementedError


class WindowAttentionV1(WindowAttention):
    """Scaled dot-product attention in a window, with a relative position bias table."""

    relative_position_index: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)
        self.scale = spec.head_dim**-0.5
        window = geometry.window
        rows = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, spec.heads))
        self.register_buffer(
            "relative_position_index", torch.from_numpy(relative_position_index(window)), persistent=False
        )

    def bias(self) -> Tensor:
        """The relative position bias, [h, N, N]."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def attend(self, x: Tensor) -> Tensor:
        """[B*nW, N, C] to the same."""
        q, k, v = split_heads(self.qkv(x), self.heads)
        scores = (q * self.scale) @ k.transpose(-2, -1) + self.bias()
        return cast(Tensor, self.proj(_weigh(scores, v, self.mask)))


class WindowAttentionV2(WindowAttention):
    """Cosine attention in a window, with a continuous relative position bias from a small MLP."""

    relative_position_index: Tensor
    relative_coords_table: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)  # the key's third of qkv's bias is zero in V2
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

    def factor(self) -> Tensor:
        """The clamped factor of the cosine scores, [h, 1, 1]."""
        return self.logit_scale.clamp(max=LOGIT_SCALE_MAX).exp()

    def attend(self, x: Tensor) -> Tensor:
        """[B*nW, N, C] to the same."""
        q, k, v = split_heads(self.qkv(x), self.heads)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return cast(Tensor, self.proj(_weigh(scores * self.factor() + self.bias(), v, self.mask)))


class Block(nn.Module):
    """A (shifted-)window attention block: pre-norm in V1, residual post-norm in V2."""

    def __init__(self, spec: SwinSpec, stage: int, block: int) -> None:
        super().__init__()
        dims, geometry, eps = spec.stages[stage], spec.geometry(stage, block), spec.norm_eps
        self.post_norm = spec.family == "v2"
        self.norm1 = nn.LayerNorm(dims.dim, eps=eps)
        self.attn = _attention(spec)(dims, geometry)
        self.norm2 = nn.LayerNorm(dims.dim, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(dims.dim, dims.mlp_dim), nn.GELU(), nn.Linear(dims.mlp_dim, dims.dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        if self.post_norm:
            x = x + cast(Tensor, self.norm1(self.attn(x)))
            return x + cast(Tensor, self.norm2(self.mlp(x)))
        x = x + cast(Tensor, self.attn(self.norm1(x)))
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Halve the resolution, double the channels; V1 normalises before the linear, V2 after it."""

    def __init__(self, family: str, dim_in: int, dim_out: int, eps: float) -> None:
        super().__init__()
        self.family = family
        self.norm = nn.LayerNorm(4 * dim_in if family == "v1" else dim_out, eps=eps)
        self.reduction = nn.Linear(4 * dim_in, dim_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to [B, H/2, W/2, 2C], rounded up: an odd map gets zeros below and to the right."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], dim=-1)
        if self.family == "v1":
            return cast(Tensor, self.reduction(self.norm(x)))
        return cast(Tensor, self.norm(self.reduction(x)))


class Stage(nn.Module):
    """One resolution level: patch merging (from the second on), then blocks."""

    def __init__(self, spec: SwinSpec, index: int) -> None:
        super().__init__()
        stage = spec.stages[index]
        merges = index > 0 and spec.merging
        before = spec.stages[index - 1].dim
        self.merge = PatchMerging(spec.family, before, stage.dim, spec.norm_eps) if merges else None
        self.blocks = nn.ModuleList(Block(spec, index, block) for block in range(stage.depth))

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
        self.spec, dim = spec, spec.stages[0].dim
        self.proj = nn.Conv2d(spec.channels, dim, spec.patch, spec.patch)
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, Hpx, Wpx] to [B, H, W, C]."""
        x = self.proj(fit_image(images, self.spec)).permute(0, 2, 3, 1)  # [B, H, W, C]
        return x if self.norm is None else cast(Tensor, self.norm(x))


class ReferenceSwin(nn.Module):
    """A Swin classifier or backbone in paper form. Its `state_dict` names are the canonical names of the toolkit."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = PatchEmbed(spec)
        self.stages = nn.ModuleList(Stage(spec, index) for index in range(len(spec.stages)))
        self.norm, self.head, self.out_norms = tail(spec)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Preprocessed `images` [B, channels, Hpx, Wpx] to the outputs that `spec.outputs` names.

        Returns:
            A classifier's logits [B, classes], or a backbone's features, [B, C, H, W] for each of its stages.
        """
        x = self.patch_embed(images)
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if self.out_norms is not None and str(index) in self.out_norms:
                features.append(self.out_norms[str(index)](x).permute(0, 3, 1, 2))  # [B, C, H, W]
        if self.head is None:
            return tuple(features) if len(features) > 1 else features[0]
        assert self.norm is not None
        return cast(Tensor, self.head(self.norm(x).mean(dim=(1, 2))))


def fit_image(images: Tensor, spec: SwinSpec) -> Tensor:
    """Pad images with zeros below and to the right, or cut them, to what the patches read: `spec.padded_image`."""
    (height, width), wanted = spec.image_size, spec.padded_image
    if wanted == spec.image_size:
        return images
    return F.pad(images, (0, wanted[1] - width, 0, wanted[0] - height))  # a negative number of zeros cuts


def tail(spec: SwinSpec) -> tuple[nn.LayerNorm | None, nn.Linear | None, nn.ModuleDict | None]:
    """The parts behind the blocks, in both forms: norm and head of a classifier, or the norms of a backbone."""
    if isinstance(spec.task, Classifier):
        dim = spec.stages[-1].dim
        return nn.LayerNorm(dim, eps=spec.norm_eps), nn.Linear(dim, spec.task.classes), None
    assert isinstance(spec.task, Backbone)
    norms = {
        str(index): nn.LayerNorm(spec.stages[index].dim, eps=spec.norm_eps) if spec.task.norms else nn.Identity()
        for index in spec.task.stages
    }
    return None, None, nn.ModuleDict(norms)


def to_windows(x: Tensor, geometry: BlockGeometry) -> Tensor:
    """Pad, roll (or roll, pad: `geometry.roll_first`) and cut a map into windows: [B, H, W, C] to [B*nW, N, C]."""
    batch, height, width, channels = x.shape
    (rows, columns), shift = geometry.window, geometry.shift
    padded = geometry.padded_map
    back = (-shift[0], -shift[1])
    if geometry.roll_first:
        x = torch.roll(x, back, dims=(1, 2))
    x = F.pad(x, (0, 0, 0, padded[1] - width, 0, padded[0] - height))  # [B, Hp, Wp, C], zeros below and right
    if not geometry.roll_first:
        x = torch.roll(x, back, dims=(1, 2))
    x = x.reshape(batch, padded[0] // rows, rows, padded[1] // columns, columns, channels)  # [B, nWh, w, nWw, w, C]
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * columns, channels)  # [B*nW, N, C]


def from_windows(x: Tensor, geometry: BlockGeometry) -> Tensor:
    """Undo `to_windows`: [B*nW, N, C] to [B, H, W, C]."""
    channels = x.shape[-1]
    (rows, columns), shift = geometry.window, geometry.shift
    (height, width), padded = geometry.feature_map, geometry.padded_map
    x = x.reshape(-1, padded[0] // rows, padded[1] // columns, rows, columns, channels)  # [B, nWh, nWw, w, w, C]
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, padded[0], padded[1], channels)  # [B, Hp, Wp, C]
    if geometry.roll_first:
        return torch.roll(x[:, :height, :width], shift, dims=(1, 2))  # [B, H, W, C]
    return torch.roll(x, shift, dims=(1, 2))[:, :height, :width]  # [B, H, W, C]


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """[B*nW, N, 3C] to query, key and value, each [B*nW, h, N, d]."""
    windows, tokens, channels = qkv.shape
    q, k, v = qkv.reshape(windows, tokens, 3, heads, channels // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def _attention(spec: SwinSpec) -> Callable[[StageSpec, BlockGeometry], nn.Module]:
    if spec.attention != "window":
        return find_variant(spec.attention)
    return WindowAttentionV1 if spec.family == "v1" else WindowAttentionV2


def _weigh(scores: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Mask and normalise `scores` [B*nW, h, N, N], then weigh `v` [B*nW, h, N, d]: [B*nW, N, C]."""
    windows, heads, tokens, _ = scores.shape
    if mask is not None:
        scores = scores.reshape(-1, mask.shape[0], heads, tokens, tokens) + mask[:, None]  # [B, nW, h, N, N]
        scores = scores.reshape(windows, heads, tokens, tokens)  # [B*nW, h, N, N]
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(windows, tokens, -1)  # [B*nW, N, C]
