"""Performer attention in a window: FAVOR+, the softmax kernel by positive orthogonal random features.

Source: Choromanski et al., "Rethinking Attention with Performers" (2021), lemma 1 and section 2.4. With x = q or k,
each times d^(-1/4), and m random features w_f:

    phi_f(x) = exp(w_f x - |x|^2 / 2) / sqrt(m)      E[phi(q) phi(k)] = exp(q k), the softmax kernel
    out_i = phi(q_i) S / (phi(q_i) z)                S = sum_j phi(k_j) v_j^T,  z = sum_j phi(k_j)

1/sqrt(m) and the query's exp(-|q|^2 / 2) stand above and below the line, and cancel.

*Regions.* S and z are sums over tokens, so a mask of pairs comes too late for them: they are sums over the tokens of
one region, and a query takes those of its own. That holds for the stabiliser too, which a foreign token would otherwise
change, and with it the rounding of everything else.

*Stabiliser.* FAVOR+ takes the largest exponent away before it takes exponentials. Here that is the largest of each
feature over the keys of the region, c_f, which moves into the query's exponent (w_f q + c_f, less its own largest over
f), so that the result is the same. The z of the strongest feature is at least 1 then, and nothing underflows to 0/0:
the epsilon that implementations add to every feature, and by which they differ, is not needed.

*Position bias.* Dropped: it belongs to pairs of tokens, and no score of a pair exists; a factor exp(bias_ij) is no
product of a function of i and one of j. So there is no bias table among the weights, and whoever reads the checkpoint
has to be told its window and its number of heads.

*Folded form.* With e_fj = w_f k_j - |k_j|^2 / 2 the same formula is two softmax attentions in a row, from tokens to
features and from features to tokens, and softmax is stable by itself:

    out_i = sum_f softmax_f(w_f q_i + log sum_j exp e_fj) * (sum_j softmax_j(e_fj) v_j)

d^(-1/4) goes into the weights of query and key. In windows of several regions, all of them are computed side by side;
exponents of foreign tokens are replaced (not added to) by a number whose exponential is 0.

*Padding.* Padded tokens take part, as they do in Swin.

*Families.* V1. V2 lives by its bias of up to 16, for which a Performer has no place.

*FP16.* Softmax keeps every weight within 0..1 and the logarithm's argument within 1/N..1. The module in FP16 computes
exponents in FP32. A graph that is typed later may have them in FP16, where one of 64 is off by up to 0.03.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.variants.adopt import adopt
from swin_deploy.model.variants.region_attention import FoldedRegionAttention, RegionAttention
from swin_deploy.model.variants.regions import LOWEST, Group

__all__ = ["FoldedPerformer", "Performer", "orthogonal_features"]


class Performer(RegionAttention):
    """The paper form.

    Attributes:
        features: The random features, [m, d], a buffer that belongs to the checkpoint; d ln d of them by default, the
            order of the paper's bound, or as many as the weights that are loaded have.
    """

    features: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)
        self.register_buffer("features", orthogonal_features(default_features(spec.head_dim), spec.head_dim))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor) -> Tensor:
        """See `RegionAttention.attend`."""
        q, k = q * self.scale**0.5, k * self.scale**0.5
        of_keys = k @ self.features.T - (k**2).sum(dim=-1, keepdim=True) / 2  # [B, h, n, t, m]
        largest = of_keys.amax(dim=-2, keepdim=True)  # [B, h, n, 1, m], each feature's over the region
        of_queries = q @ self.features.T + largest  # [B, h, n, t, m]
        phi_k = (of_keys - largest).exp()
        phi_q = (of_queries - of_queries.amax(dim=-1, keepdim=True)).exp()
        sums, norms = phi_k.mT @ v, phi_k.sum(dim=-2, keepdim=True).mT  # [B, h, n, m, d], [B, h, n, m, 1]
        return (phi_q @ sums) / (phi_q @ norms)  # [B, h, n, t, d]

    def folded(self) -> FoldedPerformer:
        """The same on the window-ordered stream."""
        twin = FoldedPerformer(self.spec, self.geometry).to(self.proj.weight)
        twin.take_linears(self, query=self.scale**0.5, key=self.scale**0.5)
        twin.features = self.features.detach().clone()
        return twin

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        adopt(self, state_dict, prefix, {"features": (0,)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class FoldedPerformer(FoldedRegionAttention):
    """The folded form.

    Attributes:
        features: [m, d].
    """

    features: Tensor
    lowest: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)
        self.register_buffer("features", torch.zeros(default_features(spec.head_dim), spec.head_dim))
        self.register_buffer("lowest", torch.tensor(LOWEST), persistent=False)

    def part(self, spec: StageSpec, group: Group) -> nn.Module:
        """See `FoldedRegionAttention.part`."""
        return PerformerPart(group)

    def attend(self, part: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `FoldedRegionAttention.attend`."""
        foreign, (q, k) = cast(PerformerPart, part).foreign, (_wide(q), _wide(k))
        features = self.features.to(k.dtype)
        halves = (k * k).sum(dim=-1, keepdim=True) * 0.5  # [B, n, h, N, 1]
        of_keys = features @ k.transpose(-2, -1) - halves.transpose(-2, -1)  # [B, n, h, m, N]
        of_queries = q @ features.T  # [B, n, h, N, m]
        if foreign is None:
            weights, total = _over_tokens(of_keys)
            of_queries = of_queries + total.transpose(-2, -1)  # [B, n, h, N, m]
            return of_queries.softmax(dim=-1).to(v.dtype) @ (weights.to(v.dtype) @ v)  # [B, n, h, N, d]
        of_keys = torch.where(foreign, self.lowest, of_keys[:, :, :, None])  # [B, n, h, R, m, N]
        weights, total = _over_tokens(of_keys)
        latents = (weights.to(v.dtype) @ v[:, :, :, None]).flatten(3, 4)  # [B, n, h, R*m, d]
        of_queries = of_queries[:, :, :, :, None] + total.squeeze(-1)[:, :, :, None]  # [B, n, h, N, R, m]
        of_queries = torch.where(foreign.permute(0, 1, 4, 2, 3), self.lowest, of_queries).flatten(4, 5)
        return of_queries.softmax(dim=-1).to(v.dtype) @ latents  # [B, n, h, N, d]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        adopt(self, state_dict, prefix, {"features": (0,)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class PerformerPart(nn.Module):
    """The constant of a group of n windows.

    Attributes:
        foreign: Which tokens are not in a region, [n, 1, R, 1, N]; `None` where R is 1.
    """

    foreign: Tensor | None

    def __init__(self, group: Group) -> None:
        super().__init__()
        foreign = torch.from_numpy(~group.members)[:, None, :, None]  # [n, 1, R, 1, N]
        self.register_buffer("foreign", None if group.whole else foreign, persistent=False)


