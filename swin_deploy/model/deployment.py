"""The deployment form: the network that every stage after the fold works on.

Tokens stay in window order, and position bias and shift mask are one constant a block. What is left of Swin's
bookkeeping is one constant permutation of the stream where the partition changes (model/layout.py).
Shapes: B images, L tokens, C channels, nW windows of N tokens, h heads of d channels.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.model.constants import joins
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.layout import BlockLayout, BoolArray, TokenLayout, reorder, token_layout
from swin_deploy.model.reference import fit_image, tail
from swin_deploy.model.variants.registry import find_variant
from swin_deploy.model.windows import IntArray, shift_mask, window_order

__all__ = [
    "Block",
    "DeploymentSwin",
    "Exit",
    "PatchEmbed",
    "RasterAttention",
    "WindowAttention",
    "additive_constants",
    "fusible_head_dim",
    "make_blocks",
    "make_exits",
    "outer_type",
    "unit_vectors",
]


class WindowAttention(nn.Module):
    """Attention within windows, with one additive constant.

    Attributes:
        constant: Position bias plus shift mask, [nW or 1, h, N, N]; the bias alone where the two are kept apart.
        mask: The shift mask of a shifted block where the two are kept apart, else `None`.
        logit_scale: V2 only: what the unit vectors are multiplied by, [2, h, 1]: the clamped and exponentiated factor
            of the cosine scores for the query, ones for the key. V1's scale stands in the query's weights instead.
    """

    constant: Tensor
    logit_scale: Tensor | None

    def __init__(self, family: str, spec: StageSpec, geometry: BlockGeometry, mask: ShiftMask | None = None) -> None:
        super().__init__()
        self.heads, self.windows, self.tokens = spec.heads, geometry.windows, geometry.tokens
        self.head_dim = fusible_head_dim(spec.head_dim)
        self.qkv = nn.Linear(spec.dim, 3 * self.heads * self.head_dim)
        self.proj = nn.Linear(self.heads * self.head_dim, spec.dim)
        leading = geometry.windows if geometry.shifted and mask is None else 1
        self.register_buffer("constant", torch.zeros(leading, spec.heads, geometry.tokens, geometry.tokens))
        self.mask = mask
        self.register_buffer("logit_scale", torch.ones(2, spec.heads, 1) if family == "v2" else None)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        qkv = self.qkv(x)  # [B, L, 3*h*d]
        qkv = qkv.reshape(-1, self.windows, self.tokens, 3, self.heads, self.head_dim)  # [B, nW, N, 3, h, d]
        q, k, v = self._split(qkv)  # each [B, nW, h, N, d]
        scores = q @ k.transpose(-2, -1) + self.constant  # [B, nW, h, N, N]
        if self.mask is not None:
            scores = scores + self.mask.values
        x = scores.softmax(dim=-1) @ v  # [B, nW, h, N, d]
        # The projection works on rows with a window's tokens outermost: TensorRT for RTX then needs no copy kernel
        # before it, in INT8 neither, as long as what is transposed has three axes.
        x = x.reshape(-1, self.tokens, self.head_dim).transpose(0, 1)  # [N, B*nW*h, d]
        x = self.proj(x.reshape(self.tokens, -1, self.heads * self.head_dim))  # [N, B*nW, C]
        return x.transpose(0, 1).reshape(-1, self.windows * self.tokens, x.shape[-1])  # [B, L, C]

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, nW, N, 3, h, d] to query, key and value, each [B, nW, h, N, d]; V2's first two as unit vectors."""
        if self.logit_scale is None:
            q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
            return q, k, v
        # Both at once and before the permutation, which saves TensorRT for RTX a kernel a block.
        units = unit_vectors(qkv[:, :, :, :2], self.logit_scale)  # [B, nW, N, 2, h, d]
        q, k = units.permute(3, 0, 1, 4, 2, 5).unbind(0)
        return q, k, qkv[:, :, :, 2:].squeeze(3).transpose(2, 3)


