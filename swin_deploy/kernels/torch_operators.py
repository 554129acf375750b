"""Who computes the fused operators in PyTorch: the kernels on a GPU, the twins everywhere else.

On a GPU a graph holds operators of ours that a compiler takes apart into launches (`registered_operators`); on a CPU it
holds the twins' operators, which are PyTorch's own. So a package of either kind needs nothing of ours where it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch

from swin_deploy.kernels.twins import TwinOperators

if TYPE_CHECKING:
    from torch import Tensor

    from swin_deploy.kernels.operators import Operators

__all__ = ["TorchOperators"]


class TorchOperators:
    """See `operators.Operators`: the kernels for tensors on a GPU, and the twins elsewhere and in FP64."""

    def __init__(self) -> None:
        self._twins = TwinOperators()

    def patch_embed(self, images: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.patch_embed`."""
        return self._by(weight).patch_embed(images, weight, *rest, **options)

    def linear(self, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.linear`."""
        return self._by(x).linear(x, *rest, **options)

    def window_attention(self, qkv: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.window_attention`."""
        return self._by(qkv).window_attention(qkv, *rest, **options)

    def mlp(self, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.mlp`."""
        return self._by(x).mlp(x, *rest, **options)

    def add_norm(self, x: Tensor | None, y: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.add_norm`."""
        return self._by(y).add_norm(x, y, *rest, **options)

    def token_mean(self, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.token_mean`."""
        return self._by(x).token_mean(x, *rest, **options)

    def quantize_rows(self, x: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """See `Operators.quantize_rows`."""
        return self._by(x).quantize_rows(x, *rest, **options)

    def quantized_linear(self, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        """See `Operators.quantized_linear`."""
        return self._by(x).quantized_linear(x, *rest, **options)

    def _by(self, tensor: Tensor) -> Operators:
        if not tensor.is_cuda or tensor.dtype == torch.float64:
            return self._twins
        # Imported here, since it needs Triton, which a machine without a GPU may not have.
        import swin_deploy.kernels.registered_operators  # noqa: F401

        # The namespace has our operators as its functions.
        return cast("Operators", torch.ops.swin_deploy)
