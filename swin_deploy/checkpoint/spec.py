"""The architecture of a Swin, as far as a deployment needs to know it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration, Task, task_from_json, task_to_json
from swin_deploy.errors import BadInput
from swin_deploy.model.geometry import RULES, BlockGeometry, GeometryRule

__all__ = ["Family", "StageSpec", "SwinSpec"]

Family = Literal["v1", "v2"]
Size = tuple[int, int]


@dataclass(frozen=True)
class StageSpec:
    """Blocks of one resolution.

    Attributes:
        depth: Number of blocks; odd ones are shifted.
        dim: Channels of the token stream.
        heads: Attention heads.
        window: Configured window (rows, columns) in tokens, before clipping to the feature map.
        mlp_dim: Hidden channels of the MLP.
        pretrained_window: V2 only: the window whose coordinates normalise the bias MLP's input.
        shifts: Whether odd blocks are shifted where the geometry rule shifts them; see `GeometryRule.built`.
    """

    depth: int
    dim: int
    heads: int
    window: Size
    mlp_dim: int
    pretrained_window: Size | None = None
    shifts: bool = True

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.heads


@dataclass(frozen=True)
class SwinSpec:
    """A Swin.

    Attributes:
        family: `v1` (pre-norm, scaled dot product, bias table) or `v2` (post-norm, cosine, bias MLP).
        image_size: Height and width in pixels of the images the model is shown.
        patch: Patch size in pixels.
        channels: Input channels.
        stages: One entry a resolution level; for restoration, one a residual group.
        task: What is made of the features, and with which parts.
        rule: Name of the row of `RULES` that says what happens where windows do not fit.
        patch_norm: Whether the patch embedding ends with a LayerNorm.
        norm_eps: LayerNorm's epsilon.
        attention: `window`, the name of a shipped variant, or `package.module:Class` (see `model/variants`).
    """

    family: Family
    image_size: Size
    patch: int
    channels: int
    stages: tuple[StageSpec, ...]
    task: Task
    rule: str = "timm"
    patch_norm: bool = True
    norm_eps: float = 1e-5
    attention: str = "window"

    def __post_init__(self) -> None:
        """Refuse a geometry that this form cannot represent exactly."""
        assert self.rule in RULES, f"no geometry rule {self.rule!r}"
        for index, stage in enumerate(self.stages):
            if stage.dim % stage.heads:
                raise BadInput(
                    f"stage {index} has {stage.dim} channels and {stage.heads} heads",
                    needed="channels divisible by heads",
                    do="Check the checkpoint's bias table or logit scales, which give the number of heads",
                )
            if min(stage.window) < 1:
                raise BadInput(
                    f"stage {index} has a window of {_size(stage.window)}",
                    needed="a window of at least one token",
                    do="Check --window or the JSON beside the checkpoint",
                )
            if self.family == "v2" and stage.pretrained_window is None:
                raise AssertionError("a V2 stage without its pretrained window")
        if min(self.image_size) < 1:
            raise BadInput(
                f"an image of {_size(self.image_size)}", needed="a size in pixels", do="Choose another --image-size"
            )
        if self.merging:
            self._check_patches()
        if isinstance(self.task, Restoration):
            self._check_restoration(self.task)
        self._check_windows()

    def _check_patches(self) -> None:
        step = self.patch * 2 ** (len(self.stages) - 1)
        for axis, pixels in zip(("height", "width"), self.image_size, strict=True):
            if not self.geometry_rule.odd_maps and pixels % step:
                raise BadInput(
                    f"image {axis} {pixels} is not a multiple of {step} (patch {self.patch} times "
                    f"{2 ** (len(self.stages) - 1)} for the {len(self.stages) - 1} mergings)",
                    needed=f"an image {axis} divisible by {step}, as the {self.rule} code wants it",
                    do="Choose another --image-size",
                )
            if self.geometry_rule.partial_patches == "refuse" and pixels % self.patch:
                raise BadInput(
                    f"image {axis} {pixels} is not a multiple of the patch, {self.patch}",
                    needed=f"an image {axis} that whole patches cover, as the {self.rule} code wants it",
                    do="Choose another --image-size",
                )
            if pixels < self.patch:
                raise BadInput(
                    f"image {axis} {pixels} is less than one patch of {self.patch}",
                    needed="an image of at least one patch",
                    do="Choose another --image-size",
                )

    def _check_restoration(self, task: Restoration) -> None:
        assert self.patch == 1, "restoration has no patches"
        if len({(stage.dim, stage.window) for stage in self.stages}) > 1:
            raise BadInput(
                "residual groups of different widths or windows: "
                + ", ".join(f"{stage.dim} channels in {_size(stage.window)}" for stage in self.stages),
                needed="groups alike, as in every restoration model of this family",
                do="Check the shapes of the checkpoint's bias tables and norms",
            )
        if len(task.mean) != self.channels:
            raise BadInput(
                f"a mean of {len(task.mean)} channels for images of {self.channels}",
                needed="one number a channel",
                do="Check the mean given, or leave it out",
            )
        for axis, pixels, window in zip(("height", "width"), self.image_size, self.stages[0].window, strict=True):
            missing = -pixels % window
            if missing >= pixels:  # a reflection does not repeat the border
                raise BadInput(
                    f"image {axis} {pixels} lacks {missing} pixels to a multiple of the window, {window}",
                    needed=f"at least {window // 2 + 1} pixels: a reflection has one pixel less than the image",
                    do="Choose a larger --image-size",
                )

    def _check_windows(self) -> None:
        for index in range(len(self.stages)):
            geometry = self.geometry(index, 0)
            if self.geometry_rule.pad == "refuse" and geometry.padded:
                step = self.patch * (2**index if self.merging else 1)
                raise BadInput(
                    f"stage {index} has a feature map of {_size(geometry.feature_map)} tokens and a window of "
                    f"{_size(geometry.window)}",
                    needed=f"a feature map that whole windows cover: the {self.rule} code has no padding",
                    do=f"Choose an --image-size that is a multiple of {step * geometry.window[0]} pixels",
                )

    @property
    def merging(self) -> bool:
        """Whether patch merging stands between stages."""
        return not isinstance(self.task, Restoration)

    @property
    def geometry_rule(self) -> GeometryRule:
        """What happens where windows do not fit."""
        return RULES[self.rule]

    @property
    def padded_image(self) -> Size:
        """Height and width in pixels that the patch embedding reads.

        Larger than `image_size` where the code base pads (zeros below and to the right; by reflection in restoration),
        smaller where it drops what is left over.
        """
        height, width = self.image_size
        if isinstance(self.task, Restoration):
            rows, columns = self.stages[0].window
            return -(-height // rows) * rows, -(-width // columns) * columns
        if self.geometry_rule.partial_patches == "drop":
            return height // self.patch * self.patch, width // self.patch * self.patch
        return -(-height // self.patch) * self.patch, -(-width // self.patch) * self.patch

    def feature_map(self, stage: int) -> Size:
        """Height and width in tokens of a stage."""
        height, width = (side // self.patch for side in self.padded_image)
        if self.merging:
            for _ in range(stage):
                height, width = -(-height // 2), -(-width // 2)
        return height, width

    def geometry(self, stage: int, block: int) -> BlockGeometry:
        """Window, shift and padding of one block."""
        configured = self.stages[stage]
        odd = configured.shifts and bool(block % 2)
        return self.geometry_rule.block(self.feature_map(stage), configured.window, odd=odd)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Every (stage, block) in order."""
        for stage, spec in enumerate(self.stages):
            for block in range(spec.depth):
                yield stage, block

    @property
    def depth(self) -> int:
        """Number of blocks in all."""
        return sum(stage.depth for stage in self.stages)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs, in their order."""
        return self.task.output_names

    @property
    def output_bytes(self) -> int:
        """Bytes of one image's outputs in FP32."""
        if isinstance(self.task, Classifier):
            return 4 * self.task.classes
        if isinstance(self.task, Backbone):
            maps = [(self.stages[index].dim, *self.feature_map(index)) for index in self.task.stages]
            return 4 * sum(channels * rows * columns for channels, rows, columns in maps)
        assert isinstance(self.task, Restoration)
        height, width = self.image_size
        return 4 * self.channels * self.task.scale**2 * height * width

    def to_json(self) -> str:
        """One line of JSON, as it stands in an artifact's header."""
        return json.dumps({**asdict(self), "task": task_to_json(self.task)}, sort_keys=True)

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
        task = task_from_json(raw.pop("task"))
        return cls(**{**raw, "image_size": tuple(raw["image_size"]), "stages": stages, "task": task})

    def describe(self) -> str:
        """One line for people."""
        dims = "-".join(str(stage.dim) for stage in self.stages)
        depths = "-".join(str(stage.depth) for stage in self.stages)
        heads = "-".join(str(stage.heads) for stage in self.stages)
        windows = "-".join(_size(stage.window) for stage in self.stages)
        attention = "" if self.attention == "window" else f", attention {self.attention}"
        return (
            f"Swin {self.family.upper()}, image {_size(self.image_size)}, patch {self.patch}, dims {dims}, "
            f"depths {depths}, heads {heads}, window {windows}{attention}, {self.task.describe()}"
        )


def _size(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