class ShiftMask(nn.Module):
    """The shift mask of one geometry, [nW, 1, N, N]: a module, so that blocks share it whatever its type becomes."""

    values: Tensor

    def __init__(self, geometry: BlockGeometry) -> None:
        super().__init__()
        values = shift_mask(geometry.feature_map, geometry.window, geometry.shift, geometry.mask_value)  # [nW, N, N]
        mask = torch.from_numpy(values)[:, None].to(torch.get_default_dtype())  # [nW, 1, N, N]
        self.register_buffer("values", mask, persistent=False)


class RasterAttention(nn.Module):
    """A user's own attention, which nothing is known of: the stream goes into raster order for it, and back."""

    to_raster: Tensor | None
    to_stream: Tensor | None

    def __init__(self, paper: nn.Module, geometry: BlockGeometry) -> None:
        super().__init__()
        self.paper, self.feature_map = paper, geometry.feature_map
        order = window_order(geometry.feature_map, geometry.window, geometry.shift, roll_first=geometry.roll_first)
        raster = np.arange(geometry.feature_map[0] * geometry.feature_map[1], dtype=np.int64)
        for name, positions in (("to_raster", reorder(order, raster)), ("to_stream", reorder(raster, order))):
            self.register_buffer(name, _index(positions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        channels = x.shape[-1]
        if self.to_raster is not None:
            x = x.index_select(1, self.to_raster)  # [B, H*W, C]
        x = self.paper(x.reshape(-1, *self.feature_map, channels))  # [B, H, W, C]
        x = x.reshape(-1, self.feature_map[0] * self.feature_map[1], channels)  # [B, H*W, C]
        return x if self.to_stream is None else x.index_select(1, self.to_stream)  # [B, L, C]


class Block(nn.Module):
    """One block on the window-ordered stream, with the permutations into its own order and into the next block's."""

    permutation: Tensor | None
    leaving: Tensor | None
    real: Tensor | None

    def __init__(
        self, spec: SwinSpec, stage: int, block: int, layout: BlockLayout, mask: ShiftMask | None = None
    ) -> None:
        super().__init__()
        dims, geometry = spec.stages[stage], spec.geometry(stage, block)
        self.post_norm = spec.family == "v2"
        self.register_buffer("permutation", _index(layout.permutation), persistent=False)
        self.register_buffer("leaving", _index(layout.leaving), persistent=False)
        self.register_buffer("real", _column(layout.real), persistent=False)
        self.merge = PatchMerging(spec, stage, layout) if layout.merges else None
        self.norm1 = nn.LayerNorm(dims.dim, eps=spec.norm_eps)
        self.attn = _attention(spec, dims, geometry, mask)
        self.norm2 = nn.LayerNorm(dims.dim, eps=spec.norm_eps)
        self.mlp = nn.Sequential(nn.Linear(dims.dim, dims.mlp_dim), nn.GELU(), nn.Linear(dims.mlp_dim, dims.dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, L', C']."""
        if self.permutation is not None:
            x = x.index_select(1, self.permutation)  # [B, L, C], the next partition's order
        if self.merge is not None:
            x = self.merge(x)
        if self.post_norm:
            return self._post_norm(x)
        x = x + cast(Tensor, self.attn(self._without_padding(self.norm1(x))))
        return x + cast(Tensor, self.mlp(self.norm2(x)))

    def _post_norm(self, x: Tensor) -> Tensor:
        """V2: [B, L, C] to [B, L'', C], in the order that leaves."""
        length, channels = x.shape[1:]
        y = self.attn(self._without_padding(x))
        # All tokens in one row: TensorRT for RTX then fuses bias and GELU into the product before them.
        x = x.reshape(1, -1, channels) + self.norm1(y.reshape(1, -1, channels))  # [1, B*L, C]
        y = self.mlp(x)
        x, y = x.reshape(-1, length, channels), y.reshape(-1, length, channels)  # each [B, L, C]
        if self.leaving is not None:  # before the norm, whose kernel then reads in the new order
            x, y = x.index_select(1, self.leaving), y.index_select(1, self.leaving)  # each [B, L'', C]
        return x + cast(Tensor, self.norm2(y))

    def _without_padding(self, x: Tensor) -> Tensor:
        """Zeros in padded tokens, which every code base has at the input of qkv."""
        return x if self.real is None else x * self.real


def _attention(spec: SwinSpec, dims: StageSpec, geometry: BlockGeometry, mask: ShiftMask | None) -> nn.Module:
    if spec.attention == "window":
        return WindowAttention(spec.family, dims, geometry, mask)
    paper = find_variant(spec.attention)(dims, geometry)
    twin = getattr(paper, "folded", None)
    if twin is not None:
        return cast(nn.Module, twin())
    return RasterAttention(paper, geometry)


def fusible_head_dim(head_dim: int) -> int:
    """Channels of a head in the deployment form: `head_dim`, or with zero channels up to what engines fuse.

    TensorRT fuses attention with heads of 16 to 256 channels, divisible by 8 (its own documentation). A zero channel in
    query, key and value adds nothing to any score and gives a zero output, which a zero column of the projection takes.
    Source: NVIDIA TensorRT documentation, "Working with Transformers", fused attention.
    """
    if head_dim > 256:
        return head_dim
    return max(16, -(-head_dim // 8) * 8)


class PatchMerging(nn.Module):
    """Patch merging on a stream in which the four neighbours are adjacent: a reshape, a norm and a linear."""

    real: Tensor | None

    def __init__(self, spec: SwinSpec, stage: int, layout: BlockLayout) -> None:
        super().__init__()
        dim_in, dim_out = spec.stages[stage - 1].dim, spec.stages[stage].dim
        rows, columns = spec.geometry(stage, 0).padded_map
        self.tokens, self.dim_in, self.post_norm = rows * columns, dim_in, spec.family == "v2"
        self.register_buffer("real", _column(layout.merged), persistent=False)
        self.norm = nn.LayerNorm(dim_out if self.post_norm else 4 * dim_in, eps=spec.norm_eps)
        self.reduction = nn.Linear(4 * dim_in, dim_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4L, C] to [B, L, 2C]."""
        if self.real is not None:
            x = x * self.real  # an odd map's padding is zero
        x = x.reshape(-1, self.tokens, 4 * self.dim_in)  # [B, L, 4C]
        return cast(Tensor, self.norm(self.reduction(x)) if self.post_norm else self.reduction(self.norm(x)))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens in the order of the first block's windows."""

    order: Tensor | None

    def __init__(self, spec: SwinSpec, order: IntArray | None) -> None:
        super().__init__()
        dim = spec.stages[0].dim
        self.spec = spec
        self.register_buffer("order", _index(order), persistent=False)
        self.proj = nn.Conv2d(spec.channels, dim, spec.patch, spec.patch)
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, Hpx, Wpx] to [B, L, C]."""
        x = self.proj(fit_image(images, self.spec)).flatten(2).transpose(1, 2)  # [B, L, C]
        if self.order is not None:
            x = x.index_select(1, self.order)  # [B, L, C], in window order
        return x if self.norm is None else cast(Tensor, self.norm(x))


class DeploymentSwin(nn.Module):
    """A folded Swin classifier or backbone; `swin_deploy.model.fold` fills it."""

    end: Tensor | None

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        layout = token_layout(spec)
        self.patch_embed = PatchEmbed(spec, layout.entry)
        self.blocks = make_blocks(spec, layout)
        self.exits = make_exits(spec, layout)
        self.register_buffer("end", _index(layout.end), persistent=False)
        self.norm, self.head, self.out_norms = tail(spec)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Preprocessed `images` [B, channels, Hpx, Wpx] to the outputs that `spec.outputs` names.

        Images and outputs are FP32 whatever the arithmetic inside (FP64 in an FP64 model), so that a caller need not
        know the precision.

        Returns:
            A classifier's logits [B, classes], or a backbone's features, [B, C, H, W] for each of its stages.
        """
        inside = self.patch_embed.proj.weight.dtype
        outside = outer_type(inside)
        x = self.patch_embed(images.to(inside))
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            name = str(index)
            if name in self.exits:
                exit_ = cast(Exit, self.exits[name])
                assert self.out_norms is not None
                features.append(exit_(self.out_norms[str(exit_.stage)](x)).to(outside))  # [B, C, H, W]
        if self.head is None:
            return tuple(features) if len(features) > 1 else features[0]
        assert self.norm is not None
        if self.end is not None:
            x = x.index_select(1, self.end)  # [B, H*W, C], without padding
        return cast(Tensor, self.head(self.norm(x).mean(dim=1))).to(outside)


class Exit(nn.Module):
    """The way out of the stream behind a stage: [B, L, C] in window order to [B, C, H, W]."""

    positions: Tensor | None

    def __init__(self, stage: int, feature_map: tuple[int, int], positions: IntArray | None) -> None:
        super().__init__()
        self.stage, self.feature_map = stage, feature_map
        self.register_buffer("positions", _index(positions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, C, H, W]."""
        if self.positions is not None:
            x = x.index_select(1, self.positions)  # [B, H*W, C]
        return x.transpose(1, 2).reshape(-1, x.shape[2], *self.feature_map)  # [B, C, H, W]


def make_blocks(spec: SwinSpec, layout: TokenLayout) -> nn.ModuleList:
    """Every block in order; shifted blocks of one geometry share one mask where masks are kept apart."""
    masks: dict[BlockGeometry, ShiftMask] = {}
    apart = not joins(spec)
    blocks = nn.ModuleList()
    for (stage, block), plan in zip(spec.blocks(), layout.blocks, strict=True):
        geometry = spec.geometry(stage, block)
        mask = None
        if apart and geometry.shifted:
            if geometry not in masks:
                masks[geometry] = ShiftMask(geometry)
            mask = masks[geometry]
        blocks.append(Block(spec, stage, block, plan, mask))
    return blocks


def make_exits(spec: SwinSpec, layout: TokenLayout) -> nn.ModuleDict:
    """The way out behind the last block of each stage whose features leave, by that block's index."""
    exits, last = nn.ModuleDict(), -1
    for stage, entry in enumerate(spec.stages):
        last += entry.depth
        if stage in layout.exits:
            exits[str(last)] = Exit(stage, spec.feature_map(stage), layout.exits[stage])
    return exits


def additive_constants(model: nn.Module) -> list[Tensor]:
    """The additive constant of each window attention, [nW or 1, h, N, N], in the order of the blocks."""
    return [module.constant for module in model.modules() if isinstance(module, WindowAttention)]


def outer_type(inside: torch.dtype) -> torch.dtype:
    """The type of images and outputs of a model that computes in `inside`."""
    return torch.float64 if inside == torch.float64 else torch.float32


def _index(positions: IntArray | None) -> Tensor | None:
    return None if positions is None else torch.from_numpy(positions)


def _column(real: BoolArray | None) -> Tensor | None:
    """1 for a token and 0 for padding, [L, 1]."""
    return None if real is None else torch.from_numpy(real)[:, None].to(torch.get_default_dtype())


def unit_vectors(x: Tensor, scale: Tensor | float) -> Tensor:
    """`x` [..., d] at unit length times `scale`, as `torch.nn.functional.normalize` with its default epsilon.

    In FP32 when `x` is FP16 or BF16: the squares overflow FP16, and the epsilon vanishes in it. Written without
    `normalize`, whose expand would ask an exported graph for its own shape.
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(1e-12)  # [..., 1]
    unit: Tensor = wide / length * scale
    return unit.to(x.dtype)
