"""What a Swin is for: the parts that follow its blocks, and the outputs it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Union

from swin_deploy.errors import BadInput

__all__ = [
    "UPSAMPLERS",
    "Backbone",
    "Captured",
    "Classifier",
    "GroupConv",
    "Restoration",
    "Task",
    "Upsampler",
    "task_from_json",
    "task_to_json",
]

Upsampler = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv", "none"]
GroupConv = Literal["1conv", "3conv"]
UPSAMPLERS: tuple[Upsampler, ...] = ("pixelshuffle", "pixelshuffledirect", "nearest+conv", "none")


@dataclass(frozen=True)
class Classifier:
    """A norm, the mean over all tokens, and a linear.

    Attributes:
        classes: Number of logits.
    """

    classes: int

    @property
    def output_names(self) -> tuple[str, ...]:
        """`logits`, [B, classes]."""
        return ("logits",)

    def describe(self) -> str:
        """In a few words."""
        return f"{self.classes} classes"


@dataclass(frozen=True)
class Backbone:
    """The features of some stages, taken behind their last block, for detection and segmentation heads.

    Attributes:
        stages: Indices of the stages whose features are given, ascending.
        norms: Whether each of them goes through a LayerNorm of its own.
    """

    stages: tuple[int, ...]
    norms: bool

    @property
    def output_names(self) -> tuple[str, ...]:
        """`stage0`, `stage1`, ...: each [B, C, H, W]."""
        return tuple(f"stage{index}" for index in self.stages)

    def describe(self) -> str:
        """In a few words."""
        return f"backbone with the features of stages {', '.join(map(str, self.stages))}" + (
            ", each with its norm" if self.norms else ""
        )


@dataclass(frozen=True)
class Restoration:
    """Residual groups of blocks at one resolution between convolutions (SwinIR, Swin2SR).

    Attributes:
        scale: Factor from input to output size; 1 for denoising and artifact removal.
        upsampler: How the output's resolution is reached.
        features: Channels in front of the last upsampling convolutions.
        group_conv: `1conv` or `3conv`: the convolution that ends each residual group.
        body_conv: The same behind the last group; Hugging Face has `1conv` here in any case.
        embed_conv: Whether the patch embeddings hold a 1x1 convolution (Swin2SR).
        mean: Subtracted from the input's channels, and added back, on the 0..1 scale; one entry a channel.
        image_range: Factor on the input, taken back at the output.
    """

    scale: int
    upsampler: Upsampler
    features: int = 64
    group_conv: GroupConv = "1conv"
    body_conv: GroupConv = "1conv"
    embed_conv: bool = False
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    image_range: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a factor that the upsampler cannot reach."""
        assert self.upsampler in UPSAMPLERS, f"no upsampler {self.upsampler!r}"
        needed = {
            "none": (self.scale == 1, "scale 1"),
            "nearest+conv": (self.scale == 4, "scale 4"),
            "pixelshuffle": (self.scale == 3 or self.scale & (self.scale - 1) == 0, "scale 3 or a power of 2"),
            "pixelshuffledirect": (True, ""),
        }
        reached, wanted = needed[self.upsampler]
        if self.scale < 1 or not reached:
            raise BadInput(
                f"scale {self.scale} with the upsampler {self.upsampler}",
                needed=wanted or "a scale of at least 1",
                do="Check the checkpoint's upsampling convolutions and the JSON beside it",
            )
        if not self.image_range > 0:
            raise BadInput(
                f"an image range of {self.image_range:g}",
                needed="a positive factor: 1 for nearly all models, 255 for those against JPEG artifacts",
                do="Check the image range given, or the JSON beside the checkpoint",
            )

    @property
    def output_names(self) -> tuple[str, ...]:
        """`image`, [B, channels, scale*H, scale*W] on the 0..1 scale, not clamped."""
        return ("image",)

    def describe(self) -> str:
        """In a few words."""
        return f"restoration x{self.scale}, upsampler {self.upsampler}"


@dataclass(frozen=True)
class Captured:
    """Whatever a user's own network gives that is no classifier (`--model`); no part of a `SwinSpec`.

    Attributes:
        names: Of its outputs.
        bytes_each: Bytes of one image's outputs in FP32.
    """

    names: tuple[str, ...]
    bytes_each: int

    @property
    def output_names(self) -> tuple[str, ...]:
        """As the network names them, or by position."""
        return self.names

    def describe(self) -> str:
        """In a few words."""
        return f"outputs {', '.join(self.names)}"


Task = Union[Classifier, Backbone, Restoration, Captured]  # noqa: UP007 - evaluated at run time on Python 3.10 too

_KINDS: Mapping[str, type[Classifier] | type[Backbone] | type[Restoration] | type[Captured]] = {
    "classifier": Classifier,
    "backbone": Backbone,
    "restoration": Restoration,
    "captured": Captured,
}


def task_to_json(task: Task) -> dict[str, Any]:
    """JSON-ready, with the kind of task."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(task, cls))
    return {"kind": kind, **asdict(task)}


def task_from_json(raw: Mapping[str, Any]) -> Task:
    """Read what `task_to_json` gave."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items() if key != "kind"}
    make: Callable[..., Task] = _KINDS[raw["kind"]]
    return make(**values)
