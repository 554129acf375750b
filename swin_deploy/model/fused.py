"""The fused form: a second wiring of the deployment form's weights, out of fused operators.

Between the operators stand reshapes that cost nothing. Tokens keep one order a stage (model/stream_order.py), so that
nothing permutes them; only an odd map's merging and the outputs of a backbone gather.
Shapes: B images, L tokens, C channels.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.errors import UsageFault
from swin_deploy.model import deployment
from swin_deploy.model.forms import spec_of
from swin_deploy.model.fused_layers import (
    AddNorm,
    Affine,
    Attention,
    Linear,
    Mlp,
    Patches,
    TokenMean,
    Tokens,
    Windows,
    Wiring,
    make_linear,
    make_mlp,
)
from swin_deploy.model.fusion_plan import FusionPlan
from swin_deploy.model.reference import fit_image
from swin_deploy.model.restoration import DeploymentRestoration
from swin_deploy.model.stream_order import merged_positions, raster_positions, stream_orders, window_positions
from swin_deploy.model.windows import IntArray

if TYPE_CHECKING:
    from swin_deploy.kernels.operators import Operators

__all__ = ["FusedSwin", "fuse", "unfusible"]


def unfusible(spec: SwinSpec) -> str | None:
    """Why a Swin of `spec` has no fused form, or `None`."""
    if spec.attention != "window":
        return f"there is no fused operator for the attention {spec.attention}"
    return None


@torch.no_grad()
def fuse(model: nn.Module, plan: FusionPlan, dtype: torch.dtype, operators: Operators) -> nn.Module:
    """The fused form of `model`.

    Weights that a norm's scale goes into are computed in FP64 and rounded once; of a model in half precision they have
    been rounded before.

    Args:
        model: The deployment form, which is left as it is.
        plan: What is fused.
        dtype: What the fused form computes in: FP16, BF16, FP32; FP64 with the twins alone.
        operators: Who computes the fused operators.

    Returns:
        In evaluation mode on the device of `model`, from images [B, c, Hpx, Wpx] to the outputs of `model`, in FP32
        (FP64 in an FP64 form). Each of its `fused_layers.Layer`s has a `case`, the key of its tiles in `plan.tiles`.

    Raises:
        UsageFault: there is no such form.
    """
    spec = spec_of(model)
    reason = unfusible(spec)
    if reason:
        raise UsageFault(reason, needed="plain window attention", do="Use the deployment form")
    if plan.linears != "half" and dtype not in (torch.float16, torch.bfloat16):
        raise UsageFault(f"linears in {plan.linears} in a form in {dtype}", needed="FP16 or BF16 around them")
    wiring = Wiring(plan, dtype, operators)
    fused: nn.Module
    if isinstance(model, DeploymentRestoration):
        fused = _restoration(wiring, model)
    else:
        fused = FusedSwin(wiring, cast(deployment.DeploymentSwin, model))
    return fused.to(next(model.parameters()).device).eval().requires_grad_(False)


class FusedSwin(nn.Module):
    """A fused classifier or backbone."""

    def __init__(self, wiring: Wiring, source: deployment.DeploymentSwin) -> None:
        super().__init__()
        self.spec = spec = source.spec
        orders = stream_orders(spec)
        embed = source.patch_embed
        self.patch_embed = Patches(wiring, embed.proj, embed.norm, torch.from_numpy(orders[0]))
        self.blocks = _blocks(wiring, spec, source.blocks, orders)
        self.exits = nn.ModuleDict()
        for name, exit_ in source.exits.items():
            stage = cast(deployment.Exit, exit_).stage
            norm = cast(nn.ModuleDict, source.out_norms)[str(stage)]
            own = AddNorm(wiring, norm) if isinstance(norm, nn.LayerNorm) else nn.Identity()
            leaving = _unless_identity(raster_positions(orders[stage]))
            self.exits[name] = nn.Sequential(own, deployment.Exit(stage, spec.feature_map(stage), leaving))
        self.mean = self.head = None
        if source.norm is not None and source.head is not None:
            self.mean = TokenMean(wiring, source.norm)
            with_bias = replace(wiring, plan=replace(wiring.plan, epilogues=wiring.plan.head))
            self.head = Linear(with_bias, Affine.of(source.head))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Preprocessed `images` [B, channels, Hpx, Wpx] to the outputs that `spec.outputs` names, in FP32."""
        found = self.inner(images)
        outside = deployment.outer_type(self.patch_embed.weight.dtype)
        return tuple(tensor.to(outside) for tensor in found) if isinstance(found, tuple) else found.to(outside)

    def inner(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The same, the outputs in the type of the stream."""
        x = self.patch_embed(fit_image(images, self.spec))  # [B, L, C]
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if str(index) in self.exits:
                features.append(self.exits[str(index)](x))  # [B, C, H, W]
        if self.head is None or self.mean is None:
            return tuple(features) if len(features) > 1 else features[0]
        return cast(Tensor, self.head(self.mean(x)))


class FusedBlock(nn.Module):
    """One block, with the patch merging before it where there is one."""

    def __init__(
        self, wiring: Wiring, source: deployment.Block, windows: Windows, merged: IntArray | None, eps: float
    ) -> None:
        super().__init__()
        attention = source.attn
        assert type(attention) is deployment.WindowAttention
        first, second = cast(nn.Linear, source.mlp[0]), cast(nn.Linear, source.mlp[2])
        before = None if source.post_norm else eps
        self.merge = None if source.merge is None else FusedMerging(wiring, source.merge, merged)
        self.qkv = make_linear(wiring, _behind(source.norm1, attention.qkv, before), norm=before)
        self.attention = Attention(wiring, attention, windows)
        self.proj = make_linear(wiring, Affine.of(attention.proj))
        self.norm1 = AddNorm(wiring, source.norm1) if source.post_norm else None
        self.mlp: Mlp | None = None
        self.first = self.second = self.norm2 = None
        widened = _behind(source.norm2, first, before)
        if first.in_features <= wiring.plan.mlp_channels:
            self.mlp = Mlp(wiring, widened, Affine.of(second), source.norm2 if source.post_norm else None, eps)
            return
        self.first, self.second = make_mlp(wiring, widened, Affine.of(second), norm=before)
        self.norm2 = AddNorm(wiring, source.norm2) if source.post_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, L', C']."""
        if self.merge is not None:
            x = self.merge(x)
        y = self.attention(self.qkv(x))  # [B, L, h*d]
        x = self.proj(y, x) if self.norm1 is None else self.norm1(self.proj(y), x)
        if self.mlp is not None:
            return cast(Tensor, self.mlp(x))
        assert self.first is not None and self.second is not None
        y = self.first(x)  # [B, L, F]
        return cast(Tensor, self.second(y, x) if self.norm2 is None else self.norm2(self.second(y), x))


class FusedMerging(nn.Module):
    """Patch merging: four neighbours are adjacent, so that it is a linear on a reshaped stream."""

    def __init__(self, wiring: Wiring, source: deployment.PatchMerging, positions: IntArray | None) -> None:
        super().__init__()
        self.inner = 4 * source.dim_in
        self.tokens = None if positions is None else Tokens(torch.from_numpy(positions))
        before = None if source.post_norm else source.norm.eps
        self.reduction = make_linear(wiring, _behind(source.norm, source.reduction, before), norm=before)
        self.norm = AddNorm(wiring, source.norm) if source.post_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4L, C] to [B, L, 2C]."""
        if self.tokens is not None:
            x = self.tokens(x)
        x = x.reshape(x.shape[0], -1, self.inner)  # [B, L, 4C]
        x = self.reduction(x)
        return x if self.norm is None else cast(Tensor, self.norm(x))


def _restoration(wiring: Wiring, source: DeploymentRestoration) -> nn.Module:
    """The deployment form with its blocks and norms fused: it has its tokens in raster order outside of them."""
    spec, first = source.spec, source.patch_embed.norm
    fused = copy.deepcopy(source).to(wiring.dtype)
    fused.blocks = _blocks(wiring, spec, source.blocks, stream_orders(spec))
    fused.norm = cast(nn.LayerNorm, AddNorm(wiring, source.norm))
    fused.patch_embed.norm = None if first is None else cast(nn.LayerNorm, AddNorm(wiring, first))
    for name, exit_ in source.exits.items():
        stage = cast(deployment.Exit, exit_).stage
        fused.exits[name] = deployment.Exit(stage, spec.feature_map(stage), None)
    return fused


def _blocks(wiring: Wiring, spec: SwinSpec, sources: nn.ModuleList, orders: tuple[IntArray, ...]) -> nn.ModuleList:
    shared: dict[object, Windows] = {}
    blocks = nn.ModuleList()
    for (stage, index), module in zip(spec.blocks(), sources, strict=True):
        source, geometry = cast(deployment.Block, module), spec.geometry(stage, index)
        attention = cast(deployment.WindowAttention, source.attn)
        key = (stage if spec.merging else 0, geometry)
        if key not in shared:
            positions = torch.from_numpy(window_positions(orders[stage], geometry))
            shared[key] = Windows(wiring, positions, None if attention.mask is None else attention.mask.values)
        merged = None if source.merge is None else merged_positions(spec, stage, orders)
        blocks.append(FusedBlock(wiring, source, shared[key], merged, spec.norm_eps))
    return blocks


def _behind(norm: nn.LayerNorm, linear: nn.Linear, before: float | None) -> Affine:
    """`linear`, with the scale and shift of `norm` where that stands before it."""
    return Affine.of(linear, None if before is None else norm)


def _unless_identity(positions: IntArray) -> IntArray | None:
    return None if np.array_equal(positions, np.arange(len(positions))) else positions
