"""torchvision's layout, Swin V1 and V2.

Signs: one list `features` of which the stem is the first entry, stages the odd ones and patch mergings the even ones.
Source of the names: torchvision 0.29, models/swin_transformer.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.dialect import Layout, Sources, renamed
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Torchvision"]

# From a canonical name to torchvision's, but for the numbers of stages.
_RULES = (
    (r"^patch_embed\.proj\.", "features.0.0."),
    (r"^patch_embed\.norm\.", "features.0.2."),
    (r"\.mlp\.2\.", ".mlp.3."),  # behind a dropout; the dot in front tells it from V2's cpb_mlp.2
)


@dataclass(frozen=True)
class Torchvision:
    """torchvision's `swin_t` to `swin_v2_b`."""

    name: str = "torchvision"

    def recognises(self, table: KeyTable) -> str | None:
        """By the stem and an attention at their places in `features`; the 3-D model has its stem elsewhere."""
        if not table.count("features.1.{}.attn.") or not table.count("features.0.{}."):
            return None
        return "features.{2i+1}.*.attn, behind a stem in features.0"

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        rules = ("torchvision", "torchvision")
        if any(".attn.cpb_mlp." in key or key.endswith(".attn.logit_scale") for key in table.shapes):
            return Layout("v2", rules, _sources, _without_key_bias)
        return Layout("v1", rules, _sources)


def _sources(name: str) -> Sources:
    name = re.sub(r"^stages\.(\d+)\.merge\.", lambda found: f"features.{2 * int(found[1])}.", name)
    name = re.sub(r"^stages\.(\d+)\.blocks\.", lambda found: f"features.{2 * int(found[1]) + 1}.", name)
    return (renamed(name, _RULES),)


def _without_key_bias(name: str, tensor: Tensor) -> Tensor:
    """V2's parameter has a third for the key, which its forward ignores, whatever training has left there."""
    if not name.endswith("attn.qkv.bias"):
        return tensor
    tensor = tensor.clone()
    tensor.chunk(3)[1].zero_()
    return tensor
