"""Routing attention in a window: queries and keys meet only in the clusters that they are routed to.

Source: Roy et al., "Efficient Content-Based Sparse Attention with Routing Transformers" (2021), algorithm 1, not
causal, with the centroids that training left. Each head has c of them. In a region of a window, of t tokens,

    each cluster takes the ceil(t / c) queries, and the ceil(t / c) keys, of the largest cosine with its centroid;
    the queries of a cluster attend to its keys: softmax(q k^T / sqrt(d) + bias) v;
    a query in several clusters has the mean of its outputs, and one in none has the output 0 (in front of `proj`).

The paper's queries and keys have gone through a layer norm in the scores too; here, as in Swin, scores are of queries
and keys themselves.

*Balance.* All clusters of a region are of one size, which follows from the number of its tokens alone. So every shape
is known beforehand; which tokens a cluster takes is all that depends on the image.

*Ties.* Equal tokens, as in the even parts of an image, would leave the choice to rounding, and to whatever a runtime's
top-k does with equal numbers. So the place of a token in the window, times 2^-20, is taken off its cosines: of equal
tokens the earlier one comes first. FP16 cannot hold so small a difference; see below.

*Regions.* Top-k over a whole window would let a token push another region's token out of a cluster, which no mask of
scores can undo. It is taken in each region by itself.

*Position bias.* Kept: each pair that meets in a cluster has the bias of its two places.

*Mask.* There is none in the paper form. The folded form replaces (it does not add to) the cosines of foreign tokens,
and the scores of slots that a region smaller than the largest has no use for.

*Padding.* Padded tokens are not routed: they would fill clusters, and being equal would do so by rounding.

*Families.* V1. V2's bias and cosines would work, but nothing published says how.

*FP16.* Nothing overflows: lengths are taken in FP32, and means are of c terms at most. But the choice of tokens is a
step function: where two cosines agree to FP16's three digits, rounding decides which token a cluster takes, and that
window's outputs change by more than rounding. Judge such a model by its accuracy, not by the distance of its outputs.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.variants.adopt import adopt
from swin_deploy.model.variants.region_attention import BiasedRegionAttention, FoldedRegionAttention
from swin_deploy.model.variants.regions import LOWEST, Group

__all__ = ["FoldedRouting", "Routing"]

# Taken off a cosine for each place in the window: larger than FP32's rounding of a cosine, smaller than any difference
# that a clustering is about.
TIE = 2.0**-20


class Routing(BiasedRegionAttention):
    """The paper form.

    Attributes:
        centroids: [h, c, d], a buffer that belongs to the checkpoint; sqrt(N) of them by default, as the paper has it,
            or as many as the weights that are loaded have. Their lengths do not matter.
    """

    centroids: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry, real=True)
        clusters = default_clusters(geometry.tokens)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("centroids", torch.randn(spec.heads, clusters, spec.head_dim, generator=generator))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor) -> Tensor:
        """See `RegionAttention.attend`."""
        clusters, channels = self.centroids.shape[1], v.shape[-1]
        size = _size(len(tokens), clusters)
        queries, keys = self._chosen(q, tokens, size), self._chosen(k, tokens, size)  # [B, h, n, c, size]
        bias = self.bias()[:, tokens][:, :, tokens]  # [h, t, t]
        heads = torch.arange(self.heads, device=q.device)[:, None, None, None, None]
        met = bias[heads, queries[..., :, None], keys[..., None, :]]  # [B, h, n, c, size, size]
        scores = self.scale * _taken(q, queries) @ _taken(k, keys).transpose(-2, -1) + met
        out = scores.softmax(dim=-1) @ _taken(v, keys)  # [B, h, n, c, size, d]
        index = queries.flatten(-2)[..., None].expand(*queries.shape[:3], -1, channels)  # [B, h, n, c*size, d]
        total = torch.zeros_like(v).scatter_add(-2, index, out.flatten(-3, -2))  # [B, h, n, t, d]
        times = torch.zeros_like(v).scatter_add(-2, index, torch.ones_like(out).flatten(-3, -2))
        return total / times.clamp(min=1)

    def _chosen(self, x: Tensor, tokens: Tensor, size: int) -> Tensor:
        """The tokens of each cluster, [B, h, n, c, size], as indices of `x` [B, h, n, t, d]."""
        directions = F.normalize(self.centroids, dim=-1)[:, None]  # [h, 1, c, d]
        cosines = directions @ F.normalize(x, dim=-1).transpose(-2, -1)  # [B, h, n, c, t]
        return (cosines - TIE * tokens).topk(size, dim=-1).indices

    def folded(self) -> FoldedRouting:
        """The same on the window-ordered stream."""
        twin = FoldedRouting(self.spec, self.geometry).to(self.proj.weight)
        twin.take_linears(self, query=self.scale)
        twin.centroids = F.normalize(self.centroids, dim=-1)
        twin.bias = self.bias().detach().reshape(-1)
        for part in twin.parts:
            cast(RoutingPart, part).take(self.centroids.shape[1])
        return twin

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        adopt(self, state_dict, prefix, {"centroids": (1,)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class FoldedRouting(FoldedRegionAttention):
    """The folded form. S slots are the members of all clusters of all regions of a window, R*c*size of them.

    Attributes:
        centroids: Unit vectors, [h, c, d].
        bias: The position bias of each head and pair of places, [h*N*N].
        ties: What is taken off the cosine of each place, [N].
        one_hot: A row for each place and one of zeros, [N+1, N]: tokens are taken by a product with its rows, and put
            back by the transposed one, since a scatter is what runtimes do slowly or not at all.
    """

    centroids: Tensor
    bias: Tensor
    ties: Tensor
    one_hot: Tensor
    rows: Tensor
    lowest: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry, real=True)
        tokens = geometry.tokens
        self.register_buffer("centroids", torch.zeros(spec.heads, default_clusters(tokens), spec.head_dim))
        self.register_buffer("bias", torch.zeros(spec.heads * tokens * tokens))
        for name, values in (
            ("ties", TIE * torch.arange(tokens)),
            ("one_hot", torch.eye(tokens + 1, tokens)),
            ("rows", torch.arange(spec.heads)[:, None, None] * tokens * tokens),
            ("lowest", torch.tensor(LOWEST)),
        ):
            self.register_buffer(name, values, persistent=False)

    def part(self, spec: StageSpec, group: Group) -> nn.Module:
        """See `FoldedRegionAttention.part`."""
        return RoutingPart(group)

    def attend(self, part: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `FoldedRegionAttention.attend`."""
        own = cast(RoutingPart, part)
        queries, keys = self._chosen(own, q), self._chosen(own, k)  # [B, n, h, R*c, size]
        of_queries, of_keys = self._one_hot(own, queries), self._one_hot(own, keys)  # [B, n, h, S, N]
        slots = (-1, q.shape[1], self.heads, *queries.shape[-2:], self.head_dim)
        taken_q = (of_queries @ q).reshape(slots)  # [B, n, h, R*c, size, d]
        taken_k, taken_v = (of_keys @ k).reshape(slots), (of_keys @ v).reshape(slots)
        pairs = (self.rows + queries * self.tokens)[..., :, None] + keys[..., None, :]  # [B, n, h, R*c, size, size]
        scores = taken_q @ taken_k.transpose(-2, -1) + F.embedding(pairs, self.bias[:, None]).squeeze(-1)
        if own.empty is not None:
            scores = torch.where(own.empty[..., None, :], self.lowest, scores)
        out = (scores.softmax(dim=-1) @ taken_v).flatten(3, 4)  # [B, n, h, S, d]
        times = of_queries.sum(dim=-2).unsqueeze(-1)  # [B, n, h, N, 1]
        return (of_queries.transpose(-2, -1) @ out) / times.clamp(min=1.0)  # [B, n, h, N, d]

    def _chosen(self, part: RoutingPart, x: Tensor) -> Tensor:
        """The places of each cluster's tokens, [B, n, h, R*c, size]; in slots that are empty, any."""
        units = _units(x).transpose(-2, -1)  # [B, n, h, d, N]
        cosines = self.centroids.to(units.dtype) @ units - self.ties  # [B, n, h, c, N]
        if part.foreign is None or part.empty is None:
            return cosines.topk(_size(self.tokens, self.centroids.shape[1]), dim=-1).indices
        cosines = torch.where(part.foreign, self.lowest, cosines[:, :, :, None]).flatten(3, 4)  # [B, n, h, R*c, N]
        return cosines.topk(part.empty.shape[-1], dim=-1).indices

    def _one_hot(self, part: RoutingPart, places: Tensor) -> Tensor:
        """[B, n, h, R*c, size] to [B, n, h, S, N], with a row of zeros for an empty slot."""
        if part.empty is not None:
            places = torch.where(part.empty, self.tokens, places)
        found: Tensor = F.embedding(places.flatten(3, 4), self.one_hot)
        return found

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        adopt(self, state_dict, prefix, {"centroids": (1,)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class RoutingPart(nn.Module):
    """The constants of a group of n windows.

    Attributes:
        empty: Which slots a region has no tokens for, being smaller than the largest, [n, 1, R*c, size]; `None` where
            all windows are one region.
        foreign: Which tokens are not in a region, [n, 1, R, 1, N]; `None` likewise.
    """

    empty: Tensor | None
    foreign: Tensor | None

    def __init__(self, group: Group) -> None:
        super().__init__()
        members = None if group.whole else torch.from_numpy(group.members)  # [n, R, N]
        empty = None if members is None else _empty(members, default_clusters(members.shape[-1]))
        self.register_buffer("empty", empty)
        self.register_buffer("foreign", None if members is None else ~members[:, None, :, None], persistent=False)

    def take(self, clusters: int) -> None:
        """Follow the number of clusters."""
        if self.foreign is not None:
            self.empty = _empty(~self.foreign[:, 0, :, 0], clusters)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        adopt(self, state_dict, prefix, {"empty": (2, 3)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _empty(members: Tensor, clusters: int) -> Tensor:
    """See `RoutingPart.empty`, from the members of each region, [n, R, N]."""
    sizes = torch.div(members.sum(dim=-1) + clusters - 1, clusters, rounding_mode="floor")  # [n, R], as `_size`
    slots = torch.arange(int(sizes.max()), device=members.device)
    return (slots >= sizes[..., None]).repeat_interleave(clusters, dim=1)[:, None]  # [n, 1, R*c, size]


def _size(tokens: int, clusters: int) -> int:
    """Tokens of each cluster, such that all clusters together have room for all tokens of a region."""
    return -(-tokens // clusters)


def default_clusters(tokens: int) -> int:
    """sqrt(N), rounded."""
    return max(1, round(math.sqrt(tokens)))


def _taken(x: Tensor, chosen: Tensor) -> Tensor:
    """Tokens of `x` [B, h, n, t, d] by `chosen` [B, h, n, c, size]: [B, h, n, c, size, d]."""
    index = chosen.flatten(-2)[..., None].expand(*chosen.shape[:3], -1, x.shape[-1])  # [B, h, n, c*size, d]
    return x.gather(-2, index).reshape(*chosen.shape, x.shape[-1])


def _units(x: Tensor) -> Tensor:
    """`x` [..., d] at unit length, as `torch.nn.functional.normalize`; FP16 and BF16 in FP32.

    Squares overflow FP16, and what its cosines cannot tell apart they would choose by chance.
    """
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    length: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(1e-12)  # [..., 1]
    return wide / length
