"""timm's layout (0.9 and later), Swin V1 and V2.

Signs: `layers.{i}.blocks.{j}`, patch merging at the start of the next stage (`layers.1.downsample`), head `head.fc`.
Source of the names: timm 1.0.31, `swin_transformer.py` and `swin_transformer_v2.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from swin_deploy.checkpoint.bias_tables import resize_geometric
from swin_deploy.checkpoint.dialect import Layout, Sources, renamed, split_bias
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable

__all__ = ["Timm"]

# From a canonical name to timm's.
_RULES = (
    (r"^stages\.(\d+)\.merge\.", r"layers.\1.downsample."),
    (r"^stages\.", "layers."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
    (r"^head\.", "head.fc."),
)


@dataclass(frozen=True)
class Timm:
    """timm >= 0.9."""

    name: str = "timm"

    def recognises(self, table: KeyTable) -> str | None:
        """By the block prefix, the patch embedding and the place of patch merging."""
        stages = _stages(table)
        if not table.count(stages + ".blocks.") or not any(key.startswith("patch_embed.") for key in table.shapes):
            return None
        if any(key.startswith("layers.0.downsample.") for key in table.shapes):
            return None  # the official order: merging at the end of a stage
        return f"{stages.format('*')}.blocks.* with patch merging at the start of a stage"

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        v2 = any(".attn.cpb_mlp." in key or key.endswith(".logit_scale") for key in table.shapes)
        prefix = _stages(table).format("")  # `layers.` or `layers_`

        def sources(name: str) -> Sources:
            theirs = re.sub(r"^layers\.", prefix, renamed(name, _RULES))
            return split_bias(theirs) if v2 else (theirs,)

        return Layout("v2" if v2 else "v1", ("timm", "timm"), sources, resize_table=None if v2 else resize_geometric)


def _stages(table: KeyTable) -> str:
    """What names a stage: a model made with `features_only=True` has `layers_0` for `layers.0`."""
    return "layers_{}" if table.count("layers_{}.blocks.") else "layers.{}"
