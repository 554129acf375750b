"""Window attention behind a channel gate: x + attn(h * gate(h)), with h = norm1(x) in raster order.

    gate(h) = sigmoid(expand(mean(relu(norm(conv(h))))))        one factor a channel and image

`conv` is a grouped convolution from C to C/8 channels, `norm` a batch norm, `mean` a global average pool over the H x W
tokens, and `expand` a 1x1 convolution from C/8 to C channels. By default the convolution is 3x3, padded by 1, in C/8
groups: each of its channels reads 8 of the input's. Another odd kernel or number of groups, and whether it has a bias,
are taken from the weights that are loaded: [C/8, C/groups, rows, columns] tells both.

The attention is that of the block's family, with the parameter names it has there; the gate's stand under `gate`.

*Position bias and mask* are those of plain window attention: the gate scales channels, and leaves pairs of tokens as
they are. *Regions* are kept apart by the attention. The gate itself is global by design: every token is in its mean.

*Padding.* The gate is computed on the map without padding. Padded tokens are zeros, and stay zeros when gated.

*Folded form.* Batch norm goes into the convolution. One constant permutation, without the padded tokens, brings the
window-ordered stream into raster order for the convolution alone; the gate has no order.

*Families.* V1 and V2. V2's norm stands behind the attention, so there h is x itself.

*FP16.* The mean is taken over columns and then over rows, so that no sum has more terms than a side of the map.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.errors import BadInput
from swin_deploy.model import deployment
from swin_deploy.model.fold import fold_window_attention
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.layout import reorder
from swin_deploy.model.reference import WindowAttention, WindowAttentionV1, WindowAttentionV2
from swin_deploy.model.windows import window_order

__all__ = ["ChannelGate", "ChannelGateV2", "FoldedChannelGate", "FoldedGate", "Gate"]

REDUCTION = 8
# MiB of a block's joined bias and mask beyond which they are kept apart.
_JOINED_MIB = 16.0


class Gate(nn.Module):
    """The gate in the paper's form."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % REDUCTION:
            raise BadInput(
                f"a channel gate on {dim} channels",
                needed=f"channels divisible by {REDUCTION}",
                do="Check --attention: the gate reduces the channels by that factor",
            )
        self.conv = KernelFromWeights(dim, dim // REDUCTION)
        self.norm = nn.BatchNorm2d(dim // REDUCTION)
        self.expand = nn.Conv2d(dim // REDUCTION, dim, 1)

    def forward(self, h: Tensor) -> Tensor:
        """[B, H, W, C] to [B, 1, 1, C]."""
        x = self.norm(self.conv(h.permute(0, 3, 1, 2))).relu()  # [B, C/8, H, W]
        x = x.mean(dim=(2, 3), keepdim=True)  # [B, C/8, 1, 1]
        return cast(Tensor, self.expand(x)).sigmoid().permute(0, 2, 3, 1)  # [B, 1, 1, C]


class KernelFromWeights(nn.Conv2d):
    """A grouped convolution that keeps the map's size; kernel, groups and bias are those of the weights it is given."""

    def __init__(self, channels: int, reduced: int, *, bias: bool = False) -> None:
        super().__init__(channels, reduced, 3, padding=1, groups=reduced, bias=bias)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        weight = state_dict.get(prefix + "weight")
        if weight is not None and weight.dim() == 4 and self._fits(weight):
            self.groups = self.in_channels // weight.shape[1]
            self.kernel_size = (weight.shape[2], weight.shape[3])
            self.padding = (weight.shape[2] // 2, weight.shape[3] // 2)
            self.weight = nn.Parameter(torch.empty(weight.shape, dtype=self.weight.dtype, device=self.weight.device))
            if prefix + "bias" not in state_dict:
                self.bias = None
            elif self.bias is None:
                self.bias = nn.Parameter(self.weight.new_empty(self.out_channels))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _fits(self, weight: Tensor) -> bool:
        out, inputs, rows, columns = weight.shape
        if out != self.out_channels or not inputs or self.in_channels % inputs:
            return False
        return out % (self.in_channels // inputs) == 0 and rows % 2 == 1 and columns % 2 == 1


class _Gated(WindowAttention):
    """Whichever family's window attention stands next in line, behind the gate."""

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__(spec, geometry)
        self.spec = spec
        self.gate = Gate(spec.dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] to the same."""
        return super().forward(x * self.gate(x))

    def folded(self) -> FoldedChannelGate:
        """The same on the window-ordered stream."""
        twin = FoldedChannelGate(self.spec, self.geometry).to(self.proj.weight)
        fold_window_attention(self, twin.window)
        twin.gate.load_state_dict(_without_norm(self.gate))
        return twin


class ChannelGate(_Gated, WindowAttentionV1):
    """The paper form for V1."""


class ChannelGateV2(_Gated, WindowAttentionV2):
    """The paper form for V2."""


class FoldedGate(nn.Module):
    """The gate on the window-ordered stream, without its batch norm."""

    to_raster: Tensor | None

    def __init__(self, dim: int, geometry: BlockGeometry) -> None:
        super().__init__()
        self.feature_map = geometry.feature_map
        self.conv = KernelFromWeights(dim, dim // REDUCTION, bias=True)
        self.expand = nn.Linear(dim // REDUCTION, dim)
        order = window_order(geometry.feature_map, geometry.window, geometry.shift, roll_first=geometry.roll_first)
        positions = reorder(order, np.arange(geometry.feature_map[0] * geometry.feature_map[1], dtype=np.int64))
        index = None if positions is None else torch.from_numpy(positions)
        self.register_buffer("to_raster", index, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """[B, L, C] to [B, 1, C]."""
        if self.to_raster is not None:
            h = h.index_select(1, self.to_raster)  # [B, H*W, C], without padding
        x = self.conv(h.transpose(1, 2).reshape(-1, h.shape[-1], *self.feature_map)).relu()  # [B, C/8, H, W]
        x = x.mean(dim=3).mean(dim=2)  # [B, C/8]
        return cast(Tensor, self.expand(x)).sigmoid().unsqueeze(1)  # [B, 1, C]


class FoldedChannelGate(nn.Module):
    """The folded form."""

    def __init__(self, spec: StageSpec, geometry: BlockGeometry) -> None:
        super().__init__()
        family = "v1" if spec.pretrained_window is None else "v2"
        mebibytes = 4 * geometry.windows * spec.heads * geometry.tokens**2 / 2**20
        apart = geometry.shifted and mebibytes > _JOINED_MIB
        self.gate = FoldedGate(spec.dim, geometry)
        self.window = deployment.WindowAttention(
            family, spec, geometry, deployment.ShiftMask(geometry) if apart else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        return cast(Tensor, self.window(x * self.gate(x)))


@torch.no_grad()
def _without_norm(gate: Gate) -> dict[str, Tensor]:
    """The weights of a `FoldedGate`: the batch norm's factor and offset go into the convolution."""
    norm = gate.norm
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    factor = norm.weight / (variance + norm.eps).sqrt()  # [C/8]
    bias = torch.zeros_like(mean) if gate.conv.bias is None else gate.conv.bias
    return {
        "conv.weight": gate.conv.weight * factor[:, None, None, None],
        "conv.bias": (bias - mean) * factor + norm.bias,
        "expand.weight": gate.expand.weight[:, :, 0, 0],
        "expand.bias": cast(Tensor, gate.expand.bias),
    }
