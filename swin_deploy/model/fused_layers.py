"""The layers of the fused form: each holds the weights of one fused operator and calls it.

A layer whose technique the plan leaves out computes the same with plain PyTorch in the model's own type.
Shapes: B images, L tokens, C channels, nW windows of N tokens, h heads of d channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_deploy.kernels.twins import FP8_TOP, TwinOperators, inverse
from swin_deploy.model.deployment import WindowAttention, unit_vectors
from swin_deploy.model.fusion_plan import FusionPlan

if TYPE_CHECKING:
    from swin_deploy.kernels.operators import Operators

__all__ = [
    "AddNorm",
    "Affine",
    "Attention",
    "Layer",
    "Linear",
    "Mlp",
    "Patches",
    "QuantizedLinear",
    "QuantizedRows",
    "TokenMean",
    "Tokens",
    "Windows",
    "Wiring",
    "make_linear",
    "make_mlp",
]


@dataclass(frozen=True)
class Wiring:
    """What all layers of a fused form have in common.

    Attributes:
        plan: What is fused.
        dtype: Of weights and of the stream.
        operators: Who computes the fused operators.
    """

    plan: FusionPlan
    dtype: torch.dtype
    operators: Operators

    @property
    def sums(self) -> torch.dtype:
        """The type of what is added to sums: FP32, and FP64 in an FP64 form."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Affine:
    """`x @ weight.T + bias`, in FP64 until a layer rounds it, once.

    Attributes:
        weight: [N, K].
        bias: [N], or `None`.
    """

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, linear: nn.Linear, norm: nn.LayerNorm | None = None) -> Affine:
        """Of `linear`, and of the scale and shift of `norm` before it."""
        weight, bias = linear.weight.double(), None if linear.bias is None else linear.bias.double()
        if norm is None:
            return cls(weight, bias)
        shift = weight @ norm.bias.double()  # [N]
        return cls(weight * norm.weight.double(), shift if bias is None else bias + shift)

    def centred(self) -> Affine:
        """The same behind a norm without scale and shift, whose rows sum to 0: each row of the weight less its mean.

        In exact arithmetic nothing changes. In half, smaller weights are rounded by less, and a row's own mean, which
        the kernel multiplies too and then takes away, leaves next to nothing to take away.
        """
        return replace(self, weight=self.weight - self.weight.mean(dim=1, keepdim=True))


class Layer(nn.Module):
    """One operator.

    Attributes:
        case: The operator with what its best tiles depend on; empty where it is plain PyTorch.
        tiles: See `Operators`.
    """

    def __init__(self, wiring: Wiring, case: str) -> None:
        super().__init__()
        self.operators, self.case = wiring.operators, case
        self.tiles: tuple[int, ...] = tuple(wiring.plan.tiles.get(case, ()))

    def keep(self, name: str, tensor: Tensor | None, dtype: torch.dtype) -> None:
        """Hold `tensor` as a buffer in `dtype`."""
        self.register_buffer(name, None if tensor is None else tensor.detach().to(dtype).contiguous().clone())


