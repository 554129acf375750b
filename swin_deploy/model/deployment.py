"""The deployment form: the network that every stage after the fold works on.

Tokens stay in window order, and position bias and shift mask are one constant a block. What is left of Swin's
bookkeeping is one constant permutation of the stream where the partition changes (model/layout.py).
Shapes: B images, L tokens, C channels, nW windows of N tokens, h heads of d channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.form_file import read_form, write_form
from swin_deploy.checkpoint.spec import BlockGeometry, StageSpec, SwinSpec
from swin_deploy.model.layout import BlockLayout, token_layout

__all__ = ["DeploymentSwin", "open_deployment", "save_deployment"]


class WindowAttention(nn.Module):
    """Attention within windows, with one additive constant.

    Attributes:
        constant: Position bias plus shift mask, [nW or 1, h, N, N].
        logit_scale: V2 only: the clamped and exponentiated factor of the cosine scores, [h, 1, 1]. V1's scale
            stands in the query's weights instead.
    """

    constant: Tensor
    logit_scale: Tensor | None

    def __init__(self, family: str, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.heads, self.windows, self.tokens = spec.heads, geometry.windows, geometry.tokens
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim)
        self.proj = nn.Linear(spec.dim, spec.dim)
        leading = geometry.windows if geometry.shifted else 1
        self.register_buffer("constant", torch.zeros(leading, spec.heads, geometry.tokens, geometry.tokens))
        self.register_buffer("logit_scale", torch.ones(spec.heads, 1, 1) if family == "v2" else None)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        qkv = self.qkv(x)  # [B, L, 3C]
        channels = qkv.shape[-1] // 3
        qkv = qkv.reshape(-1, self.windows, self.tokens, 3, self.heads, channels // self.heads)  # [B, nW, N, 3, h, d]
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # each [B, nW, h, N, d]
        if self.logit_scale is not None:
            q, k = _unit(q, self.logit_scale), _unit(k)
        scores = q @ k.transpose(-2, -1) + self.constant  # [B, nW, h, N, N]
        x = scores.softmax(dim=-1) @ v  # [B, nW, h, N, d]
        # Windows join the batch before heads go back into the channels: TensorRT-RTX then needs no copy kernel here.
        x = x.reshape(-1, self.heads, self.tokens, channels // self.heads)  # [B*nW, h, N, d]
        x = x.transpose(1, 2).reshape(-1, self.windows * self.tokens, channels)  # [B, L, C]
        return cast(Tensor, self.proj(x))


class Block(nn.Module):
    """One block on the window-ordered stream, with the permutation that brings the stream into its order."""

    permutation: Tensor | None

    def __init__(self, spec: SwinSpec, stage: int, block: int, layout: BlockLayout) -> None:
        super().__init__()
        dims, geometry = spec.stages[stage], spec.geometry(stage, block)
        self.post_norm = spec.family == "v2"
        permutation = None if layout.permutation is None else torch.from_numpy(layout.permutation)
        self.register_buffer("permutation", permutation, persistent=False)
        self.merge = PatchMerging(spec, stage) if layout.merges else None
        self.norm1 = nn.LayerNorm(dims.dim, eps=spec.norm_eps)
        self.attn = WindowAttention(spec.family, dims, geometry)
        self.norm2 = nn.LayerNorm(dims.dim, eps=spec.norm_eps)
        self.mlp = nn.Sequential(nn.Linear(dims.dim, dims.mlp_dim), nn.GELU(), nn.Linear(dims.mlp_dim, dims.dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, L', C']."""
        if self.permutation is not None:
            x = x.index_select(1, self.permutation)  # [B, L, C], the next partition's order
        if self.merge is not None:
            x = self.merge(x)
        if self.post_norm:
            x = x + cast(Tensor, self.norm1(self.attn(x)))
            return x + cast(Tensor, self.norm2(self.mlp(x)))
        x = x + cast(Tensor, self.attn(self.norm1(x)))
        return x + cast(Tensor, self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Patch merging on a stream in which the four neighbours are adjacent: a reshape, a norm and a linear."""

    def __init__(self, spec: SwinSpec, stage: int) -> None:
        super().__init__()
        dim_in, dim_out = spec.stages[stage - 1].dim, spec.stages[stage].dim
        rows, columns = spec.feature_map(stage)
        self.tokens, self.dim_in, self.post_norm = rows * columns, dim_in, spec.family == "v2"
        self.norm = nn.LayerNorm(dim_out if self.post_norm else 4 * dim_in, eps=spec.norm_eps)
        self.reduction = nn.Linear(4 * dim_in, dim_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4L, C] to [B, L, 2C]."""
        x = x.reshape(-1, self.tokens, 4 * self.dim_in)  # [B, L, 4C]
        return cast(Tensor, self.norm(self.reduction(x)) if self.post_norm else self.reduction(self.norm(x)))


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens in raster order."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        dim = spec.stages[0].dim
        self.proj = nn.Conv2d(spec.channels, dim, spec.patch, spec.patch)
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, Hpx, Wpx] to [B, L, C]."""
        x = self.proj(images).flatten(2).transpose(1, 2)  # [B, L, C]
        return x if self.norm is None else cast(Tensor, self.norm(x))


class DeploymentSwin(nn.Module):
    """A folded Swin classifier; `swin_deploy.model.fold` fills it."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = PatchEmbed(spec)
        layout = token_layout(spec)
        self.blocks = nn.ModuleList(
            Block(spec, stage, block, plan) for (stage, block), plan in zip(spec.blocks(), layout.blocks, strict=True)
        )
        self.norm = nn.LayerNorm(spec.stages[-1].dim, eps=spec.norm_eps)
        self.head = nn.Linear(spec.stages[-1].dim, spec.classes)

    def constants(self) -> list[Tensor]:
        """The additive constant of each block, [nW or 1, h, N, N]."""
        return [cast(Block, block).attn.constant for block in self.blocks]

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed `images` [B, channels, Hpx, Wpx] to logits [B, classes].

        Images and logits are FP32 whatever the arithmetic inside (FP64 in an FP64 model), so that a caller need not
        know the precision.
        """
        inside = self.head.weight.dtype
        outside = torch.float64 if inside == torch.float64 else torch.float32
        x = self.patch_embed(images.to(inside))
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.head(self.norm(x).mean(dim=1))).to(outside)


def _unit(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """`x` [..., d] at unit length times `scale`, as `torch.nn.functional.normalize` with its default epsilon.

    In FP32 when `x` is FP16 or BF16: the squares overflow FP16, and the epsilon vanishes in it. Written without
    `normalize`, whose expand would ask an exported graph for its own shape.
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(1e-12)  # [..., 1]
    unit: Tensor = wide / length
    return (unit if scale is None else unit * scale).to(x.dtype)


def save_deployment(model: DeploymentSwin, path: Path) -> None:
    """Write weights and constants as safetensors, with the spec in the header."""
    write_form(model, model.spec, "deployment", path)


def open_deployment(path: Path) -> DeploymentSwin:
    """Read what `save_deployment` wrote, in evaluation mode and in the file's own type.

    Raises:
        BadInput: the file is no deployment artifact or is damaged.
    """
    return read_form(DeploymentSwin, "deployment", path)
