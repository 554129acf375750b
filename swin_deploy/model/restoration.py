"""Image restoration with Swin blocks: SwinIR (V1 blocks) and Swin2SR (V2 blocks), in paper and deployment form.

Residual groups of blocks stand between convolutions, at the resolution of the input; the upsampler behind them reaches
that of the output. Written from the papers and checked against the original code:
Liang et al., "SwinIR: Image Restoration Using Swin Transformer" (2021), figure 2 and section 3, and
Conde et al., "Swin2SR: SwinV2 Transformer for Compressed Image Super-Resolution and Restoration" (2022).
Shapes: B images, c image channels, H x W pixels after padding, C features, s scale.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import GroupConv, Restoration
from swin_deploy.model.deployment import Exit, make_blocks, make_exits, outer_type
from swin_deploy.model.layout import token_layout
from swin_deploy.model.reference import Stage

__all__ = ["DeploymentRestoration", "Embedding", "ReferenceRestoration", "reflect", "upsampler"]


class Embedding(nn.Module):
    """Features to tokens: a 1x1 convolution in Swin2SR, then a norm."""

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        dim = spec.stages[0].dim
        self.proj = nn.Conv2d(dim, dim, 1) if _task(spec).embed_conv else None
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps) if spec.patch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, H, W, C]."""
        if self.proj is not None:
            x = self.proj(x)
        x = x.permute(0, 2, 3, 1)  # [B, H, W, C]
        return x if self.norm is None else cast(Tensor, self.norm(x))