def default_features(head_dim: int) -> int:
    """Of a head of d channels: d ln d, and at least d."""
    return max(head_dim, int(head_dim * math.log(head_dim)))


def orthogonal_features(number: int, head_dim: int, seed: int = 0) -> Tensor:
    """Gaussian features, orthogonal within each group of `head_dim`: [number, head_dim]; the same for the same seed.

    Directions are those of an orthogonal matrix, lengths those of Gaussian vectors, as the paper's section 2.4 has it.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for _ in range(-(-number // head_dim)):
        square = torch.randn(head_dim, head_dim, generator=generator, dtype=torch.float64)
        directions, upper = torch.linalg.qr(square)
        directions = directions * upper.diagonal().sign()  # otherwise not uniform among the orthogonal matrices
        lengths = torch.randn(head_dim, head_dim, generator=generator, dtype=torch.float64).norm(dim=1, keepdim=True)
        groups.append(directions.T * lengths)
    return torch.cat(groups)[:number].to(torch.get_default_dtype())


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _over_tokens(exponents: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax of [..., m, N] over tokens, and the logarithm of the sum of exponentials, [..., m, 1].

    The latter from the softmax itself: its largest weight is exp(largest - logarithm). So exponentials are taken once,
    and by the operator that every runtime keeps stable, which may not hold for ReduceLogSumExp.
    """
    weights = exponents.softmax(dim=-1)
    return weights, exponents.amax(dim=-1, keepdim=True) - weights.amax(dim=-1, keepdim=True).log()
