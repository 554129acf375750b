"""The layout of Microsoft's own code, Swin V1 and V2, and of timm before 0.9, which kept it.

Signs: `layers.{i}.blocks.{j}` with patch merging at the end of a stage (`layers.0.downsample`). The authors' detection
and segmentation code has a norm for each stage whose features leave (`norm0`, `norm1`, ...) and no head.
Source of the names: microsoft/Swin-Transformer, models/swin_transformer.py and swin_transformer_v2.py;
SwinTransformer/Swin-Transformer-Object-Detection, mmdet/models/backbones/swin_transformer.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from swin_deploy.checkpoint.bias_tables import resize_bicubic
from swin_deploy.checkpoint.detector import backbone_prefix, output_norms, read_backbone
from swin_deploy.checkpoint.dialect import Layout, Sources, renamed, split_bias
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable

__all__ = ["Microsoft"]

_RULES = (
    (r"^stages\.", "layers."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
    (r"^out_norms\.(\d+)\.", r"norm\1."),
)


@dataclass(frozen=True)
class Microsoft:
    """microsoft/Swin-Transformer, its detection and segmentation code, and timm < 0.9."""

    name: str = "microsoft"

    def recognises(self, table: KeyTable) -> str | None:
        """By the place of patch merging; where there is a single stage, by the head, the norms or the buffers."""
        prefix = backbone_prefix(table)
        stages = table.count(prefix + "layers.{}.blocks.")
        if not stages or prefix + "patch_embed.proj.weight" not in table.shapes:
            return None
        if any(key.startswith(prefix + "layers.0.downsample.") for key in table.shapes):
            return f"{prefix}layers.*.blocks.* with patch merging at the end of a stage"
        if stages == 1 and "head.fc.weight" not in table.shapes:
            return f"{prefix}layers.0.blocks.* alone, without timm's head.fc"
        return None

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        prefix = backbone_prefix(table)
        # timm's last versions with this order had its head.fc already.
        head = "head.fc." if "head.fc.weight" in table.shapes else prefix + "head."
        v2 = any(key.endswith(".attn.logit_scale") for key in table.shapes)

        def sources(name: str) -> Sources:
            if name.startswith("head."):
                return (name.replace("head.", head, 1),)
            if found := re.match(r"stages\.(\d+)\.merge\.(.*)", name):
                return (f"{prefix}layers.{int(found[1]) - 1}.downsample.{found[2]}",)
            theirs = prefix + renamed(name, _RULES)
            return split_bias(theirs) if v2 else (theirs,)

        # A classifier's stages have no norms of their own. Its plain features are those of the code that trained it.
        rule = "microsoft-dense" if output_norms(table) else "microsoft"
        return Layout(
            "v2" if v2 else "v1",
            (rule, rule),
            sources,
            resize_table=resize_bicubic,
            read=read_backbone if prefix else None,
        )
