"""Rows of torchvision, whose own models run in the test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from torch import nn

from tests.checkpoint.live_models import filled, random_batch
from tests.checkpoint.parity_row import Original, ParityRow, Sample

__all__ = ["ROWS", "torchvision_model"]

Family = Literal["v1", "v2"]
# With patches of 4 and two stages. 14x14 and 7x7 tokens; 10x10 and 5x5, padded, the last window larger than the map;
# 9x15 and 5x8; 11x20 and 6x10 of an image that patches do not cover; one window on one axis in the first stage.
_SIZES = ((56, 56), (40, 40), (36, 60), (46, 83), (28, 60))


def torchvision_model(family: Family, window: tuple[int, int] = (7, 7), seed: int = 0) -> Any:
    """A small Swin of torchvision, made as `swin_t` and `swin_v2_t` are."""
    pytest.importorskip("torchvision")
    from torchvision.models import swin_transformer as theirs

    parts: dict[str, Any] = {"block": theirs.SwinTransformerBlock, "downsample_layer": theirs.PatchMerging}
    if family == "v2":
        parts = {"block": theirs.SwinTransformerBlockV2, "downsample_layer": theirs.PatchMergingV2}
    model = theirs.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=list(window),
        mlp_ratio=2.0,
        num_classes=5,
        **parts,
    )
    return filled(model, seed)


@torch.no_grad()
def _classifier(family: Family, window: tuple[int, int] = (7, 7)) -> Original:
    model = torchvision_model(family, window)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.double()
    images = [random_batch(*size) for size in _SIZES]
    return Original(state, tuple(Sample(batch, (model(batch),)) for batch in images))


@torch.no_grad()
def _backbone(family: Family) -> Original:
    model = torchvision_model(family)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.double()
    features: dict[int, torch.Tensor] = {}

    def kept(stage: int, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        features[stage] = output.permute(0, 3, 1, 2)  # [B, C, H, W]

    for stage in range(2):
        model.features[2 * stage + 1].register_forward_hook(partial(kept, stage))
    samples = []
    for size in _SIZES:
        batch = random_batch(*size)
        model(batch)
        samples.append(Sample(batch, (features[0], features[1])))
    return Original(state, tuple(samples), {"task": "backbone"})


def _row(family: Family, task: str, case: str, original: Callable[[], Original]) -> ParityRow:
    return ParityRow("torchvision", family, task, case, "live", original, padded=True)


ROWS = (
    _row("v1", "classification", "swin_t", partial(_classifier, "v1")),
    _row("v1", "classification", "oblong windows", partial(_classifier, "v1", (5, 8))),
    _row("v1", "backbone", "hooks", partial(_backbone, "v1")),
    _row("v2", "classification", "swin_v2_t", partial(_classifier, "v2")),
    _row("v2", "classification", "oblong windows", partial(_classifier, "v2", (5, 8))),
    _row("v2", "backbone", "hooks", partial(_backbone, "v2")),
)
