"""Each code base's own answer to windows that do not fit: clip them, stop shifting, or pad the feature map.

The rules are data in one table, `RULES`; `SwinSpec.rule` names the one that a checkpoint was trained under.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from swin_deploy.model.windows import MASK_VALUE

__all__ = ["RULES", "BlockGeometry", "GeometryRule"]

Size = tuple[int, int]


@dataclass(frozen=True)
class BlockGeometry:
    """Window, shift and padding in force for one block.

    Attributes:
        feature_map: Height and width in tokens, before padding.
        window: Window in tokens.
        shift: Cyclic shift in tokens.
        roll_first: Whether the map is rolled before it is padded (timm) rather than after (all others).
        mask_value: What is added to a score that the shift forbids.
    """

    feature_map: Size
    window: Size
    shift: Size
    roll_first: bool = False
    mask_value: float = MASK_VALUE

    @property
    def shifted(self) -> bool:
        """Whether any axis is shifted."""
        return self.shift != (0, 0)

    @property
    def padded_map(self) -> Size:
        """Height and width in tokens with zero tokens below and to the right, so that whole windows cover it."""
        return _up(self.feature_map[0], self.window[0]), _up(self.feature_map[1], self.window[1])

    @property
    def padded(self) -> bool:
        """Whether there are padded tokens."""
        return self.padded_map != self.feature_map

    @property
    def windows(self) -> int:
        """Number of windows, nW."""
        return (self.padded_map[0] // self.window[0]) * (self.padded_map[1] // self.window[1])

    @property
    def tokens(self) -> int:
        """Tokens of one window, N."""
        return self.window[0] * self.window[1]


@dataclass(frozen=True)
class GeometryRule:
    """What one code base does where window, feature map and patch do not fit each other.

    Attributes:
        clip: Whether a window larger than the map is made smaller: each `axis` for itself, `both` axes to the smaller
            side of the map as soon as that side is no larger than the window, or `never`.
        unshifted: Where odd blocks are not shifted: an `axis` on which one window covers the map, `both` axes as soon
            as one window covers the smaller side, an axis on which one window covers the `padded-axis`, `always` or
            `never`.
        pad: Whether a map that whole windows do not cover is padded with zero tokens, and whether it is rolled before
            or after; `refuse` where the code base fails.
        odd_maps: Whether patch merging pads an odd map with zero tokens.
        partial_patches: Whether an image that whole patches do not cover is padded with zeros (`pad`), cut (`drop`) or
            refused.
        mask_value: What is added to a score that the shift forbids.
        as_built: Whether window and shift of a stage follow from the size that the model was built for, whatever image
            it is shown: then a loader asks `built`.
    """

    clip: Literal["axis", "both", "never"]
    unshifted: Literal["axis", "both", "padded-axis", "always", "never"]
    pad: Literal["refuse", "before-roll", "after-roll"]
    odd_maps: bool
    partial_patches: Literal["refuse", "pad", "drop"]
    mask_value: float = MASK_VALUE
    as_built: bool = False

    def block(self, feature_map: Size, window: Size, *, odd: bool) -> BlockGeometry:
        """The geometry of one block.

        Args:
            feature_map: Height and width in tokens.
            window: The configured window in tokens.
            odd: Whether it is a block of odd index, which is shifted by half a window.
        """
        clipped = self._clipped(feature_map, window)
        shift = self._shift(feature_map, clipped, window) if odd else (0, 0)
        return BlockGeometry(feature_map, clipped, shift, self.pad == "after-roll", self.mask_value)

    def built(self, grid: Size, stage: int, window: Size) -> tuple[Size, bool]:
        """Window of a stage, and whether its odd blocks are shifted, in a model built for a grid of patches.

        The rows alone count, halved without their odd rest, and what they give holds for the columns too.

        Args:
            grid: Rows and columns of whole patches.
            stage: Which stage.
            window: The configured window in tokens.
        """
        assert self.as_built, "this rule follows the image"
        rows = grid[0] // 2**stage
        side = min(rows, window[0])
        return (side, side), rows > side

    def _clipped(self, feature_map: Size, window: Size) -> Size:
        if self.clip == "never":
            return window
        if self.clip == "both" and window[0] == window[1]:
            side = min(min(feature_map), window[0])
            return side, side
        return min(feature_map[0], window[0]), min(feature_map[1], window[1])

    def _shift(self, feature_map: Size, clipped: Size, window: Size) -> Size:
        half = window[0] // 2, window[1] // 2
        if self.unshifted in ("always", "never"):
            return half if self.unshifted == "never" else (0, 0)
        if self.unshifted == "both" and window[0] == window[1]:
            return (0, 0) if min(feature_map) <= window[0] else half
        covered = feature_map
        if self.unshifted == "padded-axis":
            covered = _up(feature_map[0], clipped[0]), _up(feature_map[1], clipped[1])
        return (
            0 if covered[0] <= clipped[0] else half[0],
            0 if covered[1] <= clipped[1] else half[1],
        )


# Each line was read in the source named and is held by a parity test at a padded size.
RULES: Mapping[str, GeometryRule] = MappingProxyType(
    {
        # microsoft/Swin-Transformer, models/swin_transformer.py and swin_transformer_v2.py: asserts its own image size.
        "microsoft": GeometryRule("both", "both", "refuse", odd_maps=False, partial_patches="refuse"),
        # The same authors' detection and segmentation code: pads everything, and never stops shifting.
        "microsoft-dense": GeometryRule("never", "never", "before-roll", odd_maps=True, partial_patches="pad"),
        # timm 1.0, swin_transformer.py: `_calc_window_shift` and `_attn`, which rolls first.
        "timm": GeometryRule("axis", "axis", "after-roll", odd_maps=True, partial_patches="refuse"),
        # torchvision 0.29, `shifted_window_attention`; the patch convolution drops what is left over.
        "torchvision": GeometryRule("never", "padded-axis", "before-roll", odd_maps=True, partial_patches="drop"),
        # transformers 5, modeling_swin.py: `set_shift_and_window_size`, `maybe_pad`. The bias keeps the size of the
        # whole window there, so that the code fails on a map smaller than that.
        "huggingface": GeometryRule("both", "both", "before-roll", odd_maps=True, partial_patches="pad"),
        # transformers 5, modeling_swin.py, SwinBackbone: `always_partition=True`; modeling_maskformer_swin.py.
        "huggingface-backbone": GeometryRule("never", "never", "before-roll", odd_maps=True, partial_patches="pad"),
        # transformers 5, modeling_swinv2.py, classifier and backbone: `_compute_window_shift` in the constructor, of
        # whose two axes the first is used for both; `Swinv2SelfAttention.forward` adds the mask twice.
        "huggingface-v2": GeometryRule(
            "never",
            "never",
            "before-roll",
            odd_maps=True,
            partial_patches="pad",
            mask_value=2 * MASK_VALUE,
            as_built=True,
        ),
        # mmdetection 3.3 and mmsegmentation 1.2, ShiftWindowMSA: shifts even in a last stage of one window.
        "openmmlab-dense": GeometryRule("never", "never", "before-roll", odd_maps=True, partial_patches="pad"),
        # mmpretrain 1.2, ShiftWindowMSA with pad_small_map=False, its default: does not shift where the smaller side is
        # one window. Where it is less, it fails; with pad_small_map=True it does as the row above.
        "mmpretrain": GeometryRule("never", "both", "before-roll", odd_maps=True, partial_patches="pad"),
        # JingyunLiang/SwinIR and mv-lab/swin2sr: the image is padded by reflection before (see model/restoration.py).
        # Window and shift follow from the size that the model was built for, not from the image.
        "restoration": GeometryRule("never", "never", "refuse", odd_maps=False, partial_patches="refuse"),
        # transformers 5, modeling_swin2sr.py: adds the mask twice, as Swinv2's attention there does.
        "restoration-huggingface": GeometryRule(
            "never", "never", "refuse", odd_maps=False, partial_patches="refuse", mask_value=2 * MASK_VALUE
        ),
        # Any of them, built for images of one window: no block is shifted, whatever the image.
        "restoration-one-window": GeometryRule("never", "always", "refuse", odd_maps=False, partial_patches="refuse"),
    }
)


def _up(size: int, step: int) -> int:
    """The multiple of `step` that is no smaller than `size`."""
    return -(-size // step) * step
