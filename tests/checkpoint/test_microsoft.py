"""Microsoft's layout: how it is known, what is left out, and what is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.bias_tables import resize_bicubic
from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.microsoft import Microsoft
from swin_deploy.checkpoint.task import Backbone, Classifier
from swin_deploy.errors import BadInput
from tests.checkpoint.golden_state import golden_state, read_with, table_of
from tests.checkpoint.timm_files import explained, weights

BUFFERS = ("relative_position_index", "attn_mask", "relative_coords_table")
DETECTOR = {
    "neck.lateral_convs.0.conv.weight": torch.zeros(4, 8, 1, 1),
    "neck.lateral_convs.0.conv.bias": torch.zeros(4),
    "rpn_head.rpn_cls.weight": torch.zeros(3, 4, 1, 1),
    "roi_head.bbox_head.0.fc_cls.weight": torch.zeros(5, 4),
}


def read(state: dict[str, Tensor], **hints: Any) -> Reading:
    return read_with(Microsoft(), state, **hints)


def same(one: Reading, other: Reading) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()
    )


def test_the_layout_is_known_by_the_place_of_patch_merging() -> None:
    dialect = Microsoft()
    assert "end of a stage" in (dialect.recognises(table_of(golden_state("microsoft_v1"))) or "")
    assert "end of a stage" in (dialect.recognises(table_of(golden_state("microsoft_v2"))) or "")
    assert "backbone.layers" in (dialect.recognises(table_of(golden_state("microsoft_detection_v1"))) or "")
    assert dialect.recognises(table_of(weights("v1"))) is None
    assert dialect.recognises(table_of(golden_state("mmdet_v1"))) is None


def test_a_single_stage_is_told_by_its_head() -> None:
    state = golden_state("microsoft_v2_no_qkv_bias")
    assert "alone" in (Microsoft().recognises(table_of(state)) or "")
    renamed = {name.replace("head.", "head.fc."): tensor for name, tensor in state.items()}
    assert Microsoft().recognises(table_of(renamed)) is None


def test_a_classifier_keeps_the_classification_codes_geometry() -> None:
    reading = read(golden_state("microsoft_v1"))
    assert reading.spec.task == Classifier(5)
    assert reading.spec.rule == "microsoft"


def test_a_backbone_with_norms_has_the_detection_codes_geometry() -> None:
    reading = read(golden_state("microsoft_detection_v1"), image_size=(35, 43))
    assert reading.spec.task == Backbone((0, 1), norms=True)
    assert reading.spec.rule == "microsoft-dense"


def test_saved_buffers_are_rebuilt_and_not_needed() -> None:
    state = golden_state("microsoft_v1")
    bare = {name: tensor for name, tensor in state.items() if not name.endswith(BUFFERS)}
    assert len(bare) < len(state)
    assert same(read(state), read(bare))


def test_v2s_window_is_in_its_saved_coordinates_and_asked_for_without_them() -> None:
    state = golden_state("microsoft_v2_pretrained")
    spec = read(state, image_size=(24, 24)).spec
    assert [stage.window for stage in spec.stages] == [(6, 6), (6, 6), (3, 3)]
    assert [stage.pretrained_window for stage in spec.stages] == [(4, 4), (4, 4), (2, 2)]
    bare = {name: tensor for name, tensor in state.items() if not name.endswith(BUFFERS)}
    with pytest.raises(BadInput) as caught:
        read(bare, image_size=(24, 24))
    explained(caught, "window is in no tensor", "--window")


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_of_a_detector_the_backbone_is_taken_and_the_rest_named(prefix: str) -> None:
    state = {
        name.replace("backbone.", prefix): tensor for name, tensor in golden_state("microsoft_detection_v1").items()
    }
    alone = read(state)
    assert "left out" not in " | ".join(alone.evidence)
    if prefix:
        whole = read({**state, **DETECTOR})
        assert same(alone, whole)
        assert whole.spec == alone.spec
        said = whole.evidence[-1]
        assert said == (
            "4 keys beside backbone belong to other parts and were left out: neck (2), rpn_head (1), roi_head (1)"
        )


def test_parts_beside_a_bare_backbone_are_not_left_out_in_silence() -> None:
    state = {name.replace("backbone.", ""): value for name, value in golden_state("microsoft_detection_v1").items()}
    with pytest.raises(BadInput) as caught:
        read({**state, **DETECTOR})
    explained(caught, "unexpected: neck.lateral_convs.0.conv.weight")


def test_fewer_stages_than_have_norms_may_be_asked_for() -> None:
    reading = read(golden_state("microsoft_detection_v1"), out_stages=(1,))
    assert reading.spec.task == Backbone((1,), norms=True)
    assert {name for name in reading.tensors if name.startswith("out_norms")} == {
        "out_norms.1.weight",
        "out_norms.1.bias",
    }


def test_a_classifiers_plain_features_are_those_of_the_code_that_trained_it() -> None:
    reading = read(golden_state("microsoft_v1"), task="backbone")
    assert reading.spec.task == Backbone((0, 1), norms=False)
    assert reading.spec.rule == "microsoft"


def test_a_backbone_is_no_classifier() -> None:
    with pytest.raises(BadInput) as caught:
        read(golden_state("microsoft_detection_v1"), task="classification")
    explained(caught, "backbone.head.weight is missing")


def test_a_size_that_the_code_does_not_run_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        read(golden_state("microsoft_v1"), image_size=(40, 40))
    explained(caught, "has no padding", "--image-size")


def test_tables_are_interpolated_as_the_official_loader_does() -> None:
    state = golden_state("microsoft_v1")
    key = "layers.0.blocks.1.attn.relative_position_bias_table"
    reading = read(state, image_size=(64, 64), window=(8, 8), window_option=True)
    found = reading.tensors["stages.0.blocks.1.attn.relative_position_bias_table"]
    assert torch.equal(found, resize_bicubic(state[key], (4, 4), (8, 8)))
    assert "resize_bicubic" in " | ".join(reading.evidence)


@pytest.mark.parametrize(
    "key",
    [
        "patch_embed.norm.bias",
        "layers.0.downsample.norm.weight",
        "layers.0.blocks.1.attn.qkv.bias",
        "layers.1.blocks.0.mlp.fc2.weight",
        "norm.bias",
        "head.weight",
    ],
)
def test_a_renamed_key_is_named(key: str) -> None:
    state = golden_state("microsoft_v1")
    state[key + "x"] = state.pop(key)
    with pytest.raises(BadInput) as caught:
        read(state, task="classification")
    explained(caught, key)


def test_a_v2_window_that_may_have_been_clipped_in_training_is_asked_for_where_it_matters() -> None:
    state = golden_state("microsoft_v2")  # windows of 4, and of 2 in a last stage of 2x2 tokens
    trained = [stage.window for stage in read(state, image_size=(16, 16)).spec.stages]
    assert trained == [(4, 4), (4, 4), (2, 2)]
    with pytest.raises(BadInput) as caught:
        read(state, image_size=(32, 32))
    explained(caught, "--window 4 --pretrained-window 4,4,2")
    larger = read(state, image_size=(32, 32), window=(4, 4), trained_size=(16, 16)).spec  # a side-car says so
    assert [larger.geometry(stage, 0).window for stage in range(3)] == [(4, 4)] * 3
    with pytest.raises(BadInput) as caught:
        read(state, image_size=(16, 16), window=(8, 8), trained_size=(64, 64))
    explained(caught, "says 8")
