"""Attentions as a user would bring them, good and bad; named by `tests.model.variants.own:...`."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.reference import WindowAttentionV1

__all__ = ["Doubled", "Mixer", "NotAModule", "Scaled", "WrongArguments", "mixer"]


class Mixer(nn.Module):
    """No attention at all: a depthwise convolution over the map, and a linear behind it. Nothing in it is known."""

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.reach = nn.Conv2d(spec.dim, spec.dim, 3, padding=1, groups=spec.dim)
        self.proj = nn.Linear(spec.dim, spec.dim)

    def forward(self, h: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        return cast(Tensor, self.proj(self.reach(h.permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)))


class Doubled(WindowAttentionV1):
    """Swin's own attention with something behind it that the fold knows nothing of."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).tanh() * 2.0


class Scaled(nn.Module):
    """A linear and a factor a channel, with a fold of its own: per token, so that order and padding do not matter."""

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.proj = nn.Linear(spec.dim, spec.dim)
        self.factor = nn.Parameter(torch.ones(spec.dim))

    def forward(self, h: Tensor) -> Tensor:
        return cast(Tensor, self.proj(h)) * self.factor

    def folded(self) -> nn.Linear:
        twin = nn.Linear(self.proj.in_features, self.proj.out_features).to(self.factor)
        with torch.no_grad():
            twin.weight.copy_(self.proj.weight * self.factor[:, None])
            twin.bias.copy_(self.proj.bias * self.factor)
        return twin


class NotAModule:
    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        pass


class WrongArguments(nn.Module):
    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()


class Pooled(nn.Module):
    """Gives one token where the map's were asked for: added to the stream it would broadcast without an error."""

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        self.proj = nn.Linear(spec.dim, spec.dim)

    def forward(self, h: Tensor) -> Tensor:
        return cast(Tensor, self.proj(h.mean(dim=(1, 2), keepdim=True)))


class Paired(Mixer):
    """Gives its weights beside its output."""

    def forward(self, h: Tensor) -> Any:
        return super().forward(h), h


def mixer(spec: StageSpec, geometry: BlockGeometry) -> nn.Module:
    return Mixer(spec, geometry)
