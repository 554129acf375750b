"""Networks as users bring them: written here, made by other code bases, and spoiled in every way that is told.

The functions are named to `--model` as `tests.own_networks:<function>`; what they return has random weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SPOILED", "Biased", "Dense", "Plain", "hugging_face", "made", "plain", "timm_inside", "torchvision_v2"]

SIZE = (16, 16)


def made(function: Callable[[], nn.Module]) -> Any:
    """What `function` makes, with weights of some size everywhere, in evaluation mode."""
    torch.manual_seed(0)
    network = function()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.ndim > 1 else 0.5))
    return network.eval()


class Plain(nn.Module):
    """A patch embedding, an MLP of two linears on tokens, dropout and a head."""

    def __init__(self, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, classes)

    def tokens(self, images: Tensor) -> Tensor:
        x = self.norm(self.embed(images).flatten(2).transpose(1, 2))  # [B, L, C]
        return x + self.dropout(self.second(F.gelu(self.first(x))))

    def forward(self, images: Tensor) -> Any:
        return self.head(self.tokens(images).mean(1))


def plain() -> nn.Module:
    return Plain()


class Biased(Plain):
    """`Plain` with a bias that an MLP makes of a table, and a part of which is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.bias = nn.Parameter(torch.zeros(5, 2)), nn.Linear(2, 5)

    def forward(self, images: Tensor) -> Any:
        made = (16 * torch.sigmoid(self.bias(self.table))).exp().log()  # [5, 5]
        row = made[0].clone()
        row[1:3].zero_()
        return super().forward(images) + row


class Dense(nn.Module):
    """Two maps and a row of logits, in a structure of the caller's choice."""

    def __init__(self, shape: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.fine, self.coarse, self.head = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 6, 2, 2), nn.Linear(6, 5)
        self.shape = shape

    def forward(self, images: Tensor) -> Any:
        fine = self.fine(images)
        coarse = self.coarse(fine.relu())
        return self.shape(fine, coarse, self.head(coarse.mean((2, 3))))


class Fields(NamedTuple):
    fine: Tensor
    coarse: Tensor


@dataclass
class Result:
    fine: Tensor
    loss: Tensor | None
    logits: Tensor


def pyramid() -> nn.Module:
    """Several dense outputs in a dictionary."""
    return Dense(lambda fine, coarse, logits: {"fine": fine, "coarse": coarse, "logits": logits})


class Own(nn.Module):
    """A timm model inside a module of the user's own, as training code wraps it; every key begins with `model.`."""

    def __init__(self) -> None:
        super().__init__()
        timm = pytest.importorskip("timm")
        self.model = timm.create_model(
            "swin_tiny_patch4_window7_224",
            pretrained=False,
            num_classes=5,
            img_size=16,
            patch_size=2,
            window_size=4,
            embed_dim=16,
            depths=(2,),
            num_heads=(2,),
        )

    def forward(self, images: Tensor) -> Any:
        return self.model(2 * images - 1)


def timm_inside() -> nn.Module:
    return Own()


def torchvision_v2() -> nn.Module:
    """It zeroes the key's bias in place, in a clone that the forward pass makes."""
    models = pytest.importorskip("torchvision").models.swin_transformer
    network: nn.Module = models.SwinTransformer(
        patch_size=[2, 2],
        embed_dim=16,
        depths=[2],
        num_heads=[2],
        window_size=[4, 4],
        num_classes=5,
        block=models.SwinTransformerBlockV2,
        downsample_layer=models.PatchMergingV2,
    )
    return network


def hugging_face() -> nn.Module:
    """It returns a ModelOutput of two tensors."""
    transformers = pytest.importorskip("transformers")
    network: nn.Module = transformers.SwinModel(
        transformers.SwinConfig(image_size=16, patch_size=2, embed_dim=16, depths=[2], num_heads=[2], window_size=4)
    )
    return network


def hugging_face_backbone() -> nn.Module:
    """It returns a tuple of maps inside a ModelOutput."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=16,
        patch_size=2,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 2],
        window_size=4,
        out_features=["stage1", "stage2"],
    )
    network: nn.Module = transformers.SwinBackbone(config)
    return network


# Spoiled


class Spoiled(Plain):
    """`Plain` with an answer that `spoil` makes of the logits and the images."""

    def __init__(self, spoil: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.spoil = spoil

    def forward(self, images: Tensor) -> Any:
        return self.spoil(super().forward(images), images)


class Counting(Plain):
    """Its answer depends on how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images: Tensor) -> Any:
        self.calls += 1
        return super().forward(images) + self.calls


def _branch(logits: Tensor, images: Tensor) -> Tensor:
    if logits.sum() > 1e9:
        return -logits
    return logits


def _fixed(logits: Tensor, images: Tensor) -> Tensor:
    return logits + torch.zeros(int(images.shape[0]), 1)


def _remembers(logits: Tensor, images: Tensor) -> Tensor:
    # Libraries ask this to take another way when they are traced.
    return logits + (0.0 if torch.compiler.is_exporting() else 1.0)


# Each with words of the sentence that tells it.
SPOILED: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "no tensors": (lambda logits, images: "five", "outputs are no tensors"),
    "a loss": (lambda logits, images: {"logits": logits, "loss": logits.sum()}, r"loss \[\]"),
    "its input's name": (lambda logits, images: {"images": logits}, "are called images"),
    "one name twice": (lambda logits, images: {"a": (logits,), "a0": logits}, "are called a0, a0"),
    "a view of two": (lambda logits, images: logits.view(2, 5), "fails on 1 image of 3x16x16"),
    "a lost axis": (lambda logits, images: logits.squeeze(), r"at batch 1 .* \[5\]"),
    "an int of the batch": (_fixed, "makes a constant of the batch size"),
    "a branch": (_branch, r"own_networks\.py, line \d+, depends on a value: if logits\.sum\(\) > 1e9"),
    "dropout of its own": (lambda logits, images: F.dropout(logits), "another answer each time"),
    "random numbers": (lambda logits, images: logits + torch.rand(5), "another answer each time"),
    "a traced difference": (_remembers, "captured network gives another answer than the network itself at batch 1"),
}


def spoiled(name: str) -> nn.Module:
    return made(functools.partial(Spoiled, SPOILED[name][0]))


# Functions that make no network


def fails() -> nn.Module:
    raise KeyError("no such file\nand more")


def leaves() -> nn.Module:
    raise SystemExit(2)


def nothing() -> None:
    return None


def wider() -> nn.Module:
    return Plain(classes=7)


not_a_function = 5