class ReferenceRestoration(nn.Module):
    """The paper form. Its `state_dict` names are the canonical names of the toolkit."""

    mean: Tensor

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        task, dim = _task(spec), spec.stages[0].dim
        self.conv_first = _conv(spec.channels, dim)
        self.patch_embed = Embedding(spec)
        self.stages = nn.ModuleList(Stage(spec, index) for index in range(len(spec.stages)))
        self.convs = nn.ModuleList(_convolutions(task.group_conv, dim) for _ in spec.stages)
        self.embeds = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in spec.stages if task.embed_conv)
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps)
        self.conv_after_body = _convolutions(task.body_conv, dim)
        self.upsample = upsampler(spec)
        self.register_buffer("mean", _column(task.mean), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, c, Hpx, Wpx] on the 0..1 scale to [B, c, s*Hpx, s*Wpx], not clamped."""
        task = _task(self.spec)
        pixels = (reflect(images, self.spec) - self.mean) * task.image_range  # [B, c, H, W]
        shallow = self.conv_first(pixels)  # [B, C, H, W]
        x = self.patch_embed(shallow)  # [B, H, W, C]
        for index, stage in enumerate(self.stages):
            group = self.convs[index](stage(x).permute(0, 3, 1, 2))  # [B, C, H, W]
            if len(self.embeds):
                group = self.embeds[index](group)
            x = x + group.permute(0, 2, 3, 1)  # [B, H, W, C]
        x = self.conv_after_body(self.norm(x).permute(0, 3, 1, 2)) + shallow  # [B, C, H, W]
        x = self.upsample(x)  # [B, c, s*H, s*W]
        if task.upsampler == "none":
            x = x + pixels
        return _crop(x / task.image_range + self.mean, self.spec)

    def folded_around(self) -> dict[str, Mapping[str, Tensor]]:
        """The weights of `DeploymentRestoration` around its blocks, by the name of the part.

        What is linear and next to a convolution goes into it: the image range at both ends, the mean at the output,
        and the 1x1 convolution behind a group's. The mean at the input does not, since the first convolution's padding
        is zero behind the subtraction; neither does the last norm's shift, for the same reason.
        """
        task = _task(self.spec)
        parts = {name: dict(part.state_dict()) for name, part in self.named_children() if name != "stages"}
        parts["conv_first"]["weight"] = parts["conv_first"]["weight"] * task.image_range
        for index, point in enumerate(self.embeds):
            last = f"{index}.{len(cast(nn.Sequential, self.convs[index])) - 1}"
            _compose(parts["convs"], last, cast(nn.Conv2d, point))
        del parts["embeds"]
        ends = parts["upsample"]
        ends["conv_last.weight"] = ends["conv_last.weight"] / task.image_range
        ends["conv_last.bias"] = ends["conv_last.bias"] / task.image_range
        if task.upsampler != "none":  # there the mean is part of the image that is added back
            bias = ends["conv_last.bias"].reshape(self.spec.channels, -1)  # [c, s*s or 1], as pixel shuffle reads it
            ends["conv_last.bias"] = (bias + self.mean.reshape(-1, 1)).flatten()
        return cast("dict[str, Mapping[str, Tensor]]", parts)


class DeploymentRestoration(nn.Module):
    """The folded form; `swin_deploy.model.fold` fills it."""

    mean: Tensor | None

    def __init__(self, spec: SwinSpec) -> None:
        super().__init__()
        self.spec = spec
        task, dim = _task(spec), spec.stages[0].dim
        self.conv_first = _conv(spec.channels, dim)
        self.patch_embed = Embedding(spec)
        layout = token_layout(spec)
        self.blocks = make_blocks(spec, layout)
        self.exits = make_exits(spec, layout)
        self.convs = nn.ModuleList(_convolutions(task.group_conv, dim) for _ in spec.stages)
        self.norm = nn.LayerNorm(dim, eps=spec.norm_eps)
        self.conv_after_body = _convolutions(task.body_conv, dim)
        self.upsample = upsampler(spec)
        self.register_buffer("mean", _column(task.mean) if any(task.mean) else None, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """`images` [B, c, Hpx, Wpx] on the 0..1 scale to [B, c, s*Hpx, s*Wpx], not clamped.

        Images and outputs are FP32 whatever the arithmetic inside (FP64 in an FP64 model).
        """
        inside = self.conv_first.weight.dtype
        outside = outer_type(inside)
        pixels = reflect(images, self.spec)  # [B, c, H, W]
        x = pixels.to(inside)
        shallow = self.conv_first(x if self.mean is None else x - self.mean)  # [B, C, H, W]
        x = self.patch_embed(shallow).flatten(1, 2)  # [B, L, C], raster order
        group = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if str(index) in self.exits:
                exit_ = cast(Exit, self.exits[str(index)])
                x = group = group + self.convs[exit_.stage](exit_(x)).flatten(2).transpose(1, 2)  # [B, L, C], raster
        x = self.norm(x).transpose(1, 2).reshape(-1, x.shape[-1], *self.spec.padded_image)  # [B, C, H, W]
        x = self.upsample(self.conv_after_body(x) + shallow).to(outside)  # [B, c, s*H, s*W]
        if _task(self.spec).upsampler == "none":
            x = x + pixels.to(outside)
        return _crop(x, self.spec)


def upsampler(spec: SwinSpec) -> nn.Sequential:
    """The way from features [B, C, H, W] to the image [B, c, s*H, s*W]; its last convolution is `conv_last`."""
    task, dim, width = _task(spec), spec.stages[0].dim, _task(spec).features
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if task.upsampler == "none":
        parts["conv_last"] = _conv(dim, spec.channels)
        return nn.Sequential(parts)
    if task.upsampler == "pixelshuffledirect":
        parts["conv_last"] = _conv(dim, task.scale**2 * spec.channels)
        parts["shuffle"] = nn.PixelShuffle(task.scale)
        return nn.Sequential(parts)
    parts["conv_before"] = _conv(dim, width)
    parts["relu_before"] = nn.LeakyReLU(0.01)  # the others of SwinIR have 0.2
    if task.upsampler == "pixelshuffle":
        steps = [3] if task.scale == 3 else [2] * (task.scale.bit_length() - 1)
        for index, step in enumerate(steps):
            parts[f"conv_up{index}"] = _conv(width, step**2 * width)
            parts[f"shuffle{index}"] = nn.PixelShuffle(step)
    else:
        for index in range(2):
            parts[f"nearest{index}"] = nn.Upsample(scale_factor=2, mode="nearest")
            parts[f"conv_up{index}"] = _conv(width, width)
            parts[f"relu_up{index}"] = nn.LeakyReLU(0.2)
        parts["conv_hr"] = _conv(width, width)
        parts["relu_hr"] = nn.LeakyReLU(0.2)
    parts["conv_last"] = _conv(width, spec.channels)
    return nn.Sequential(parts)


def reflect(images: Tensor, spec: SwinSpec) -> Tensor:
    """Reflect images below and to the right up to whole windows: [B, c, Hpx, Wpx] to [B, c, H, W]."""
    (height, width), padded = spec.image_size, spec.padded_image
    if padded == spec.image_size:
        return images
    return F.pad(images, (0, padded[1] - width, 0, padded[0] - height), mode="reflect")


def _crop(x: Tensor, spec: SwinSpec) -> Tensor:
    """Cut off what was reflected: [B, c, s*H, s*W] to [B, c, s*Hpx, s*Wpx]."""
    if spec.padded_image == spec.image_size:
        return x
    height, width = (_task(spec).scale * side for side in spec.image_size)
    return x[:, :, :height, :width]


def _compose(convs: dict[str, Tensor], last: str, point: nn.Conv2d) -> None:
    """Replace the convolution `last` of `convs` by itself followed by the 1x1 convolution `point`."""
    mix, shift = point.weight[:, :, 0, 0], point.bias  # [C, C], [C]
    assert shift is not None
    convs[f"{last}.weight"] = torch.einsum("om,mikl->oikl", mix, convs[f"{last}.weight"])
    convs[f"{last}.bias"] = mix @ convs[f"{last}.bias"] + shift


def _conv(dim_in: int, dim_out: int) -> nn.Conv2d:
    return nn.Conv2d(dim_in, dim_out, 3, padding=1)


def _convolutions(kind: GroupConv, dim: int) -> nn.Sequential:
    """What ends a residual group: one convolution, or three with a bottleneck (SwinIR's large model)."""
    if kind == "1conv":
        return nn.Sequential(_conv(dim, dim))
    narrow = dim // 4
    return nn.Sequential(
        _conv(dim, narrow), nn.LeakyReLU(0.2), nn.Conv2d(narrow, narrow, 1), nn.LeakyReLU(0.2), _conv(narrow, dim)
    )


def _column(mean: tuple[float, ...]) -> Tensor:
    """[1, c, 1, 1]. In FP32 first, as the published weights were trained."""
    return torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1).to(torch.get_default_dtype())


def _task(spec: SwinSpec) -> Restoration:
    assert isinstance(spec.task, Restoration)
    return spec.task
