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
from swin_deploy.checkpoint.spec import Family, StageSpec, SwinSpec
from swin_deploy.errors import BadInput
from swin_deploy.model.windows import effective_window

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Timm"]

Size = tuple[int, int]
_TABLE = "attn.relative_position_bias_table"
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
        table = table.knowing(_names(_example("v2" if v2 else "v1")))
        evidence.append(f"family {'v2: bias MLP (cpb_mlp)' if v2 else 'v1: bias tables'}")
        _, channels, patch, patch_columns = table.shape("patch_embed.proj.weight", 4)
        if patch != patch_columns or channels != 3:
            raise BadInput(
                f"{table.origin}: patch_embed.proj.weight reads {channels} channels in patches of "
                f"{patch}x{patch_columns}",
                needed="RGB images in square patches",
                do="Check the key's shape; models for other images are not supported yet",
            )
        image_size = hints.image_size
        if image_size is None:
            raise BadInput(
                f"{table.origin}: the image size is in no tensor, and {hints.source} does not state it",
                needed="the image size the model is to run at",
                do="Give --image-size N or put a JSON beside the checkpoint",
            )
        evidence.append(f"image {image_size[0]}x{image_size[1]}: {hints.source}; patch {patch}: patch_embed.proj")
        table.agreed(
            "channels of the patches",
            ("patch_embed.proj.weight", 4, 0),
            ("patch_embed.proj.bias", 1, 0),
            ("layers.0.blocks.0.norm1.weight", 1, 0),
        )
        count = table.count("layers.{}.blocks.")
        stages = []
        for index in range(count):
            feature_map = tuple(side // (patch * 2**index) for side in image_size)
            stages.append(_stage(table, tensors, index, v2, (feature_map[0], feature_map[1]), hints, evidence))
        if not v2:
            _refuse_outgrown_windows(table, stages, patch, image_size, hints)
        classes = table.agreed("classes", ("head.fc.weight", 2, 0), ("head.fc.bias", 1, 0))
        spec = SwinSpec(
            family="v2" if v2 else "v1",
            image_size=image_size,
            patch=patch,
            channels=channels,
            stages=tuple(stages),
            classes=classes,
            patch_norm=any(key.startswith("patch_embed.norm.") for key in table.shapes),
        )
        names = _names(spec)
        table.require_exactly(
            {key: shape for key, (_, shape) in names.items()},
            {key for key in table.shapes if key.rsplit(".", 1)[-1] in _REBUILT},
        )
        return Reading(spec, _canonical(names, tensors), tuple(evidence))


def _refuse_outgrown_windows(
    table: KeyTable, stages: list[StageSpec], patch: int, image_size: Size, hints: ArchitectureHints
) -> None:
    """A V1 stage whose window was clipped in training cannot get a larger one: its bias table has no rows for it."""
    configured = max(stage.window[0] for stage in stages)
    if hints.window is not None and hints.window[0] < configured:
        raise BadInput(
            f"{table.origin}: its bias tables are those of a window of {configured}, and {hints.source} says "
            f"{hints.window[0]}",
            needed="one window: a V1's is in its bias tables",
            do="Leave --window out, or mend the JSON beside the checkpoint",
        )
    for index, stage in enumerate(stages):
        feature_map = tuple(side // (patch * 2**index) for side in image_size)
        if stage.window[0] < configured and max(feature_map) > stage.window[0]:
            raise BadInput(
                f"{table.origin}: stage {index} has bias tables of a window of {stage.window[0]}, clipped from "
                f"{configured} in training, and the image gives it a feature map of {feature_map[0]}x{feature_map[1]}",
                needed="the image size of the training: bias tables are not interpolated yet",
                do=f"Choose an --image-size that gives stage {index} {stage.window[0]}x{stage.window[0]} tokens",
            )


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
    depth = table.count(f"layers.{index}.blocks.{{}}.")
    dim = table.agreed(
        f"channels of stage {index}", (prefix + "norm1.weight", 1, 0), (prefix + "attn.qkv.weight", 2, 1)
    )
    mlp_dim = table.agreed(
        f"hidden channels of stage {index}", (prefix + "mlp.fc1.weight", 2, 0), (prefix + "mlp.fc2.weight", 2, 1)
    )
    if v2:
        heads_key = prefix + "attn.logit_scale"
        heads = table.agreed(f"heads of stage {index}", (heads_key, 3, 0), (prefix + "attn.cpb_mlp.2.weight", 2, 0))
        window, pretrained, why = _v2_windows(table, tensors, index, feature_map, hints)
    else:
        heads_key = prefix + _TABLE
        last = f"layers.{index}.blocks.{depth - 1}." + _TABLE
        heads = table.agreed(f"heads of stage {index}", (heads_key, 2, 1), (last, 2, 1))
        rows = table.agreed(f"offsets in a window of stage {index}", (heads_key, 2, 0), (last, 2, 0))
        side = (math.isqrt(rows) + 1) // 2
        if (2 * side - 1) ** 2 != rows:
            raise BadInput(
                f"{table.origin}: {heads_key} has {rows} rows",
                needed="(2*window-1)^2 rows of a square window",
                do="Check the key's shape; oblong windows are not supported yet",
            )
        window, pretrained, why = (side, side), None, f"bias table of {rows} rows"
        if effective_window(feature_map, window)[0] != window:
            raise BadInput(
                f"{table.origin}: stage {index} was trained with a window of {side}x{side} tokens ({heads_key}), and "
                f"the image gives it a feature map of {feature_map[0]}x{feature_map[1]}",
                needed="a feature map no smaller than the trained window: bias tables are not interpolated yet",
                do="Choose a larger --image-size",
            )
    if dim % heads:
        raise BadInput(
            f"{table.origin}: stage {index} has {dim} channels and, by {heads_key}, {heads} heads",
            needed="channels divisible by heads",
            do="Check the key's shape",
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
        one, rows, columns, axes = table.shape(saved, 4)
        if (one, rows % 2, columns % 2, axes) != (1, 1, 1, 2):
            raise BadInput(
                f"{table.origin}: {saved} has the shape {one}x{rows}x{columns}x{axes}",
                needed="1 x (2*window-1) x (2*window-1) x 2",
                do="Drop the key and give --window and --pretrained-window",
            )
        window = ((rows + 1) // 2, (columns + 1) // 2)
        farthest = tensors[saved].reshape(-1, 2).amax(0).double().tolist()
        pretrained = (
            _pretrained(saved, table, window[0], farthest[0]),
            _pretrained(saved, table, window[1], farthest[1]),
        )
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


def _pretrained(key: str, table: KeyTable, window: int, farthest: float) -> int:
    """The window by which one axis of a saved coordinate table was normalised."""
    if window == 1:
        return 1  # only the offset 0, which no divisor changes
    if not 1e-3 < farthest < 10.0:  # 0.004 is 2 tokens in a window of 1,000, and 3.2 the other way round
        raise BadInput(
            f"{table.origin}: {key} has {farthest:.3g} as its largest coordinate",
            needed="log-spaced offsets of a window",
            do="Drop the key and give --window and --pretrained-window",
        )
    # The inverse of sign(x) * log2(|x| + 1) / log2(8) with x = 8 * (window - 1) / (pretrained - 1).
    return round(8 * (window - 1) / math.expm1(farthest * math.log(8))) + 1


def _example(family: Family) -> SwinSpec:
    """A model with every kind of key."""
    stages = (StageSpec(1, 1, 1, (1, 1), 1, (1, 1)), StageSpec(1, 1, 1, (1, 1), 1, (1, 1)))
    return SwinSpec(family, (2, 2), 1, 3, stages, 1)


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

    for theirs in names:
        if not tensors[theirs].is_floating_point():
            raise BadInput(
                f"{theirs} holds {str(tensors[theirs].dtype).removeprefix('torch.')}",
                needed="floating-point weights",
                do="Bring the weights from before their quantization",
            )
    named = {ours: tensors[theirs] for theirs, (ours, _) in names.items()}
    for key in [key for key in named if key.endswith(".q_bias")]:
        stem = key.removesuffix("q_bias")
        query, value = named.pop(key), named.pop(stem + "v_bias")
        named[stem + "qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return named
