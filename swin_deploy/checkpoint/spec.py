"""The architecture of a Swin classifier, as far as a deployment needs to know it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from swin_deploy.errors import BadInput
from swin_deploy.model.windows import effective_window

__all__ = ["BlockGeometry", "Family", "StageSpec", "SwinSpec"]

Family = Literal["v1", "v2"]
Size = tuple[int, int]


@dataclass(frozen=True)
class StageSpec:
    """One resolution level.

    Attributes:
        depth: Number of blocks; odd ones are shifted.
        dim: Channels of the token stream.
        heads: Attention heads.
        window: Configured window (rows, columns) in tokens, before clipping to the feature map.
        mlp_dim: Hidden channels of the MLP.
        pretrained_window: V2 only: the window whose coordinates normalise the bias MLP's input.
    """

    depth: int
    dim: int
    heads: int
    window: Size
    mlp_dim: int
    pretrained_window: Size | None = None

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.heads


@dataclass(frozen=True)
class BlockGeometry:
    """Window and shift in force for one block, after clipping to its feature map."""

    feature_map: Size
    window: Size
    shift: Size

    @property
    def shifted(self) -> bool:
        """Whether any axis is shifted."""
        return self.shift != (0, 0)

    @property
    def windows(self) -> int:
        """Number of windows, nW."""
        return (self.feature_map[0] // self.window[0]) * (self.feature_map[1] // self.window[1])

    @property
    def tokens(self) -> int:
        """Tokens of one window, N."""
        return self.window[0] * self.window[1]


@dataclass(frozen=True)
class SwinSpec:
    """A Swin classifier.

    Attributes:
        family: `v1` (pre-norm, scaled dot product, bias table) or `v2` (post-norm, cosine, bias MLP).
        image_size: Height and width in pixels.
        patch: Patch size in pixels.
        channels: Input channels.
        stages: One entry a resolution level.
        classes: Number of logits.
        patch_norm: Whether the patch embedding ends with a LayerNorm.
        norm_eps: LayerNorm's epsilon.
    """

    family: Family
    image_size: Size
    patch: int
    channels: int
    stages: tuple[StageSpec, ...]
    classes: int
    patch_norm: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a geometry that this form cannot represent exactly."""
        for index, stage in enumerate(self.stages):
            if stage.dim % stage.heads:
                raise BadInput(
                    f"stage {index} has {stage.dim} channels and {stage.heads} heads",
                    needed="channels divisible by heads",
                    do="Check the checkpoint's bias table or logit scales, which give the number of heads",
                )
            if self.family == "v2" and stage.pretrained_window is None:
                raise AssertionError("a V2 stage without its pretrained window")
        step = self.patch * 2 ** (len(self.stages) - 1)
        for axis, pixels in zip(("height", "width"), self.image_size, strict=True):
            if pixels <= 0 or pixels % step:
                raise BadInput(
                    f"image {axis} {pixels} is not a multiple of {step} (patch {self.patch} times "
                    f"{2 ** (len(self.stages) - 1)} for the {len(self.stages) - 1} mergings)",
                    needed=f"an image {axis} divisible by {step}",
                    do="Choose another --image-size",
                )
        for index in range(len(self.stages)):
            if min(self.stages[index].window) < 1:
                raise BadInput(
                    f"stage {index} has a window of {_size(self.stages[index].window)}",
                    needed="a window of at least one token",
                    do="Check --window or the JSON beside the checkpoint",
                )
            geometry = self.geometry(index, 0)
            for size, window in zip(geometry.feature_map, geometry.window, strict=True):
                if size % window:
                    raise BadInput(
                        f"stage {index} has a feature map of {geometry.feature_map[0]}x{geometry.feature_map[1]} "
                        f"tokens and a window of {geometry.window[0]}x{geometry.window[1]}",
                        needed="a feature map that whole windows cover: padded windows are not supported yet",
                        do=f"Choose an --image-size that is a multiple of {self.patch * 2**index * window} pixels",
                    )

    def feature_map(self, stage: int) -> Size:
        """Height and width in tokens of a stage."""
        scale = self.patch * 2**stage
        return self.image_size[0] // scale, self.image_size[1] // scale

    def geometry(self, stage: int, block: int) -> BlockGeometry:
        """Window and shift of one block; odd blocks are shifted where a stage has more than one window."""
        feature_map = self.feature_map(stage)
        window, shift = effective_window(feature_map, self.stages[stage].window)
        return BlockGeometry(feature_map, window, shift if block % 2 else (0, 0))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Every (stage, block) in order."""
        for stage, spec in enumerate(self.stages):
            for block in range(spec.depth):
                yield stage, block

    @property
    def depth(self) -> int:
        """Number of blocks in all."""
        return sum(stage.depth for stage in self.stages)

    def to_json(self) -> str:
        """One line of JSON, as it stands in an artifact's header."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SwinSpec:
        """Read what `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        stages = tuple(
            StageSpec(
                **{
                    **stage,
                    "window": tuple(stage["window"]),
                    "pretrained_window": tuple(stage["pretrained_window"]) if stage["pretrained_window"] else None,
                }
            )
            for stage in raw.pop("stages")
        )
        return cls(**{**raw, "image_size": tuple(raw["image_size"]), "stages": stages})

    def describe(self) -> str:
        """One line for people."""
        dims = "-".join(str(stage.dim) for stage in self.stages)
        depths = "-".join(str(stage.depth) for stage in self.stages)
        heads = "-".join(str(stage.heads) for stage in self.stages)
        windows = "-".join(_size(stage.window) for stage in self.stages)
        return (
            f"Swin {self.family.upper()}, image {_size(self.image_size)}, patch {self.patch}, dims {dims}, "
            f"depths {depths}, heads {heads}, window {windows}, {self.classes} classes"
        )


def _size(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