class Linear(Layer):
    """A linear with a norm before it, and GELU or a residual behind it."""

    weight: Tensor
    bias: Tensor | None
    column: Tensor | None

    def __init__(self, wiring: Wiring, affine: Affine, *, norm: float | None = None, gelu: bool = False) -> None:
        inner_norm, inner_tail = norm is not None and wiring.plan.norms, wiring.plan.epilogues
        ours = inner_norm or inner_tail
        parts = (" norm" if inner_norm else "") + (" gelu" if gelu and inner_tail else "")
        super().__init__(wiring, _case("linear", affine.weight.shape) + parts if ours else "")
        self.norm, self.gelu = norm, gelu
        self._inner_norm, self._inner_tail = inner_norm, inner_tail
        self.keep("weight", (affine if norm is None else affine.centred()).weight, wiring.dtype)
        self.keep("bias", affine.bias, wiring.sums if ours else wiring.dtype)
        # Of the rounded weights, since it takes away what the mean added through these.
        self.keep("column", self.weight.double().sum(dim=1) if inner_norm else None, wiring.sums)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[..., K] to [..., N]."""
        if self.norm is not None and not self._inner_norm:
            x = F.layer_norm(x, x.shape[-1:], eps=self.norm)
        if self.case:
            y = self.operators.linear(
                x,
                self.weight,
                self.bias,
                self.column,
                residual if self._inner_tail else None,
                eps=self.norm if self.norm is not None else 1e-5,
                gelu=self.gelu and self._inner_tail,
                tiles=self.tiles,
            )
        else:
            y = F.linear(x, self.weight, self.bias)
        if self._inner_tail:
            return y
        y = F.gelu(y) if self.gelu else y
        return y if residual is None else residual + y


class QuantizedRows(Layer):
    """Rows to INT8 or FP8 with a step each, behind a norm where there is one."""

    ones: Tensor | None
    zeros: Tensor | None

    def __init__(self, wiring: Wiring, channels: int, norm: float | None) -> None:
        super().__init__(wiring, f"quantize_rows {channels}" + (" norm" if norm is not None else ""))
        self.norm, self.fp8 = norm, wiring.plan.linears == "fp8"
        # The norm's own scale stands in the weights, whose channels have steps of their own: what is rounded here then
        # has no channel that stands out by it.
        self.keep("ones", None if norm is None else torch.ones(channels), torch.float32)
        self.keep("zeros", None if norm is None else torch.zeros(channels), torch.float32)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[..., K] to the same in grid values, and the steps [...]."""
        eps = self.norm if self.norm is not None else 1e-5
        return self.operators.quantize_rows(x, self.ones, self.zeros, eps=eps, fp8=self.fp8, tiles=self.tiles)


class QuantizedLinear(Layer):
    """See `Linear`, in INT8 or FP8; with `in_step` and `out_step` what comes in or goes out is in FP8 of this step."""

    weight: Tensor
    steps: Tensor
    bias: Tensor | None

    def __init__(
        self,
        wiring: Wiring,
        affine: Affine,
        *,
        norm: float | None = None,
        gelu: bool = False,
        in_step: float = 0.0,
        out_step: float = 0.0,
    ) -> None:
        super().__init__(wiring, _case("quantized_linear", affine.weight.shape) + (" gelu" if gelu else ""))
        self.rows = None if in_step else QuantizedRows(wiring, affine.weight.shape[1], norm)
        self.gelu, self.fp16, self.out_step = gelu, wiring.dtype == torch.float16, out_step
        # A row of the weights is an output channel.
        grid, steps = TwinOperators().quantize_rows(affine.weight, None, None, fp8=wiring.plan.linears == "fp8")
        self.keep("weight", grid, grid.dtype)
        self.keep("steps", steps * (in_step or 1.0), torch.float32)
        self.keep("bias", affine.bias, torch.float32)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[..., K] to [..., N]."""
        grid, steps = (x, None) if self.rows is None else self.rows(x)
        return self.operators.quantized_linear(
            grid,
            steps,
            self.weight,
            self.steps,
            self.bias,
            residual,
            gelu=self.gelu,
            half=self.fp16,
            out_step=self.out_step,
            tiles=self.tiles,
        )


def make_linear(wiring: Wiring, affine: Affine, *, norm: float | None = None, gelu: bool = False) -> nn.Module:
    """A linear of a block or merging, in the type that the plan says."""
    kind = Linear if wiring.plan.linears == "half" else QuantizedLinear
    return kind(wiring, affine, norm=norm, gelu=gelu)


def make_mlp(wiring: Wiring, first: Affine, second: Affine, *, norm: float | None) -> tuple[nn.Module, nn.Module]:
    """The two linears of an MLP. Behind a norm, FP8's hidden features leave the first one in FP8.

    They have no step a row: that would take a pass over them of its own, which costs more than FP8 gains. FP8 is as
    precise for what is thousands of times smaller, so that one step from a bound serves all: a normed row is no longer
    than sqrt(K), so that no feature is larger than sqrt(K) * |its weights| + |its bias| (Cauchy-Schwarz).
    """
    if wiring.plan.linears != "fp8" or norm is None:
        return make_linear(wiring, first, norm=norm, gelu=True), make_linear(wiring, second)
    largest = first.weight.norm(dim=1) * first.weight.shape[1] ** 0.5  # [F]
    if first.bias is not None:
        largest = largest + first.bias.abs()
    # A power of 2 divides exactly, and makes few different kernels.
    step = 2.0 ** math.ceil(math.log2(float(largest.max()) / FP8_TOP))
    return (
        QuantizedLinear(wiring, first, norm=norm, gelu=True, out_step=step),
        QuantizedLinear(wiring, second, in_step=step),
    )


class Mlp(Layer):
    """The second half of a block of a narrow stage in one kernel."""

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def __init__(self, wiring: Wiring, first: Affine, second: Affine, behind: nn.LayerNorm | None, eps: float) -> None:
        super().__init__(wiring, _case("mlp", second.weight.shape) + (" norm" if behind is not None else ""))
        self.eps = eps
        # The norm stands before the first linear, or behind the second.
        for name, affine in (("first", first.centred() if behind is None else first), ("second", second)):
            self.keep(name, affine.weight, wiring.dtype)
            self.keep(f"{name}_bias", affine.bias, wiring.sums)
        self.keep("norm_weight", None if behind is None else behind.weight, wiring.sums)
        self.keep("norm_bias", None if behind is None else behind.bias, wiring.sums)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to the same, the residual included."""
        return self.operators.mlp(
            x,
            self.first,
            self.first_bias,
            self.second,
            self.second_bias,
            self.norm_weight,
            self.norm_bias,
            eps=self.eps,
            tiles=self.tiles,
        )


