"""A network computed in half precision whole, with FP32 at its edges: what `module.half()` gives, and no care taken."""

from __future__ import annotations

from torch import Tensor, dtype, nn

__all__ = ["Rounded"]


class Rounded(nn.Module):
    """`network` with its weights and its input rounded.

    Args:
        network: Changed in place.
        to: FP16, BF16, or FP32, which changes nothing.
    """

    def __init__(self, network: nn.Module, to: dtype) -> None:
        super().__init__()
        self.network, self._to = network.to(to), to

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """From images [B, channels, H, W] in FP32 to the network's outputs, in FP32 too."""
        found = self.network(images.to(self._to))
        if isinstance(found, Tensor):
            return found.float()
        return tuple(tensor.float() for tensor in found)
