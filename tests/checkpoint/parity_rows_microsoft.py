"""Rows of Microsoft's own code: classification, the backbone of its detection and segmentation code, and timm < 0.9."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from tests.checkpoint.parity_row import Original, ParityRow, golden
from tests.checkpoint.parity_rows_timm import timm_original

__all__ = ["ROWS"]


def _old_timm(family: str, head: str = "head.", features: str = "") -> Callable[[], Original]:
    """timm's model as timm < 0.9 named it: merging at the end of a stage, no buffers."""

    def make() -> Original:
        options = {"task": "backbone"} if features else {}
        original = timm_original(family, {"img_size": (56, 56)}, features, options=options)
        state = {
            re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name): tensor
            for name, tensor in original.state.items()
        }
        return replace(original, state={name.replace("head.fc.", head): tensor for name, tensor in state.items()})

    return make


ROWS = (
    ParityRow("microsoft", "v1", "classification", "exact", "golden", golden("microsoft_v1")),
    ParityRow("microsoft", "v1", "classification", "oblong, clipped window", "golden", golden("microsoft_v1_clipped")),
    ParityRow(
        "microsoft",
        "v1",
        "classification",
        "absolute positions",
        "golden",
        golden("microsoft_v1_options"),
        refused="absolute position embeddings",
    ),
    # Its first heads are beyond the clamp: scores reach 100, where FP32 rounds at 1e-5, in the original as in ours.
    ParityRow("microsoft", "v2", "classification", "exact and clipped", "golden", golden("microsoft_v2"), single=3e-5),
    ParityRow("microsoft", "v2", "classification", "pretrained window", "golden", golden("microsoft_v2_pretrained")),
    ParityRow("microsoft", "v2", "classification", "no qkv bias", "golden", golden("microsoft_v2_no_qkv_bias")),
    ParityRow("microsoft", "v1", "classification", "timm 0.6", "live", _old_timm("v1")),
    ParityRow("microsoft", "v1", "classification", "timm 0.8", "live", _old_timm("v1", "head.fc.")),
    ParityRow("microsoft", "v2", "classification", "timm 0.6", "live", _old_timm("v2")),
    # Plain features of a classifier, as the code that trained it gives them.
    ParityRow("microsoft", "v1", "backbone", "features of timm 0.6", "live", _old_timm("v1", features="getter")),
    ParityRow("microsoft", "v2", "backbone", "features of timm 0.6", "live", _old_timm("v2", features="getter")),
    ParityRow("microsoft", "v1", "backbone", "detection", "golden", golden("microsoft_detection_v1"), padded=True),
)
