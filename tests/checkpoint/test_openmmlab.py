"""OpenMMLab's layout: its merging's order, which of its code bases wrote a file, and what no tensor tells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from swin_deploy.checkpoint.bias_tables import resize_bicubic, resize_geometric_cubic
from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.openmmlab import OpenMMLab
from swin_deploy.checkpoint.task import Backbone, Classifier
from swin_deploy.errors import BadInput
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import build_reference
from swin_deploy.model.reference import PatchMerging
from tests.checkpoint.golden_state import golden_state, read_with, table_of
from tests.checkpoint.parity_row import golden
from tests.checkpoint.timm_files import explained, weights
from tests.random_swin import relative_error

ALL = ("mmpretrain_v1", "mmpretrain_v1_pad_small_map", "mmpretrain_v2", "mmdet_v1", "mmseg_v1")


def read(state: dict[str, Tensor], **hints: Any) -> Reading:
    return read_with(OpenMMLab(), state, **hints)


def headless(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("head.")}


@pytest.mark.parametrize("case", ALL)
def test_the_layout_is_known_by_the_name_of_its_attention(case: str) -> None:
    state = golden_state(case)
    assert OpenMMLab().recognises(table_of(state)) == "backbone.stages.*.blocks.*.attn.w_msa"
    bare = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    assert OpenMMLab().recognises(table_of(bare)) == "stages.*.blocks.*.attn.w_msa"


def test_other_layouts_are_not_taken_for_it() -> None:
    for state in (weights("v1"), weights("v2"), golden_state("microsoft_detection_v1")):
        assert OpenMMLab().recognises(table_of(state)) is None


@pytest.mark.parametrize(
    ("case", "key"),
    [("mmpretrain_v1", "backbone.stages.0.downsample."), ("mmpretrain_v2", "backbone.stages.1.downsample.")],
)
@torch.no_grad()
def test_merging_takes_the_neighbours_in_the_order_of_the_paper_form(case: Any, key: str) -> None:
    state = golden_state(case)
    reading = read(state)
    family = reading.spec.family
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 6, 10, generator=generator)  # [B, C, H, W]
    theirs = F.unfold(x, 2, stride=2).transpose(1, 2)  # [B, H/2*W/2, 4C], channel by channel
    norm, bias, reduction = (state[key + name] for name in ("norm.weight", "norm.bias", "reduction.weight"))
    if family == "v1":
        theirs = F.layer_norm(theirs, (32,), norm, bias) @ reduction.T
    else:
        theirs = F.layer_norm(theirs @ reduction.T, (16,), norm, bias)
    merging = PatchMerging(family, 8, 16, 1e-5)
    merge = "stages.1.merge."
    merging.load_state_dict({n.removeprefix(merge): t for n, t in reading.tensors.items() if n.startswith(merge)})
    ours = merging(x.permute(0, 2, 3, 1)).flatten(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_head_makes_a_classifier_of_mmpretrain() -> None:
    for case in ("mmpretrain_v1", "mmpretrain_v2"):
        spec = read(golden_state(case)).spec
        assert spec.task == Classifier(5)
        assert spec.rule == "mmpretrain"


@pytest.mark.parametrize("case", ["mmpretrain_v1", "mmpretrain_v2"])
@torch.no_grad()
def test_a_classifiers_features_give_the_originals_logits_through_its_head(case: str) -> None:
    original = golden(case)()
    for sample in original.samples:
        size = (sample.images.shape[2], sample.images.shape[3])
        reading = read(dict(original.state), image_size=size, task="backbone")
        model = build_reference(reading.spec)
        model.load_state_dict(dict(reading.tensors))
        for form in (model.double().eval(), fold(model.double())):
            features = form(sample.images.double())  # [B, C, H, W], the last stage's alone
            weight, bias = (original.state[f"head.fc.{kind}"].double() for kind in ("weight", "bias"))
            assert relative_error(F.linear(features.mean((2, 3)), weight, bias), sample.outputs[0]) <= 1e-10


@pytest.mark.parametrize("case", ["mmdet_v1", "mmseg_v1"])
def test_norms_of_earlier_stages_make_a_backbone_of_mmdetection_or_mmsegmentation(case: str) -> None:
    spec = read(golden_state(case)).spec
    assert spec.task == Backbone((0, 1), norms=True)
    assert spec.rule == "openmmlab-dense"


@pytest.mark.parametrize("hints", [{}, {"task": "backbone"}])
def test_a_norm_behind_the_last_stage_alone_keeps_mmpretrains_geometry(hints: Any) -> None:
    spec = read(headless(golden_state("mmpretrain_v1")), **hints).spec
    assert spec.task == Backbone((1,), norms=True)
    assert spec.rule == "mmpretrain"


def test_a_classifier_gives_the_features_that_have_a_norm() -> None:
    reading = read(golden_state("mmpretrain_v1"), task="backbone")
    assert reading.spec.task == Backbone((1,), norms=True)
    assert reading.spec.rule == "mmpretrain"
    assert "left out: head (2)" in " | ".join(reading.evidence)
    with pytest.raises(BadInput) as caught:
        read(golden_state("mmpretrain_v1"), task="backbone", out_stages=(0, 1))
    explained(caught, "there are norms for 1", "--out-stages")


def test_another_head_is_not_left_out_in_silence() -> None:
    state = golden_state("mmpretrain_v1")
    state = {name.replace("head.fc.", "head.layers.0."): tensor for name, tensor in state.items()}
    with pytest.raises(BadInput) as caught:
        read(state)
    explained(caught, "unexpected: head.layers.0.")


def test_of_a_detector_the_backbone_is_taken_and_the_rest_named() -> None:
    state = golden_state("mmdet_v1")
    parts = {
        "neck.fpn_convs.0.conv.weight": torch.zeros(4, 4, 3, 3),
        "bbox_head.fc.weight": torch.zeros(2, 4),
        "bbox_head.fc.bias": torch.zeros(2),
    }
    alone, whole = read(state), read({**state, **parts})
    assert whole.spec == alone.spec
    assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in alone.tensors.items())
    assert whole.evidence[:-1] == alone.evidence
    assert whole.evidence[-1] == (
        "3 keys beside backbone belong to other parts and were left out: neck (1), bbox_head (2)"
    )


def test_a_map_smaller_than_the_window_says_that_small_maps_are_padded() -> None:
    reading = read(golden_state("mmpretrain_v1_pad_small_map"), image_size=(16, 12))
    assert reading.spec.rule == "openmmlab-dense"
    assert reading.spec.task == Classifier(5)
    assert "pad_small_map=True" in reading.evidence[-1]


def test_a_map_of_one_window_leaves_it_open_and_the_default_is_said() -> None:
    reading = read(golden_state("mmpretrain_v1"))
    assert reading.spec.rule == "mmpretrain"
    assert "pad_small_map=False, mmpretrain's default, is taken for granted: stage 1" in reading.evidence[-1]
    assert "pad_small_map" not in " | ".join(read(golden_state("mmpretrain_v1"), image_size=(64, 64)).evidence)


@pytest.mark.parametrize(("case", "resize"), [("mmdet_v1", resize_bicubic), ("mmpretrain_v1", resize_geometric_cubic)])
def test_tables_are_interpolated_as_the_code_base_itself_does(case: str, resize: Any) -> None:
    state = golden_state(case)
    reading = read(state, image_size=(64, 64), window=(7, 7), window_option=True)
    table = state["backbone.stages.1.blocks.0.attn.w_msa.relative_position_bias_table"]
    found = reading.tensors["stages.1.blocks.0.attn.relative_position_bias_table"]
    assert torch.equal(found, resize(table, (4, 4), (7, 7)))
    assert resize.__name__ in " | ".join(reading.evidence)


@pytest.mark.parametrize(
    ("case", "key"),
    [
        ("mmpretrain_v1", "backbone.patch_embed.projection.bias"),
        ("mmpretrain_v1", "backbone.stages.0.downsample.norm.weight"),
        ("mmpretrain_v1", "backbone.stages.0.blocks.1.ffn.layers.0.0.weight"),
        ("mmpretrain_v1", "backbone.norm1.bias"),
        ("mmpretrain_v2", "backbone.stages.1.downsample.reduction.weight"),
        ("mmpretrain_v2", "backbone.stages.1.blocks.0.attn.w_msa.v_bias"),
        ("mmdet_v1", "backbone.norm0.bias"),
    ],
)
def test_a_renamed_key_is_named(case: str, key: str) -> None:
    state = golden_state(case)
    state[key + "x"] = state.pop(key)
    with pytest.raises(BadInput) as caught:
        read(state)
    explained(caught, key)
