"""Rows of OpenMMLab: mmpretrain's classifiers, and the backbones of mmdetection and mmsegmentation."""

from __future__ import annotations

from tests.checkpoint.parity_row import ParityRow, golden

__all__ = ["ROWS"]

ROWS = (
    ParityRow("openmmlab", "v1", "classification", "mmpretrain", "golden", golden("mmpretrain_v1"), padded=True),
    # At a size where one stage is exactly one window wide, no tensor tells whether it is shifted.
    ParityRow(
        "openmmlab",
        "v1",
        "classification",
        "pad_small_map",
        "golden",
        golden("mmpretrain_v1_pad_small_map", only=(1, 2)),
        padded=True,
    ),
    ParityRow("openmmlab", "v2", "classification", "mmpretrain", "golden", golden("mmpretrain_v2"), padded=True),
    ParityRow(
        "openmmlab",
        "v2",
        "classification",
        "extra norms",
        "golden",
        golden("mmpretrain_v2_extra_norm"),
        refused="extra_norm_every_n_blocks",
    ),
    ParityRow("openmmlab", "v1", "backbone", "mmdetection", "golden", golden("mmdet_v1"), padded=True),
    ParityRow("openmmlab", "v1", "backbone", "mmsegmentation", "golden", golden("mmseg_v1"), padded=True),
)
