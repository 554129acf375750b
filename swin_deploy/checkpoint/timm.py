"""timm's layout (0.9 and later), Swin V1 and V2 classifiers.

Signs: `layers.{i}.blocks.{j}`, patch merging at the start of the next stage (`layers.1.downsample`), head `head.fc`.
Source of the names: timm 1.0.31, `swin_transformer.py` and `swin_transformer_v2.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.keys import KeyTable, Shape
from swin_deploy.checkpoint.sidecar import ArchitectureHints
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.errors import BadInput
from swin_deploy.model.windows import effective_window

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Timm"]

Size = tuple[int, int]
# Buffers that other versions save; they follow from the architecture and are rebuilt.
_REBUILT = ("relative_position_index", "attn_mask", "relative_coords_table")


@dataclass(frozen=True)
class Timm:
    """timm >= 0.9."""

    name: str = "timm"

    def recognises(self, table: KeyTable) -> str | None:
        """By the block prefix, the patch embedding and the place of patch merging."""
        if not table.count("layers.{}.blocks.") or not any(key.startswith("patch_embed.") for key in table.shapes):
            return None
        if any(key.startswith("layers.0.downsample.") for key in table.shapes):
            return None  # the official order: merging at the end of a stage
        return "layers.*.blocks.* with patch merging at the start of a stage"

    def read(self, table: KeyTable, tensors: Mapping[str, Tensor], hints: ArchitectureHints) -> Reading:
        """See `Dialect.read`."""
        evidence = []
        v2 = any(".attn.cpb_mlp." in key for key in table.shapes)
        evidence.append(f"family {'v2: bias MLP (cpb_mlp)' if v2 else 'v1: bias tables'}")
        dim, channels, patch, patch_columns = table.shape("patch_embed.proj.weight", 4)
        if patch != patch_columns:
            raise BadInput(f"{table.origin}: patches of {patch}x{patch_columns}", needed="square patches")
        image_size = hints.image_size
        if image_size is None:
            raise BadInput(
                f"{table.origin}: the image size is in no tensor, and {hints.source} does not state it",
                needed="the image size the model is to run at",
                do="Give --image-size N or put a JSON beside the checkpoint",
            )
        evidence.append(f"image {image_size[0]}x{image_size[1]}: {hints.source}; patch {patch}: patch_embed.proj")
        count = table.count("layers.{}.blocks.")
        stages = []
        for index in range(count):
            feature_map = tuple(side // (patch * 2**index) for side in image_size)
            stages.append(_stage(table, tensors, index, v2, (feature_map[0], feature_map[1]), hints, evidence))
        classes, _ = table.shape("head.fc.weight", 2)
        spec = SwinSpec(
            family="v2" if v2 else "v1",
            image_size=image_size,
            patch=patch,
            channels=channels,
            stages=tuple(stages),
            classes=classes,
            patch_norm="patch_embed.norm.weight" in table.shapes,
        )
        if stages[0].dim != dim:
            raise BadInput(f"{table.origin}: patch_embed gives {dim} channels, stage 0 has {stages[0].dim}")
        names = _names(spec)
        table.require_exactly(
            {key: shape for key, (_, shape) in names.items()},
            {key for key in table.shapes if key.rsplit(".", 1)[-1] in _REBUILT},
        )
        return Reading(spec, _canonical(names, tensors), tuple(evidence))


def _stage(
    table: KeyTable,
    tensors: Mapping[str, Tensor],
    index: int,
    v2: bool,
    feature_map: Size,
    hints: ArchitectureHints,
    evidence: list[str],
) -> StageSpec:
    prefix = f"layers.{index}.blocks.0."
    (dim,) = table.shape(prefix + "norm1.weight", 1)
    mlp_dim, _ = table.shape(prefix + "mlp.fc1.weight", 2)
    depth = table.count(f"layers.{index}.blocks.{{}}.")
    if v2:
        heads = table.shape(prefix + "attn.logit_scale", 3)[0]
        window, pretrained, why = _v2_windows(table, tensors, index, feature_map, hints)
    else:
        rows, heads = table.shape(prefix + "attn.relative_position_bias_table", 2)
        side = (math.isqrt(rows) + 1) // 2
        if (2 * side - 1) ** 2 != rows:
            raise BadInput(
                f"{table.origin}: {prefix}attn.relative_position_bias_table has {rows} rows",
                needed="(2*window-1)^2 rows of a square window",
            )
        window, pretrained, why = (side, side), None, f"bias table of {rows} rows"
        if effective_window(feature_map, window)[0] != window:
            raise BadInput(
                f"{table.origin}: stage {index} was trained with a window of {side}, and an image of "
                f"{hints.image_size} gives it a feature map of {feature_map[0]}x{feature_map[1]} tokens",
                needed="a feature map no smaller than the trained window: bias tables are not interpolated yet",
                do="Choose a larger --image-size",
            )
    if index == 0:
        evidence.append(f"window {window[0]}x{window[1]}: {why}")
    return StageSpec(depth, dim, heads, window, mlp_dim, pretrained)


def _v2_windows(
    table: KeyTable, tensors: Mapping[str, Tensor], index: int, feature_map: Size, hints: ArchitectureHints
) -> tuple[Size, Size, str]:
    """V2's window and pretrained window: from a saved coordinate table, else from the hints; never guessed."""
    saved = f"layers.{index}.blocks.0.attn.relative_coords_table"
    if saved in table.shapes:
        _, rows, columns, _ = table.shape(saved, 4)
        window = ((rows + 1) // 2, (columns + 1) // 2)
        farthest = tensors[saved].reshape(-1, 2).amax(0).double()
        # The inverse of sign(x) * log2(|x| + 1) / log2(8) with x = 8 * (window - 1) / (pretrained - 1).
        spans = [8 * (w - 1) / (8.0 ** float(far) - 1) for w, far in zip(window, farthest, strict=True)]
        pretrained = (round(spans[0]) + 1, round(spans[1]) + 1)
        return window, pretrained, "relative_coords_table"
    if hints.window is None or hints.pretrained_window is None:
        missing = "--window" if hints.window is None else "--pretrained-window"
        raise BadInput(
            f"{table.origin}: a Swin V2's {missing[2:].replace('-', ' ')} is in no tensor, "
            f"and {hints.source} does not state it",
            needed="the window, and the window it was pre-trained with (the same one if there was no other)",
            do="Give --window N --pretrained-window N, or put a JSON beside the checkpoint",
        )
    window = effective_window(feature_map, hints.window)[0]
    entries = hints.pretrained_window
    stated = entries[min(index, len(entries) - 1)]
    pretrained = window if stated == (0, 0) else stated
    return window, pretrained, hints.source


def _names(spec: SwinSpec) -> dict[str, tuple[str, Shape]]:
    """Each key of the checkpoint with its canonical name and shape. V2's separate biases come in `_canonical`."""
    table: dict[str, tuple[str, Shape]] = {}

    def add(theirs: str, ours: str, *shape: int) -> None:
        table[theirs] = (ours, shape)

    def pair(theirs: str, ours: str, *shape: int, bias: bool = True) -> None:
        add(theirs + ".weight", ours + ".weight", *shape)
        if bias:
            add(theirs + ".bias", ours + ".bias", shape[0])

    pair("patch_embed.proj", "patch_embed.proj", spec.stages[0].dim, spec.channels, spec.patch, spec.patch)
    if spec.patch_norm:
        pair("patch_embed.norm", "patch_embed.norm", spec.stages[0].dim)
    for index, stage in enumerate(spec.stages):
        dim = stage.dim
        if index:
            before = spec.stages[index - 1].dim
            merge, ours = f"layers.{index}.downsample.", f"stages.{index}.merge."
            pair(merge + "norm", ours + "norm", 4 * before if spec.family == "v1" else dim)
            pair(merge + "reduction", ours + "reduction", dim, 4 * before, bias=False)
        for block in range(stage.depth):
            theirs, ours = f"layers.{index}.blocks.{block}.", f"stages.{index}.blocks.{block}."
            pair(theirs + "norm1", ours + "norm1", dim)
            pair(theirs + "norm2", ours + "norm2", dim)
            pair(theirs + "mlp.fc1", ours + "mlp.0", stage.mlp_dim, dim)
            pair(theirs + "mlp.fc2", ours + "mlp.2", dim, stage.mlp_dim)
            pair(theirs + "attn.proj", ours + "attn.proj", dim, dim)
            pair(theirs + "attn.qkv", ours + "attn.qkv", 3 * dim, dim, bias=spec.family == "v1")
            attn, target = theirs + "attn.", ours + "attn."
            if spec.family == "v1":
                rows = (2 * stage.window[0] - 1) * (2 * stage.window[1] - 1)
                name = "relative_position_bias_table"
                add(attn + name, target + name, rows, stage.heads)
            else:
                add(attn + "q_bias", target + "q_bias", dim)
                add(attn + "v_bias", target + "v_bias", dim)
                add(attn + "logit_scale", target + "logit_scale", stage.heads, 1, 1)
                pair(attn + "cpb_mlp.0", target + "cpb_mlp.0", 512, 2)
                pair(attn + "cpb_mlp.2", target + "cpb_mlp.2", stage.heads, 512, bias=False)
    pair("norm", "norm", spec.stages[-1].dim)
    pair("head.fc", "head", spec.classes, spec.stages[-1].dim)
    return table


def _canonical(names: Mapping[str, tuple[str, Shape]], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, and join V2's query and value biases into one of the whole qkv (the key has none)."""
    import torch

    named = {ours: tensors[theirs] for theirs, (ours, _) in names.items()}
    for key in [key for key in named if key.endswith(".q_bias")]:
        stem = key.removesuffix("q_bias")
        query, value = named.pop(key), named.pop(stem + "v_bias")
        named[stem + "qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return named
