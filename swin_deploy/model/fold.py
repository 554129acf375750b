"""Fold the paper form into the deployment form, exactly, and prove it.

Everything is computed in float64 and rounded once, so the fold adds no error beyond the result type's own rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from swin_deploy.model import deployment, reference
from swin_deploy.model.deployment import DeploymentSwin
from swin_deploy.model.reference import ReferenceSwin

__all__ = ["FoldProof", "fold", "prove"]

# The proof's bound in float64: the two forms differ by the order of additions only.
PROOF_BOUND = 1e-10


@dataclass(frozen=True)
class FoldProof:
    """How far the two forms are apart in float64.

    Attributes:
        relative_error: max|folded - reference| / max|reference| over the logits.
        images: How many random images were compared.
    """

    relative_error: float
    images: int

    @property
    def holds(self) -> bool:
        """Whether the forms are the same function up to float64 rounding."""
        return self.relative_error <= PROOF_BOUND


@torch.no_grad()
def fold(model: ReferenceSwin, *, affine: bool = False) -> DeploymentSwin:
    """Make the deployment form of `model`, in the same type as `model`.

    Args:
        model: The paper form.
        affine: Also fold each pre-norm's scale and shift into the linear behind it (V1 only). Off by default: a
            LayerNormalization kernel applies them for free, and INT8 tools write into them.
    """
    dtype = model.head.weight.dtype
    source = ReferenceSwin(model.spec).double()
    source.load_state_dict(model.state_dict())
    # Rebuilt rather than converted, so that tables are taken at full precision only where the model has it.
    target = DeploymentSwin(model.spec).double()
    target.patch_embed.load_state_dict(source.patch_embed.state_dict())
    target.norm.load_state_dict(source.norm.state_dict())
    target.head.load_state_dict(source.head.state_dict())
    blocks = iter(target.blocks)
    for stage in source.stages:
        for index, block in enumerate(cast(reference.Stage, stage).blocks):
            folded = cast(deployment.Block, next(blocks))
            if index == 0 and folded.merge is not None:
                folded.merge.load_state_dict(cast(nn.Module, stage.merge).state_dict())
            _fold_block(cast(reference.Block, block), folded)
    if affine and model.spec.family == "v1":
        _fold_affine(target)
    return target.to(dtype).eval()


@torch.no_grad()
def prove(model: ReferenceSwin, *, affine: bool = False, images: int = 2, seed: int = 0) -> FoldProof:
    """Compare both forms in float64 on random images; the weights are those of `model`."""
    exact = ReferenceSwin(model.spec).double().eval()
    exact.load_state_dict(model.state_dict())
    height, width = model.spec.image_size
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randn(images, model.spec.channels, height, width, generator=generator, dtype=torch.float64)
    wanted, got = exact(batch), fold(exact, affine=affine)(batch)
    return FoldProof(float((got - wanted).abs().max() / wanted.abs().max()), images)


def _fold_block(block: reference.Block, folded: deployment.Block) -> None:
    folded.norm1.load_state_dict(block.norm1.state_dict())
    folded.norm2.load_state_dict(block.norm2.state_dict())
    folded.mlp.load_state_dict(block.mlp.state_dict())
    attention, target = block.attn, folded.attn
    target.qkv.load_state_dict(attention.qkv.state_dict())
    target.proj.load_state_dict(attention.proj.state_dict())
    target.constant.copy_(_constant(attention.bias(), block.mask))
    if isinstance(attention, reference.WindowAttentionV2):
        cast(Tensor, target.logit_scale).copy_(attention.scale())
    else:
        queries = attention.qkv.out_features // 3
        target.qkv.weight[:queries] *= attention.scale
        target.qkv.bias[:queries] *= attention.scale


def _constant(bias: Tensor, mask: Tensor | None) -> Tensor:
    """Position bias [h, N, N] plus shift mask [nW, N, N]: [nW or 1, h, N, N]."""
    return bias[None] if mask is None else bias[None] + mask[:, None]


def _fold_affine(model: DeploymentSwin) -> None:
    """Move each pre-norm's scale and shift into its linear, and the last norm's, across the mean, into the head."""
    for module in model.blocks:
        block = cast(deployment.Block, module)
        _absorb(block.norm1, block.attn.qkv)
        _absorb(block.norm2, cast(nn.Linear, block.mlp[0]))
    _absorb(model.norm, model.head)


def _absorb(norm: nn.LayerNorm, linear: nn.Linear) -> None:
    linear.bias.add_(linear.weight @ norm.bias)
    linear.weight.mul_(norm.weight)
    norm.weight.fill_(1.0)
    norm.bias.zero_()
