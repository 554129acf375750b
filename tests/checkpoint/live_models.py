"""Models of other code bases, made in the test, with weights on which nothing cancels by chance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from swin_deploy.model.reference import LOGIT_SCALE_MAX

__all__ = ["filled", "random_batch"]


def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` in evaluation mode with random weights: see `tests/random_swin.py` for why not with its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_random(name, parameter, generator))
        for name, buffer in model.named_buffers():  # of batch norms in a segmenter's head
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def random_batch(height: int, width: int, *, batch: int = 2, seed: int = 1) -> Tensor:
    """Standard normal images [batch, 3, height, width], FP64 with values that FP32 holds too."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, height, width, generator=generator).double()


def _random(name: str, parameter: Tensor, generator: torch.Generator) -> Tensor:
    normal = torch.randn(parameter.shape, generator=generator)
    uniform = torch.rand(parameter.shape, generator=generator)
    if name.endswith("logit_scale"):
        scales = math.log(10) + 0.5 * normal
        scales[-1] = LOGIT_SCALE_MAX + 0.4  # beyond the clamp
        return scales
    if name.endswith("relative_position_bias_table"):
        return normal
    if name.endswith(".bias"):  # V2's key, too, where a code base keeps a parameter for it
        return 0.1 * normal
    if parameter.ndim == 1:
        return 0.5 + uniform  # a norm's scale
    if parameter.ndim == 4:
        return 0.2 * normal
    if parameter.shape[-1] == 2:  # the bias MLP's first layer
        return normal
    if "mlp.2" in name and parameter.shape[-1] == 512:  # its second: 16 * sigmoid spans most of 0..16
        return 0.1 * normal
    return 0.05 * normal
