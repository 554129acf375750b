"""Networks of Swin's family that are not supported: refused by name, whatever dialect their keys resemble."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin_deploy.checkpoint.foreign import refuse_foreign
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.errors import BadInput
from tests.checkpoint.golden_state import golden_state, table_of
from tests.checkpoint.timm_files import explained, weights

SAMPLES = json.loads((Path(__file__).parents[1] / "golden" / "foreign_keys.json").read_text(encoding="utf-8"))
NAMED = {
    "timm_swinv2_cr": "timm's swinv2_cr",
    "torchvision_swin3d_t": "torchvision's swin3d",
    "video_swin": "Video Swin",
    "monai_swin_unetr": "MONAI's Swin UNETR",
    "microsoft_swin_mlp": "Swin-MLP",
}


@pytest.mark.parametrize("sample", NAMED)
def test_a_network_of_the_family_is_refused_by_name(sample: str) -> None:
    table = KeyTable("model.pth", {key: tuple(shape) for key, shape in SAMPLES[sample]})
    with pytest.raises(BadInput) as caught:
        refuse_foreign(table)
    explained(caught, f"model.pth is {NAMED[sample]}", "support for", "is missing", "--model")


@pytest.mark.parametrize(
    ("key", "shape", "network"),
    [
        ("layers.2.blocks.1.mlp._moe_layer.gates.0.wg.weight", (8, 384), "mixtures of experts"),
        ("layers.0.blocks.0.mlp._moe_layer.experts.batched_fc1_w", (8, 384, 96), "mixtures of experts"),
        ("absolute_pos_embed", (1, 3136, 96), "absolute position embeddings"),
        ("backbone.absolute_pos_embed", (1, 96, 56, 56), "absolute position embeddings"),
        ("stages.2.blocks.5.norm3.weight", (384,), "extra_norm_every_n_blocks"),
    ],
)
def test_a_swin_with_an_unsupported_part_is_refused_by_that_part(
    key: str, shape: tuple[int, ...], network: str
) -> None:
    with pytest.raises(BadInput) as caught:
        refuse_foreign(KeyTable("model.pth", {**table_of(weights("v1")).shapes, key: shape}))
    explained(caught, network)


@pytest.mark.parametrize(
    "case", ["microsoft_v1", "microsoft_v2", "microsoft_detection_v1", "mmdet_v1", "mmpretrain_v1", "mmpretrain_v2"]
)
def test_what_is_supported_is_not_refused(case: str) -> None:
    refuse_foreign(table_of(golden_state(case)))


def test_timms_own_layout_is_not_refused() -> None:
    for family in ("v1", "v2"):
        refuse_foreign(table_of(weights(family)))
