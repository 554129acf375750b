"""OpenMMLab's layout: mmpretrain's classifiers, and the backbones of mmdetection and mmsegmentation.

Signs: `stages.{i}.blocks.{j}.attn.w_msa`, mostly under `backbone.`. Patch merging stands at the end of a stage in V1
and at the start of the next one in V2, and takes the four neighbours channel by channel, as `nn.Unfold` gives them.

Which of them wrote a file decides the geometry rule. A `norm0`, `norm1` or `norm2` is a detector's or segmenter's; a
head, V2, or a norm behind the last stage alone is mmpretrain's, whose features (`--task backbone`) keep its rule.
Source of the names: mmpretrain 1.2.0, models/backbones/swin_transformer.py and swin_transformer_v2.py; mmdet 3.3.0,
models/backbones/swin.py; mmsegmentation 1.2.2, models/backbones/swin.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.architecture import read_swin
from swin_deploy.checkpoint.bias_tables import resize_bicubic, resize_geometric_cubic
from swin_deploy.checkpoint.detector import backbone_prefix, output_norms, read_backbone
from swin_deploy.checkpoint.dialect import Layout, Reading, Sources, renamed, split_bias
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OpenMMLab"]

_RULES = (
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"\.attn\.", ".attn.w_msa."),
    (r"\.mlp\.0\.", ".ffn.layers.0.0."),
    (r"\.mlp\.2\.", ".ffn.layers.1."),
    (r"^out_norms\.(\d+)\.", r"norm\1."),
)


@dataclass(frozen=True)
class OpenMMLab:
    """mmpretrain (mmclassification), mmdetection and mmsegmentation."""

    name: str = "openmmlab"

    def recognises(self, table: KeyTable) -> str | None:
        """By the name of its attention."""
        prefix = backbone_prefix(table)
        if not table.count(prefix + "stages.{}.blocks.0.attn.w_msa."):
            return None
        return f"{prefix}stages.*.blocks.*.attn.w_msa"

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        prefix = backbone_prefix(table)
        v2 = any(key.endswith(".w_msa.logit_scale") for key in table.shapes)
        last = table.count(prefix + "stages.{}.blocks.") - 1
        at_start = v2  # whether a merging belongs to the stage behind it

        def sources(name: str) -> Sources:
            if name.startswith("head."):
                return ("head.fc." + name.removeprefix("head."),)
            if name.startswith("norm."):
                return (f"{prefix}norm{last}." + name.removeprefix("norm."),)
            if found := re.match(r"stages\.(\d+)\.merge\.(.*)", name):
                return (f"{prefix}stages.{int(found[1]) - (not at_start)}.downsample.{found[2]}",)
            theirs = prefix + renamed(name, _RULES)
            return split_bias(theirs) if v2 else (theirs,)

        def arrange(name: str, tensor: Tensor) -> Tensor:
            if name.endswith(".merge.reduction.weight") or (not v2 and ".merge.norm." in name):
                return _neighbour_by_neighbour(tensor)
            return tensor

        headless = "head.fc.weight" not in table.shapes
        dense = headless and not v2 and any(index != last for index in output_norms(table))
        rule = "openmmlab-dense" if dense else "mmpretrain"
        return Layout(
            "v2" if v2 else "v1",
            (rule, rule),
            sources,
            arrange,
            resize_table=resize_bicubic if dense else resize_geometric_cubic,
            read=read_backbone if dense else _read_mmpretrain,
        )


def _neighbour_by_neighbour(tensor: Tensor) -> Tensor:
    """Reorder the last axis from C channels of 2x2 neighbours in raster order to 4 neighbours of C channels.

    The neighbours' order is (0, 0), (1, 0), (0, 1), (1, 1), row first.
    """
    by_channel = tensor.reshape(*tensor.shape[:-1], -1, 4)  # [..., C, 4]
    return by_channel[..., [0, 2, 1, 3]].transpose(-2, -1).reshape(tensor.shape)  # [..., 4C]


def _read_mmpretrain(
    table: KeyTable, layout: Layout, tensors: Mapping[str, Tensor], hints: ArchitectureHints
) -> Reading:
    """Read a classifier or its features, and settle `pad_small_map`, which no tensor tells.

    It is off by default, and mmpretrain then refuses a map smaller than the window: where there is one, it must be on.
    """
    read = read_backbone if hints.task == "backbone" else read_swin
    reading = read(table, layout, tensors, hints)
    spec = reading.spec
    sides = [(min(spec.feature_map(index)), min(stage.window)) for index, stage in enumerate(spec.stages)]
    small = [str(index) for index, (side, window) in enumerate(sides) if side < window]
    equal = [str(index) for index, (side, window) in enumerate(sides) if side == window]
    if small:
        reading = read(table, replace(layout, rules=("openmmlab-dense", "openmmlab-dense")), tensors, hints)
        said = (
            f"pad_small_map=True: mmpretrain runs no map smaller than the window without it (stage {', '.join(small)})"
        )
    elif equal:
        said = (
            "pad_small_map=False, mmpretrain's default, is taken for granted: "
            f"stage {', '.join(equal)}, one window wide, is not shifted"
        )
    else:
        return reading
    return Reading(reading.spec, reading.tensors, (*reading.evidence, said))
