"""Models of Swin's family that are known and not supported: refused by name, with what is missing."""

from __future__ import annotations

import re

from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.errors import BadInput

__all__ = ["refuse_foreign"]

# A part of a key that no supported network has; the network; what the two forms lack. The first match counts.
_SIGNS = (
    (
        r"\.attn\.meta_mlp\.",
        "timm's swinv2_cr, which is another network than Swin V2",
        "its position bias from a meta_mlp and the third norm of some blocks",
    ),
    (r"^(?:.*\.)?swinViT\.", "MONAI's Swin UNETR", "its decoder and windows over volumes"),
    (r"\.spatial_mlp\.", "Swin-MLP", "windows that convolutions mix"),
    (r"\._moe_layer\.", "a Swin with mixtures of experts (SwinV2-MoE)", "the routing of tokens to experts"),
    (
        r"(?:^|\.)absolute_pos_embed$",
        "a Swin with absolute position embeddings",
        "them (Microsoft's published models have none)",
    ),
    (
        r"\.blocks\.\d+\.norm3\.",
        "a Swin V2 with a third norm behind every n-th block (extra_norm_every_n_blocks)",
        "that norm",
    ),
)
# Convolutions over time or depth as well, by what else there is.
_PATCHES = re.compile(r"(?:^|\.)patch_embed\.proj(?:ection)?\.weight$")


def refuse_foreign(table: KeyTable) -> None:
    """Refuse a checkpoint that is known to be of another kind of network.

    Raises:
        BadInput: naming the network, and what it has that the two forms have not.
    """
    found = _known(table)
    if found is not None:
        network, missing = found
        spatial = not any(word in missing for word in ("time", "volumes"))
        raise BadInput(
            f"{table.origin} is {network}",
            needed=f"a two-dimensional Swin V1 or V2; support for {missing} is missing",
            do="Bring the model itself with --model, which is deployed as it is"
            if spatial
            else "There is no way yet: --model too takes images [B, channels, H, W] only",
        )


def _known(table: KeyTable) -> tuple[str, str] | None:
    for sign, network, missing in _SIGNS:
        if any(re.search(sign, key) for key in table.shapes):
            return network, missing
    if any(len(shape) == 5 and _PATCHES.search(key) for key, shape in table.shapes.items()):
        torchvision = any(key.startswith("features.") for key in table.shapes)
        return ("torchvision's swin3d" if torchvision else "Video Swin"), "windows that span time as well"
    return None
