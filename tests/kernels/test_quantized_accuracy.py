"""INT8 and FP8 linears of the fused form on the trained demo model: a step a row of the activations and of the weights.

On 500 test images, on a CPU with the operators' twins (FP16 elsewhere, MLPs of up to 192 channels in one kernel):
46.8 dB and 99.8 % the same answers in INT8, 36.3 dB and 99.2 % in FP8, where FP16 has 67.8 dB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calib.images import open_images
from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.device.distances import distance
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fold import fold
from swin_deploy.model.fused import fuse
from swin_deploy.model.fused_layers import QuantizedLinear
from swin_deploy.model.fusion_plan import FusionPlan, Linears
from swin_deploy.recipe import Recipe
from swin_deploy.request import preprocessing

CIFAR10 = Path(__file__).resolve().parents[2] / "examples" / "cifar10"
CHECKPOINT = CIFAR10 / "swin_v1_cifar10.safetensors"


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return fold(load_checkpoint(CHECKPOINT).reference()).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    prepare = preprocessing(Recipe(str(CHECKPOINT)), load_checkpoint(CHECKPOINT), real_images=True)
    return torch.from_numpy(np.asarray(prepare.batch(open_images(CIFAR10 / "eval.tar.xz", limit=16)), np.float32))


def quantized(model: nn.Module, linears: Linears) -> nn.Module:
    return fuse(model, FusionPlan(linears=linears), torch.float16, TwinOperators()).eval()


@torch.no_grad()
def sqnr_db(fused: nn.Module, model: nn.Module, images: Tensor) -> float:
    return distance(fused(images).numpy(), model(images).numpy()).sqnr_db


@pytest.mark.parametrize(("linears", "least"), (("int8", 44.0), ("fp8", 33.0)))
def test_it_is_far_above_its_gate(model: nn.Module, images: Tensor, linears: Linears, least: float) -> None:
    fused = quantized(model, linears)
    assert sum(isinstance(module, QuantizedLinear) for module in fused.modules()) == 26
    assert sqnr_db(fused, model, images) > least


def test_steps_of_another_channel_are_seen(model: nn.Module, images: Tensor) -> None:
    fused = quantized(model, "int8")
    layer = next(module for module in fused.modules() if isinstance(module, QuantizedLinear))
    layer.steps.copy_(layer.steps.roll(1))
    assert sqnr_db(fused, model, images) < 35
