"""What the fused form is made of: one method a fused operator, whoever computes it.

`twins.TwinOperators` computes them with PyTorch alone, anywhere; `launched.LaunchedOperators` with the Triton kernels;
`torch_operators.TorchOperators` picks by the device and lets Inductor embed the kernels.
Shapes: B images, L tokens, C channels, nW windows of N tokens, h heads of d channels. `half` is FP16 or BF16; every
operator takes FP32 too. Sums, softmax, norms and what stands behind a product are in FP32, whatever the tensors are
(FP64 in FP64, for which only the twins are).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Operators"]


class Operators(Protocol):
    """The fused operators. `tiles` are `Tiles.numbers()`; empty for the kernel's own choice."""

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
        """Patches to tokens in the order of the stream, with the norm behind.

        Args:
            images: [B, c, Hpx, Wpx], whole patches.
            weight: Of the convolution, [C, c, patch rows, patch columns].
            bias: [C], FP32.
            order: [L] int32: the raster index of the patch that each token of the stream is.
            norm_weight: [C], FP32; `None` without a norm.
            norm_bias: Likewise.
            eps: Of the norm.
            tiles: rows tokens, columns channels, inner pixels of a patch.

        Returns:
            [B, L, C] in the type of `weight`.
        """
        ...

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
        """`gelu(norm(x) @ weight.T + bias) + residual`, each part where it is asked for.

        The norm is a LayerNorm without scale and shift, which stand in weight and bias. The kernel multiplies x as it
        is and mends the product: norm(x) @ W.T = (x @ W.T - mean * column) / deviation.

        Args:
            x: [..., K].
            weight: [N, K].
            bias: [N], FP32.
            column: [N], FP32: the sum over each row of `weight` as it is rounded; `None` without a norm.
            residual: [..., N].
            eps: Of the norm.
            gelu: The exact GELU, by erf.
            tiles: rows rows of x, columns N, inner K.

        Returns:
            [..., N] in the type of x.
        """
        ...

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
        """Attention within (shifted) windows on a stream in any order: partition and shift are how it is read.

        Args:
            qkv: [B, L, 3*h*d], query, key and value one behind the other; V1's scale is in the query.
            padding: [3*h*d], FP32: the row of `qkv` that stands for a padded token.
            constant: Position bias, with the shift mask where `mask` is `None`, [nW or 1, h, N, N].
            mask: Shift mask, [nW, 1, N, N].
            positions: [nW, N] int32: where each token of each window stands in the stream; -1 for padding. Each
                position of the stream occurs exactly once.
            logit_scale: V2: what the cosine scores are multiplied by, [h], FP32; `None` in V1. Query and key are
                divided by their lengths (at least 1e-12) and rounded to the type of `qkv`.
            heads: h.
            tiles: rows queries, columns keys, inner programs to aim at (each goes over several images).

        Returns:
            [B, L, h*d] in the order of the stream and the type of `qkv`. exp(score - maximum) is rounded to that type
            before it meets the values; their sum is not.
        """
        ...

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
        """A block's whole second half, the hidden features never leaving the chip; for narrow stages.

        V1: `x + second(gelu(first(norm(x))))`, the norm's scale and shift in `first`.
        V2 (with `norm_weight`): `x + norm(second(gelu(first(x))))`.

        Args:
            x: [..., C].
            first: [F, C].
            first_bias: [F], FP32.
            second: [C, F].
            second_bias: [C], FP32.
            norm_weight: V2: [C], FP32.
            norm_bias: V2: [C], FP32.
            eps: Of the norm.
            tiles: rows rows of x, columns hidden features at a time, inner unused.

        Returns:
            [..., C] in the type of x. The norm's result (V1) and the GELU's are rounded to that type.
        """
        ...

    def add_norm(
        self, x: Tensor | None, y: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()
    ) -> Tensor:
        """V2's `x + norm(y)`, `norm(y)` without x: [..., C] in one type, scale and shift [C] in FP32.

        Tiles: rows rows, columns C.
        """
        ...

    def token_mean(self, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()) -> Tensor:
        """A classifier's `norm(x).mean(tokens)`: x [B, L, C] to [B, C], scale and shift [C] in FP32."""
        ...

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
        """Each row in INT8 (or FP8 E4M3) with a step of its own, behind a norm where there is one.

        Args:
            x: [..., K].
            norm_weight: [K], FP32, or `None` for no norm.
            norm_bias: Likewise.
            eps: Of the norm.
            fp8: E4M3 in place of INT8.
            tiles: rows rows, columns K.

        Returns:
            The grid values [..., K] in int8 (round half to even) or float8_e4m3fn, and each row's step [...] in FP32:
            the largest magnitude over 127 (over 448 in FP8), 1 for a row of zeros (all below 1e-35). A row with a value
            that is not finite is zeros with the step NaN, so that it reaches the outputs.
        """
        ...

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
        """`gelu((x @ weight.T) * steps * weight_steps + bias) + residual` on grid values.

        Args:
            x: [..., K], int8 or float8_e4m3fn.
            steps: [...], FP32; `None` where all are the same, and stand in `weight_steps`.
            weight: [N, K], likewise.
            weight_steps: [N], FP32.
            bias: [N], FP32.
            residual: [..., N]; its type is the result's.
            gelu: The exact GELU.
            half: Without `residual`: the result is FP16, else BF16.
            out_step: Other than 0: the result is float8_e4m3fn, divided by this step and at most 448 in size; without
                `residual`.
            tiles: rows rows of x, columns N, inner K.

        Returns:
            [..., N]. INT8 products are summed in INT32, exactly; FP8 ones in FP32, as the tensor cores have it.
        """
        ...
