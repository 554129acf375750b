"""Rows of SwinIR and Swin2SR (recorded), and of Swin2SR in transformers (live)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.checkpoint.parity_row import Original, ParityRow, Sample, golden

__all__ = ["ROWS", "hugging_face"]


def reflected(images: Tensor, window: int) -> Tensor:
    """Images [B, c, H, W] up to whole windows.

    transformers' Swin2SR means to do so, and then fails (5.23 reads the size before it pads).
    """
    pads = [(0, 0), (0, 0), *((0, -side % window) for side in images.shape[2:])]
    return torch.from_numpy(np.pad(images.numpy(), pads, mode="reflect"))


def hugging_face(
    *, sizes: tuple[tuple[int, int], ...] = ((8, 8), (11, 9), (4, 8)), seed: int = 0, **arguments: Any
) -> Callable[[], Original]:
    """A Swin2SR of transformers with random weights, what `save_pretrained` writes of it, and what it answers."""

    def make() -> Original:
        transformers = pytest.importorskip("transformers")
        config = transformers.Swin2SRConfig(
            **{
                "image_size": 16,
                "embed_dim": 12,
                "depths": [2, 1],
                "num_heads": [2, 3],
                "window_size": 4,
                "mlp_ratio": 2.0,
                **arguments,
            }
        )
        model = transformers.Swin2SRForImageSuperResolution(config).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                fan_in = max(weight[0].numel(), 1)
                weight.copy_(torch.randn(weight.shape, generator=generator) / fan_in**0.5)
                if "layernorm" in name and name.endswith("weight"):
                    weight.abs_().add_(0.5)
                if name.endswith("logit_scale"):
                    weight.add_(2.3)
            state = {name: weight.clone() for name, weight in model.state_dict().items()}
            model.double()
            samples = []
            for size in sizes:
                images = torch.rand(2, config.num_channels, *size, generator=generator)
                image = model(reflected(images.double(), config.window_size)).reconstruction
                scale = config.upscale
                samples.append(Sample(images, (image[:, :, : scale * size[0], : scale * size[1]],)))
        return Original(state, tuple(samples), sidecar=json.loads(config.to_json_string()))

    return make


def _row(dialect: str, family: str, case: str, file: str, **options: Any) -> ParityRow:
    original = golden(file, **{"image_range": 1.0, **options})
    return ParityRow(dialect, family, "restoration", case, "golden", original, padded=True)


def _live(case: str, *, padded: bool = True, refused: str = "", **arguments: Any) -> ParityRow:
    original = hugging_face(**arguments)
    return ParityRow("huggingface-swin2sr", "v2", "restoration", case, "live", original, padded=padded, refused=refused)


ROWS = (
    _row("swinir", "v1", "classical x2", "swinir_classical_x2"),
    _row("swinir", "v1", "lightweight x2", "swinir_light_x2"),
    _row("swinir", "v1", "real-world x4", "swinir_real_x4"),
    _row("swinir", "v1", "denoising", "swinir_denoise"),
    _row("swinir", "v1", "denoising 3conv", "swinir_denoise_3conv"),
    _row("swinir", "v1", "denoising, built for one window", "swinir_denoise_one_window"),
    _row("swinir", "v1", "JPEG artifacts, grey", "swinir_jpeg_gray", image_range=255.0),
    _row("swin2sr", "v2", "classical x2", "swin2sr_classical_x2"),
    _row("swin2sr", "v2", "lightweight x2", "swin2sr_light_x2"),
    _live("classical x2"),
    _live("classical x3", upscale=3),
    _live("classical x4, range 255", upscale=4, img_range=255.0),
    _live("classical x2, no qkv bias", qkv_bias=False),
    _live("lightweight x2", upsampler="pixelshuffledirect"),
    _live("lightweight x3, 3conv", upsampler="pixelshuffledirect", upscale=3, resi_connection="3conv"),
    _live("real-world x4", upsampler="nearest+conv", upscale=4),
    _live("narrow heads", num_heads=[6, 6]),  # where the mask that is added twice is seen
    _live("grey, denoising", upsampler="", upscale=1, num_channels=1, sizes=((8, 8),), padded=False),
    _live("denoising", upsampler="", upscale=1, sizes=((8, 8),), refused="adds the mean to an image that has it"),
    _live("built for one window", image_size=4),
    _live("compressed x4", upsampler="pixelshuffle_aux", upscale=4, sizes=((8, 8),), refused="pixelshuffle_aux"),
    _live("grey output", num_channels_out=1, sizes=((8, 8),), refused="channels of the image"),
)
