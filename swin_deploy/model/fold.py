"""Fold the paper form into the deployment form, exactly, and prove it.

Everything is computed in float64 and rounded once, so the fold adds no error beyond the result type's own rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from swin_deploy.model import deployment, reference
from swin_deploy.model.forms import build_deployment, build_reference, spec_of
from swin_deploy.model.restoration import ReferenceRestoration

__all__ = ["FoldProof", "fold", "prove"]

# The proof's bound in float64: the two forms differ by the order of additions only.
PROOF_BOUND = 1e-10
# An output that is all zeros has no size of its own to divide by.
_TINY = 1e-300


@dataclass(frozen=True)
class FoldProof:
    """How far the two forms are apart in float64.

    Attributes:
        relative_error: max|folded - reference| / max|reference|, the largest over the outputs.
        images: How many random images were compared.
    """

    relative_error: float
    images: int

    @property
    def holds(self) -> bool:
        """Whether the forms are the same function up to float64 rounding."""
        return self.relative_error <= PROOF_BOUND


@torch.no_grad()
def fold(model: nn.Module, *, affine: bool = False) -> nn.Module:
    """Make the deployment form of `model`, in the same type as `model`.

    Args:
        model: The paper form.
        affine: Also fold each pre-norm's scale and shift into the linear behind it (V1 only). Off by default: a
            LayerNormalization kernel applies them for free, and INT8 tools write into them.
    """
    spec = spec_of(model)
    dtype = next(model.parameters()).dtype
    # Rebuilt rather than converted, so that tables are taken at full precision only where the model has it.
    source = build_reference(spec).double()
    source.load_state_dict(model.state_dict())
    target = build_deployment(spec).double()
    for name, state in _around(source).items():
        cast(nn.Module, getattr(target, name)).load_state_dict(state)
    blocks = iter(cast(nn.ModuleList, target.blocks))
    for stage in cast(nn.ModuleList, source.stages):
        for index, block in enumerate(cast(reference.Stage, stage).blocks):
            folded = cast(deployment.Block, next(blocks))
            if index == 0 and folded.merge is not None:
                folded.merge.load_state_dict(cast(nn.Module, stage.merge).state_dict())
            _fold_block(cast(reference.Block, block), folded)
    if affine and spec.family == "v1":
        _fold_affine(target)
    return target.to(dtype).eval()


@torch.no_grad()
def prove(model: nn.Module, *, affine: bool = False, images: int = 2, seed: int = 0) -> FoldProof:
    """Compare both forms in float64 on random images; the weights are those of `model`."""
    spec = spec_of(model)
    exact = build_reference(spec).double().eval()
    exact.load_state_dict(model.state_dict())
    folded = fold(exact, affine=affine)
    generator = torch.Generator().manual_seed(seed)
    worst = 0.0
    for _ in range(images):  # one at a time, since dense outputs in float64 are large
        batch = torch.randn(1, spec.channels, *spec.image_size, generator=generator, dtype=torch.float64)
        for wanted, got in zip(_outputs(exact(batch)), _outputs(folded(batch)), strict=True):
            error = float((got - wanted).abs().max() / wanted.abs().max().clamp_min(_TINY))
            worst = max(worst, math.inf if math.isnan(error) else error)  # a maximum lets NaN through
    return FoldProof(worst, images)


def _outputs(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def _around(source: nn.Module) -> Mapping[str, Mapping[str, Tensor]]:
    """The weights around the blocks, by the name that their part has in both forms."""
    if isinstance(source, ReferenceRestoration):
        return source.folded_around()
    return {name: part.state_dict() for name, part in source.named_children() if name != "stages"}


def _fold_block(block: reference.Block, folded: deployment.Block) -> None:
    folded.norm1.load_state_dict(block.norm1.state_dict())
    folded.norm2.load_state_dict(block.norm2.state_dict())
    folded.mlp.load_state_dict(block.mlp.state_dict())
    twin = getattr(block.attn, "folded", None)
    if twin is not None:  # first, since a variant's may derive from the window's
        folded.attn.load_state_dict(twin().state_dict())
    elif isinstance(folded.attn, deployment.RasterAttention):
        folded.attn.paper.load_state_dict(block.attn.state_dict())
    else:
        assert isinstance(folded.attn, deployment.WindowAttention)
        fold_window_attention(cast(reference.WindowAttention, block.attn), folded.attn)


@torch.no_grad()
def fold_window_attention(attention: reference.WindowAttention, target: deployment.WindowAttention) -> None:
    """Fill `target` so that it is `attention` on the window-ordered stream."""
    heads, dim = attention.heads, attention.proj.out_features
    head_dim = dim // heads
    scaled = isinstance(attention, reference.WindowAttentionV1)
    weight = attention.qkv.weight.reshape(3, heads, head_dim, dim).clone()
    bias = attention.qkv.bias.reshape(3, heads, head_dim).clone()
    if scaled:
        weight[0] *= cast(reference.WindowAttentionV1, attention).scale
        bias[0] *= cast(reference.WindowAttentionV1, attention).scale
    for parameter in (target.qkv.weight, target.qkv.bias, target.proj.weight):
        parameter.zero_()  # where a head has zero channels more, they stay zero
    target.qkv.weight.view(3, heads, target.head_dim, dim)[:, :, :head_dim] = weight
    target.qkv.bias.view(3, heads, target.head_dim)[:, :, :head_dim] = bias
    projection = attention.proj.weight.reshape(dim, heads, head_dim)
    target.proj.weight.view(dim, heads, target.head_dim)[:, :, :head_dim] = projection
    target.proj.bias.copy_(attention.proj.bias)
    position = cast(reference.WindowAttentionV1 | reference.WindowAttentionV2, attention).bias()  # [h, N, N]
    target.constant.copy_(_constant(position, None if target.mask is not None else attention.mask))
    if isinstance(attention, reference.WindowAttentionV2):
        cast(Tensor, target.logit_scale)[0].copy_(attention.factor()[:, 0])  # [h, 1]; the key's are ones


def _constant(bias: Tensor, mask: Tensor | None) -> Tensor:
    """Position bias [h, N, N] plus shift mask [nW, N, N]: [nW or 1, h, N, N]."""
    return bias[None] if mask is None else bias[None] + mask[:, None]


def _fold_affine(model: nn.Module) -> None:
    """Move each pre-norm's scale and shift into its linear, and a classifier's last norm's, across the mean, too."""
    for module in cast(nn.ModuleList, model.blocks):
        block = cast(deployment.Block, module)
        # A padded token is zero behind norm1: with the shift in qkv's bias it would be another than in training.
        if type(block.attn) is deployment.WindowAttention and block.real is None:
            _absorb(block.norm1, block.attn.qkv)
        _absorb(block.norm2, cast(nn.Linear, block.mlp[0]))
    if isinstance(model, deployment.DeploymentSwin) and model.norm is not None and model.head is not None:
        _absorb(model.norm, model.head)


def _absorb(norm: nn.LayerNorm, linear: nn.Linear) -> None:
    linear.bias.add_(linear.weight @ norm.bias)
    linear.weight.mul_(norm.weight)
    norm.weight.fill_(1.0)
    norm.bias.zero_()
