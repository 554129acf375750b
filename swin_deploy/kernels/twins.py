"""The fused operators in plain PyTorch: their definition, and what serves wherever the kernels do not run.

They round where the kernels round, so that a parity check of the fused form on a CPU sees its numerics too; only the
order of additions differs. In FP32 and FP64 nothing is rounded between.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FP8_TOP", "TwinOperators", "inverse", "wide"]

_INT8_TOP, FP8_TOP = 127.0, 448.0
_QUIET = 1e-35  # the step of a row below is no normal FP32 number


def wide(x: Tensor) -> Tensor:
    """`x` in the type of sums: FP32 for half precision, its own else."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class TwinOperators:
    """See `operators.Operators`; `tiles` are of no account here."""

    def patch_embed(
        self,
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        order: Tensor,
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        *,
        eps: float,
        tiles: Sequence[int] = (),
    ) -> Tensor:
        """See `Operators.patch_embed`."""
        patch = weight.shape[2:]
        x = F.conv2d(wide(images.to(weight.dtype)), wide(weight), bias.to(wide(weight).dtype), stride=tuple(patch))
        x = x.flatten(2).transpose(1, 2).index_select(1, order)  # [B, L, C]
        if norm_weight is not None:
            assert norm_bias is not None
            x = F.layer_norm(x, x.shape[-1:], norm_weight.to(x.dtype), norm_bias.to(x.dtype), eps)
        return x.to(weight.dtype)

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        column: Tensor | None,
        residual: Tensor | None,
        *,
        eps: float = 1e-5,
        gelu: bool = False,
        tiles: Sequence[int] = (),
    ) -> Tensor:
        """See `Operators.linear`."""
        y = wide(x)
        if column is not None:
            y = F.layer_norm(y, y.shape[-1:], eps=eps)
        y = F.linear(y, wide(weight), None if bias is None else bias.to(y.dtype))  # [..., N]
        if gelu:
            y = F.gelu(y)
        if residual is not None:
            y = y + wide(residual)
        return y.to(x.dtype)

    def window_attention(
        self,
        qkv: Tensor,
        padding: Tensor,
        constant: Tensor,
        mask: Tensor | None,
        positions: Tensor,
        logit_scale: Tensor | None,
        *,
        heads: int,
        tiles: Sequence[int] = (),
    ) -> Tensor:
        """See `Operators.window_attention`."""
        batch, length, dim = qkv.shape[0], qkv.shape[1], qkv.shape[2] // (3 * heads)
        windows, tokens = positions.shape
        flat = positions.reshape(-1)  # [nW*N]
        x = qkv.index_select(1, flat.clamp_min(0))  # [B, nW*N, 3*h*d]
        x = torch.where((flat < 0)[:, None], padding.to(x.dtype), x)
        x = x.reshape(-1, windows, tokens, 3, heads, dim).permute(3, 0, 1, 4, 2, 5)  # [3, B, nW, h, N, d]
        q, k, v = x.unbind(0)
        if logit_scale is not None:
            q, k = _unit(q), _unit(k)
        scores = wide(q) @ wide(k).transpose(-2, -1)  # [B, nW, h, N, N]
        if logit_scale is not None:
            scores = scores * logit_scale.to(scores.dtype)[:, None, None]
        scores = scores + wide(constant)
        if mask is not None:
            scores = scores + wide(mask)
        if qkv.dtype in (torch.float16, torch.bfloat16):
            weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
            y = wide(weights.to(qkv.dtype)) @ wide(v) / weights.sum(dim=-1, keepdim=True)
        else:
            y = scores.softmax(dim=-1) @ v  # [B, nW, h, N, d]
        y = y.transpose(2, 3).reshape(-1, windows * tokens, heads * dim)  # [B, nW*N, h*d]
        return y.index_select(1, inverse(flat, length)).to(qkv.dtype).reshape(batch, length, heads * dim)

    def mlp(
        self,
        x: Tensor,
        first: Tensor,
        first_bias: Tensor,
        second: Tensor,
        second_bias: Tensor,
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        *,
        eps: float = 1e-5,
        tiles: Sequence[int] = (),
    ) -> Tensor:
        """See `Operators.mlp`."""
        y = wide(x)
        if norm_weight is None:
            y = wide(F.layer_norm(y, y.shape[-1:], eps=eps).to(x.dtype))
        y = F.gelu(F.linear(y, wide(first), first_bias.to(y.dtype)))  # [..., F]
        y = F.linear(wide(y.to(x.dtype)), wide(second), second_bias.to(y.dtype))  # [..., C]
        if norm_weight is not None:
            assert norm_bias is not None
            y = F.layer_norm(y, y.shape[-1:], norm_weight.to(y.dtype), norm_bias.to(y.dtype), eps)
        return (wide(x) + y).to(x.dtype)

    def add_norm(
        self, x: Tensor | None, y: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()
    ) -> Tensor:
        """See `Operators.add_norm`."""
        z = wide(y)
        z = F.layer_norm(z, z.shape[-1:], weight.to(z.dtype), bias.to(z.dtype), eps)
        return (z if x is None else wide(x) + z).to(y.dtype)

    def token_mean(self, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()) -> Tensor:
        """See `Operators.token_mean`."""
        y = wide(x)
        return F.layer_norm(y, y.shape[-1:], weight.to(y.dtype), bias.to(y.dtype), eps).mean(dim=1).to(x.dtype)

    def quantize_rows(
        self,
        x: Tensor,
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        *,
        eps: float = 1e-5,
        fp8: bool = False,
        tiles: Sequence[int] = (),
    ) -> tuple[Tensor, Tensor]:
        """See `Operators.quantize_rows`."""
        y = x.float()
        if norm_weight is not None:
            y = F.layer_norm(y, y.shape[-1:], norm_weight, norm_bias, eps)
        top = FP8_TOP if fp8 else _INT8_TOP
        largest = y.abs().amax(dim=-1)  # [...]; NaN where one is
        finite, quiet = largest.isfinite(), largest < _QUIET
        # One division a row, as the kernel has it; of two tensors, since PyTorch divides a number by a reciprocal.
        factor = torch.full_like(largest, top) / largest.masked_fill(quiet, 1.0)
        grid = (y * factor[..., None]).masked_fill((quiet | ~finite)[..., None], 0.0)
        steps = (largest / top).masked_fill(quiet, 1.0).masked_fill(~finite, float("nan"))
        return (grid.to(torch.float8_e4m3fn) if fp8 else grid.round().to(torch.int8)), steps

    def quantized_linear(
        self,
        x: Tensor,
        steps: Tensor | None,
        weight: Tensor,
        weight_steps: Tensor,
        bias: Tensor | None,
        residual: Tensor | None,
        *,
        gelu: bool = False,
        half: bool = True,
        out_step: float = 0.0,
        tiles: Sequence[int] = (),
    ) -> Tensor:
        """See `Operators.quantized_linear`."""
        # FP64 holds an INT32 sum exactly, and CPUs multiply it fast, unlike integers.
        y = F.linear(x.double(), weight.double()).float()
        y = (y if steps is None else y * steps[..., None]) * weight_steps
        if bias is not None:
            y = y + bias
        if gelu:
            y = F.gelu(y)
        if out_step:
            return (y / out_step).clamp(-FP8_TOP, FP8_TOP).to(torch.float8_e4m3fn)
        if residual is not None:
            return (y + residual.float()).to(residual.dtype)
        return y.to(torch.float16 if half else torch.bfloat16)


def _unit(x: Tensor) -> Tensor:
    """`x` [..., d] at unit length, the length in FP32 and at least 1e-12."""
    y = wide(x)
    length = torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp_min(1e-12)  # [..., 1]
    unit: Tensor = (y / length).to(x.dtype)
    return unit


def inverse(positions: Tensor, length: int) -> Tensor:
    """For each position of the stream where its token stands among the windows' tokens, [L].

    A padded token sorts before all others, so that the last L of the order are those of the stream.
    """
    return positions.argsort(stable=True)[positions.shape[0] - length :]