class AddNorm(Layer):
    """`x + norm(y)`, or a norm alone."""

    weight: Tensor
    bias: Tensor

    def __init__(self, wiring: Wiring, norm: nn.LayerNorm) -> None:
        ours = wiring.plan.norms
        super().__init__(wiring, f"add_norm {norm.weight.shape[0]}" if ours else "")
        self.eps = norm.eps
        self.keep("weight", norm.weight, wiring.sums if ours else wiring.dtype)
        self.keep("bias", norm.bias, wiring.sums if ours else wiring.dtype)

    def forward(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """[..., C] to the same."""
        if self.case:
            return self.operators.add_norm(x, y, self.weight, self.bias, eps=self.eps, tiles=self.tiles)
        y = F.layer_norm(y, y.shape[-1:], self.weight, self.bias, self.eps)
        return y if x is None else x + y


class Windows(nn.Module):
    """Where the windows of one geometry find their tokens in the stream; blocks share it.

    Attributes:
        positions: See `Operators.window_attention`.
        mask: The shift mask where it is apart from the position bias, [nW, 1, N, N].
        reading: For plain PyTorch: `positions` with any token in place of padding, [nW*N].
        real: Likewise: which of these are tokens, [nW*N, 1]; `None` where all are.
        writing: Likewise: where the windows have each token of the stream, [L].
    """

    positions: Tensor
    mask: Tensor | None
    reading: Tensor
    real: Tensor | None
    writing: Tensor

    def __init__(self, wiring: Wiring, positions: Tensor, mask: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("positions", positions.to(torch.int32))
        self.register_buffer("mask", None if mask is None else mask.detach().to(wiring.dtype).contiguous())
        if wiring.plan.attention:
            return
        flat = positions.flatten()
        self.register_buffer("reading", flat.clamp_min(0))
        self.register_buffer("real", (flat >= 0)[:, None] if bool((flat < 0).any()) else None)
        self.register_buffer("writing", inverse(flat, int((flat >= 0).sum())))


class Attention(Layer):
    """Window attention on the stream, between the two projections."""

    padding: Tensor
    constant: Tensor
    logit_scale: Tensor | None

    def __init__(self, wiring: Wiring, source: WindowAttention, windows: Windows) -> None:
        fused = wiring.plan.attention
        name = "window_attention" if source.logit_scale is None else "window_attention cosine"
        case = f"{name} {source.heads}x{source.head_dim} of {source.windows}x{source.tokens}"
        super().__init__(wiring, case if fused else "")
        self.heads, self.head_dim, self.windows = source.heads, source.head_dim, windows
        # Padded tokens are zero at the input of qkv, behind the norm: its plain bias is all that is left of them.
        self.keep("padding", source.qkv.bias, wiring.sums if fused else wiring.dtype)
        self.keep("constant", source.constant, wiring.dtype)
        scale = None if source.logit_scale is None else source.logit_scale.double().prod(dim=0)[:, 0]  # [h]
        self.keep("logit_scale", scale, wiring.sums)

    def forward(self, qkv: Tensor) -> Tensor:
        """[B, L, 3*h*d] to [B, L, h*d]."""
        if not self.case:
            return self._plain(qkv)
        return self.operators.window_attention(
            qkv,
            self.padding,
            self.constant,
            self.windows.mask,
            self.windows.positions,
            self.logit_scale,
            heads=self.heads,
            tiles=self.tiles,
        )

    def _plain(self, qkv: Tensor) -> Tensor:
        windows, (count, tokens) = self.windows, self.windows.positions.shape
        x = qkv.index_select(1, windows.reading)  # [B, nW*N, 3*h*d]
        if windows.real is not None:
            x = torch.where(windows.real, x, self.padding)
        x = x.reshape(-1, count, tokens, 3, self.heads, self.head_dim).permute(3, 0, 1, 4, 2, 5)
        q, k, v = x.unbind(0)  # each [B, nW, h, N, d]
        if self.logit_scale is not None:
            q, k = unit_vectors(q, self.logit_scale[:, None, None]), unit_vectors(k, 1.0)
        scores = q @ k.transpose(-2, -1) + self.constant  # [B, nW, h, N, N]
        if windows.mask is not None:
            scores = scores + windows.mask
        y = (scores.softmax(dim=-1) @ v).transpose(2, 3)  # [B, nW, N, h, d]
        return y.reshape(-1, count * tokens, self.heads * self.head_dim).index_select(1, windows.writing)


class Patches(Layer):
    """Patches to tokens in the order of the stream, with the norm behind."""

    weight: Tensor
    bias: Tensor
    order: Tensor
    norm_weight: Tensor | None
    norm_bias: Tensor | None

    def __init__(self, wiring: Wiring, proj: nn.Conv2d, norm: nn.LayerNorm | None, order: Tensor) -> None:
        ours = wiring.plan.patch_embed
        super().__init__(wiring, _case("patch_embed", proj.weight.flatten(1).shape) if ours else "")
        self.eps, beside = 1e-5 if norm is None else norm.eps, wiring.sums if ours else wiring.dtype
        self.keep("weight", proj.weight, wiring.dtype)
        self.keep("bias", proj.bias, beside)
        self.keep("order", order, torch.int32)
        self.keep("norm_weight", None if norm is None else norm.weight, beside)
        self.keep("norm_bias", None if norm is None else norm.bias, beside)

    def forward(self, images: Tensor) -> Tensor:
        """[B, c, Hpx, Wpx], whole patches in any type, to [B, L, C]."""
        if self.case:
            return self.operators.patch_embed(
                images,
                self.weight,
                self.bias,
                self.order,
                self.norm_weight,
                self.norm_bias,
                eps=self.eps,
                tiles=self.tiles,
            )
        patch = (self.weight.shape[2], self.weight.shape[3])
        x = F.conv2d(images.to(self.weight.dtype), self.weight, self.bias, stride=patch)  # [B, C, H, W]
        x = x.flatten(2).transpose(1, 2).index_select(1, self.order)  # [B, L, C]
        if self.norm_weight is not None:
            x = F.layer_norm(x, x.shape[-1:], self.norm_weight, self.norm_bias, self.eps)
        return x


class TokenMean(Layer):
    """A classifier's norm, and the mean over all tokens."""

    weight: Tensor
    bias: Tensor

    def __init__(self, wiring: Wiring, norm: nn.LayerNorm) -> None:
        ours = wiring.plan.head
        super().__init__(wiring, f"token_mean {norm.weight.shape[0]}" if ours else "")
        self.eps = norm.eps
        self.keep("weight", norm.weight, wiring.sums if ours else wiring.dtype)
        self.keep("bias", norm.bias, wiring.sums if ours else wiring.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, C]."""
        if self.case:
            return self.operators.token_mean(x, self.weight, self.bias, eps=self.eps, tiles=self.tiles)
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps).mean(dim=1)


class Tokens(nn.Module):
    """A constant choice of tokens, with zeros for padding."""

    index: Tensor
    real: Tensor | None

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        padded = bool((positions < 0).any())
        self.register_buffer("index", positions.clamp_min(0))
        self.register_buffer("real", (positions >= 0)[:, None] if padded else None)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] to [B, L', C]."""
        x = x.index_select(1, self.index)
        return x if self.real is None else torch.where(self.real, x, 0.0)


def _case(operator: str, weight: tuple[int, ...]) -> str:
    """The operator and the shape of its weight, outputs first."""
    return f"{operator} {weight[0]}x{weight[1]}"
