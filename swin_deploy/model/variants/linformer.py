"""Linformer attention in a window: keys and values are projected along the window to a few slots.

Source: Wang et al., "Linformer: Self-Attention with Linear Complexity" (2020), equation 7:

    softmax(q (E k)^T / sqrt(d)) (F v)        E, F: [slots, N], shared by the heads

*Regions.* A slot is a sum over tokens, so a mask of pairs comes too late for it. Each region R of a window has slots of
its own instead, from the columns of E and F that belong to its tokens, E[:, R], and a query attends to the slots of its
own region alone. In a window that is one region, that is the paper's equation.

*Position bias.* It is projected along the keys by the same E. E acts on scores by linearity: q (E k)^T = (q k^T) E^T.
A bias B that belongs to the scores goes the same way: (q k^T / sqrt(d) + B) E^T. B E^T is constant, so the folded form
adds one constant, as that of plain window attention does.

*Mask.* There is none in the paper form. In windows of several regions, the folded form computes the slots of all of
them, and replaces (it does not add to) the scores of foreign slots by a number whose exponential is 0.

*Padding.* Padded tokens take part, as they do in Swin: zeros at the input of qkv, with their own columns of E and F.

*Families.* V1. V2's scores are cosines, and there is no published form of a cosine with a projected key.

*FP16.* Nothing but sums over N tokens beyond what Swin itself computes.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.variants.adopt import adopt
from swin_deploy.model.variants.region_attention import BiasedRegionAttention, FoldedRegionAttention
from swin_deploy.model.variants.regions import LOWEST, Group

__all__ = ["FoldedLinformer", "Linformer"]


class Linformer(BiasedRegionAttention):
    """The paper form.

    Attributes:
        key_projection: E, [slots, N]; N/4 slots by default, or as many as the weights that are loaded have.
        value_projection: F, [slots, N].
    """

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)
        slots, tokens = default_slots(geometry.tokens), geometry.tokens
        self.key_projection = nn.Parameter(torch.randn(slots, tokens) * tokens**-0.5)
        self.value_projection = nn.Parameter(torch.randn(slots, tokens) * tokens**-0.5)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, tokens: Tensor) -> Tensor:
        """See `RegionAttention.attend`."""
        of_keys, of_values = self.key_projection[:, tokens], self.value_projection[:, tokens]  # [slots, t]
        bias = self.bias()[:, tokens][:, :, tokens] @ of_keys.T  # [h, t, slots]
        scores = self.scale * q @ (of_keys @ k).transpose(-2, -1) + bias[:, None]  # [B, h, n, t, slots]
        out: Tensor = scores.softmax(dim=-1) @ (of_values @ v)
        return out  # [B, h, n, t, d]

    def folded(self) -> FoldedLinformer:
        """The same on the window-ordered stream."""
        twin = FoldedLinformer(self.spec, self.geometry).to(self.proj.weight)
        twin.take_linears(self, query=self.scale)
        for part in twin.parts:
            cast(LinformerPart, part).take(self)
        return twin

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        adopt(self, state_dict, prefix, {"key_projection": (0,), "value_projection": (0,)})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class FoldedLinformer(FoldedRegionAttention):
    """The folded form."""

    lowest: Tensor

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)
        self.register_buffer("lowest", torch.tensor(LOWEST), persistent=False)

    def part(self, spec: StageSpec, group: Group) -> nn.Module:
        """See `FoldedRegionAttention.part`."""
        return LinformerPart(spec, group)

    def attend(self, part: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `FoldedRegionAttention.attend`."""
        own = cast(LinformerPart, part)
        keys, values = own.key_projection @ k, own.value_projection @ v  # [B, n, h, R*slots, d]
        scores = q @ keys.transpose(-2, -1) + own.constant  # [B, n, h, N, R*slots]
        if own.foreign is not None:
            scores = torch.where(own.foreign, self.lowest, scores)
        return scores.softmax(dim=-1) @ values  # [B, n, h, N, d]


class LinformerPart(nn.Module):
    """The constants of a group of windows; n is 1 where all are alike.

    Attributes:
        key_projection: E of every region, [n, 1, R*slots, N], zero for tokens that are not in the region.
        value_projection: F, likewise.
        constant: The projected position bias, [n, h, N, R*slots], zero for foreign slots.
        foreign: Which slots are of another region than the query, [n, 1, N, R*slots]; `None` where R is 1.
    """

    key_projection: Tensor
    value_projection: Tensor
    constant: Tensor
    foreign: Tensor | None
    members: Tensor

    def __init__(self, spec: StageSpec, group: Group) -> None:
        super().__init__()
        number, regions, tokens = group.members.shape
        slots = regions * default_slots(tokens)
        self.register_buffer("members", torch.from_numpy(group.members), persistent=False)
        self.register_buffer("key_projection", torch.zeros(number, 1, slots, tokens))
        self.register_buffer("value_projection", torch.zeros(number, 1, slots, tokens))
        self.register_buffer("constant", torch.zeros(number, spec.heads, tokens, slots))
        foreign = None if group.whole else torch.zeros(number, 1, tokens, slots, dtype=torch.bool)
        self.register_buffer("foreign", foreign)

    @torch.no_grad()
    def take(self, paper: Linformer) -> None:
        """Compute all constants from the paper form's weights."""
        own = self.members[:, :, None]  # [n, R, 1, N]
        self.key_projection = (own * paper.key_projection).flatten(1, 2)[:, None]  # [n, 1, R*slots, N]
        self.value_projection = (own * paper.value_projection).flatten(1, 2)[:, None]
        self.constant = paper.bias() @ self.key_projection.mT  # [n, h, N, R*slots]
        if self.foreign is not None:
            owned = self.members.repeat_interleave(len(paper.key_projection), dim=1).mT[:, None]  # [n, 1, N, R*slots]
            self.foreign = ~owned
            self.constant = self.constant * owned

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        free = {"key_projection": (2,), "value_projection": (2,), "constant": (3,), "foreign": (3,)}
        adopt(self, state_dict, prefix, free)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def default_slots(tokens: int) -> int:
    """A quarter of a window's tokens, rounded up."""
    return -(-tokens // 4)
