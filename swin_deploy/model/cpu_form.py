"""The deployment form as CPUs compute it best: the same weights, two modules wired otherwise.

The deployment form takes detours that save an engine copies; of them Inductor makes loops full of divisions. Here its
attention has none, and divides behind the second product, where a row has d numbers in place of N. Its patches are rows
of a matrix, since with a free batch a convolution prepares itself anew at each call. Figures: docs/benchmark.md.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from swin_deploy.model.deployment import PatchEmbed, WindowAttention
from swin_deploy.model.reference import fit_image

__all__ = ["rewire_for_cpu"]


def rewire_for_cpu(model: nn.Module) -> None:
    """Give the attention and the patch embedding of an FP32 deployment form, in place, the wiring for CPUs."""
    for module in model.modules():
        # Only `forward` differs, so that weights and buffers stay where they are.
        if type(module) is WindowAttention:
            module.__class__ = CpuWindowAttention
        elif type(module) is PatchEmbed:
            module.__class__ = CpuPatchEmbed


class CpuWindowAttention(WindowAttention):
    """`WindowAttention` with its heads in place."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] in window order to the same."""
        qkv = self.qkv(x)  # [B, L, 3*h*d]
        qkv = qkv.reshape(-1, self.windows, self.tokens, 3, self.heads, self.head_dim)  # [B, nW, N, 3, h, d]
        q, k, v = self._split(qkv)  # each [B, nW, h, N, d]
        # A column a query: vectors then hold neighbouring queries, and no sum goes across one.
        scores = k @ q.transpose(-2, -1) + _turned(self.constant)  # [B, nW, h, N, N]
        if self.mask is not None:
            scores = scores + _turned(self.mask.values)
        weights = (scores - scores.amax(dim=-2, keepdim=True)).exp()
        sums = weights.sum(dim=-2)  # [B, nW, h, N]
        x = (weights.transpose(-2, -1) @ v) / sums[..., None]  # [B, nW, h, N, d]
        x = x.transpose(2, 3).reshape(-1, self.windows * self.tokens, self.heads * self.head_dim)  # [B, L, h*d]
        out: Tensor = self.proj(x)
        return out


def _turned(constant: Tensor) -> Tensor:
    """[..., N, N] with its last axes exchanged, in memory too; done once, where the compiler folds constants."""
    return constant.transpose(-2, -1).contiguous()


class CpuPatchEmbed(PatchEmbed):
    """`PatchEmbed` as a product."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, Hpx, Wpx] to [B, L, C]."""
        x = fit_image(images, self.spec)
        channels, patch = self.spec.channels, self.spec.patch
        rows, columns = x.shape[2] // patch, x.shape[3] // patch
        x = x.reshape(-1, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(-1, rows * columns, channels * patch * patch)  # [B, L, c*p*p]
        if self.order is not None:
            x = x.index_select(1, self.order)  # [B, L, c*p*p], in window order
        x = F.linear(x, self.proj.weight.flatten(1), self.proj.bias)  # [B, L, C]
        if self.norm is not None:
            x = self.norm(x)
        return x
