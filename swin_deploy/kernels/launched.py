"""The fused operators by their kernels, whoever carries the launches out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swin_deploy.kernels.add_norm import add_norm
from swin_deploy.kernels.launch import Run
from swin_deploy.kernels.linear import linear
from swin_deploy.kernels.mlp import mlp
from swin_deploy.kernels.patch_embed import patch_embed
from swin_deploy.kernels.quantize_rows import quantize_rows
from swin_deploy.kernels.quantized_linear import quantized_linear
from swin_deploy.kernels.token_mean import token_mean
from swin_deploy.kernels.window_attention import window_attention

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LaunchedOperators"]


class LaunchedOperators:
    """See `operators.Operators`. Tensors that are not contiguous, which kernels do not know, are made so.

    Args:
        run: Carries the launches out.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

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
        images = images.contiguous()
        return patch_embed(self._run, images, weight, bias, order, norm_weight, norm_bias, eps=eps, tiles=tiles)

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
        x, residual = x.contiguous(), _whole(residual)
        return linear(self._run, x, weight, bias, column, residual, eps=eps, gelu=gelu, tiles=tiles)

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
        qkv = qkv.contiguous()
        return window_attention(
            self._run, qkv, padding, constant, mask, positions, logit_scale, heads=heads, tiles=tiles
        )

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
        x = x.contiguous()
        return mlp(self._run, x, first, first_bias, second, second_bias, norm_weight, norm_bias, eps=eps, tiles=tiles)

    def add_norm(
        self, x: Tensor | None, y: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()
    ) -> Tensor:
        """See `Operators.add_norm`."""
        return add_norm(self._run, _whole(x), y.contiguous(), weight, bias, eps=eps, tiles=tiles)

    def token_mean(self, x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, tiles: Sequence[int] = ()) -> Tensor:
        """See `Operators.token_mean`."""
        return token_mean(self._run, x.contiguous(), weight, bias, eps=eps, tiles=tiles)

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
        return quantize_rows(self._run, x.contiguous(), norm_weight, norm_bias, eps=eps, fp8=fp8, tiles=tiles)

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
        x, steps, residual = x.contiguous(), _whole(steps), _whole(residual)
        return quantized_linear(
            self._run,
            x,
            steps,
            weight,
            weight_steps,
            bias,
            residual,
            gelu=gelu,
            half=half,
            out_step=out_step,
            tiles=tiles,
        )


def _whole(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
