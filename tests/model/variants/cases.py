"""Blocks to try a variant on, and weights under which its parts have something to say."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.layout import reorder
from swin_deploy.model.variants.registry import find_variant
from swin_deploy.model.windows import PADDING, window_order
from tests.random_swin import random_reference, small_spec

__all__ = ["GEOMETRIES", "V1_STAGE", "V2_STAGE", "from_stream", "make", "model", "raster", "spread", "to_stream"]

GEOMETRIES = {
    "plain": BlockGeometry((4, 6), (2, 3), (0, 0)),
    "shifted": BlockGeometry((6, 9), (3, 3), (1, 1)),
    "shifted_on_one_axis": BlockGeometry((4, 8), (4, 4), (0, 2)),
    "padded": BlockGeometry((5, 7), (3, 4), (0, 0)),
    "padded_and_shifted": BlockGeometry((5, 7), (3, 3), (1, 1)),
    "rolled_and_padded": BlockGeometry((5, 7), (3, 4), (1, 2), roll_first=True),
    "smaller_than_its_window": BlockGeometry((2, 3), (4, 4), (2, 1)),
    "mostly_whole_windows": BlockGeometry((8, 8), (2, 2), (1, 1)),
}
V1_STAGE = StageSpec(2, 16, 2, (4, 4), 32)
V2_STAGE = StageSpec(2, 16, 2, (4, 4), 32, (4, 4))


def spread(module: nn.Module, seed: int = 0) -> None:
    """Weights of an attention under which scores, slots, features and gates all spread; buffers keep their meaning."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        normal = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        if name.endswith("running_var") or name.endswith("norm.weight"):
            normal = 0.5 + torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        elif name.endswith("num_batches_tracked") or name.endswith("features"):
            continue
        elif name.endswith("logit_scale"):
            normal = math.log(10) + 0.5 * normal
        elif name.endswith(("qkv.weight", "proj.weight", "cpb_mlp.2.weight", "key_projection", "value_projection")):
            normal = normal / tensor.shape[1] ** 0.5
        elif name.endswith("qkv.bias") and hasattr(module, "logit_scale"):
            normal.chunk(3)[1].zero_()  # V2's key has none
        tensor.copy_(normal)


def make(name: str, geometry: BlockGeometry, stage: StageSpec = V1_STAGE, seed: int = 0) -> Any:
    """One attention in FP64, in evaluation mode."""
    module = find_variant(name)(stage, geometry).double().eval()
    spread(module, seed)
    return module


def raster(geometry: BlockGeometry, batch: int, channels: int = 16, seed: int = 1) -> Tensor:
    """A feature map [B, H, W, C] in FP64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *geometry.feature_map, channels, generator=generator, dtype=torch.float64)


def model(name: str, seed: int = 0, **changes: Any) -> Any:
    """A whole Swin in paper form with spread attention, FP32."""
    found = random_reference(small_spec(changes.pop("family", "v1"), attention=name, **changes), seed)
    for number, module in enumerate(found.modules()):
        if hasattr(module, "qkv"):
            spread(module, seed + number)
    return found


def to_stream(x: Tensor, geometry: BlockGeometry) -> Tensor:
    """[B, H, W, C] to [B, L, C] in window order, with zeros for padding."""
    order = torch.from_numpy(_order(geometry))
    stream = x.flatten(1, 2)[:, order.clamp(min=0)]
    return stream * (order != PADDING)[:, None]


def from_stream(x: Tensor, geometry: BlockGeometry) -> Tensor:
    """Undo `to_stream`."""
    height, width = geometry.feature_map
    positions = reorder(_order(geometry), torch.arange(height * width).numpy())
    tokens = x if positions is None else x[:, torch.from_numpy(positions)]
    return tokens.unflatten(1, geometry.feature_map)


def _order(geometry: BlockGeometry) -> Any:
    return window_order(geometry.feature_map, geometry.window, geometry.shift, roll_first=geometry.roll_first)
