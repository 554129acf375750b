"""Hugging Face's layout: what is read from it, and that every key matters. Outputs are compared in the parity table."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from calib.preprocess import Preprocess
from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.huggingface import HuggingFace
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.errors import BadInput
from swin_deploy.model.windows import MASK_VALUE
from swin_deploy.recipe import Recipe
from swin_deploy.request import preprocessing
from tests.checkpoint.live_models import filled
from tests.checkpoint.parity_rows_huggingface import config, on_disk
from tests.checkpoint.timm_files import explained, weights
from tests.random_swin import small_spec

State = dict[str, Tensor]
HINTS = ArchitectureHints((56, 56), (7, 7), ((0, 0),), "config.json", trained_size=(56, 56))
V1, V2 = "SwinForImageClassification", "Swinv2ForImageClassification"


def made(name: str, **changes: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return filled(getattr(transformers, name)(config("v2" if "v2" in name else "v1", **changes)))


@lru_cache
def _state(name: str, in_memory: bool) -> State:
    model = made(name)
    return dict(model.state_dict()) if in_memory else on_disk(model)[0]


def state_of(name: str, *, in_memory: bool = False) -> State:
    return dict(_state(name, in_memory))


def table_of(state: State) -> KeyTable:
    return KeyTable("model.safetensors", {name: tuple(tensor.shape) for name, tensor in state.items()})


def read(state: State, hints: ArchitectureHints = HINTS) -> Reading:
    table = table_of(state)
    layout = HuggingFace().layout(table, hints)
    assert layout.read is not None
    return layout.read(table, layout, state, hints)


_BLOCK = "swin.encoder.layers.0.blocks.0."
_AROUND = [
    "swin.embeddings.patch_embeddings.projection.weight",
    "swin.embeddings.norm.bias",
    "swin.encoder.layers.0.downsample.reduction.weight",
    "swin.encoder.layers.0.downsample.norm.weight",
    "swin.layernorm.weight",
    "classifier.weight",
    "classifier.bias",
]
_CLASSIC = [
    *_AROUND,
    *(
        _BLOCK + part
        for part in (
            "layernorm_before.weight",
            "layernorm_after.bias",
            "attention.self.query.weight",
            "attention.self.query.bias",
            "attention.self.key.weight",
            "attention.self.value.weight",
            "attention.self.value.bias",
            "attention.output.dense.weight",
            "intermediate.dense.weight",
            "output.dense.bias",
        )
    ),
]
EVERY_KIND = [
    *((V1, False, key) for key in (*_CLASSIC, _BLOCK + "attention.self.key.bias")),
    (V1, False, _BLOCK + "attention.self.relative_position_bias_table"),
    *(
        (V1, True, _BLOCK + part)
        for part in (
            "attention.q_proj.weight",
            "attention.k_proj.bias",
            "attention.v_proj.weight",
            "attention.o_proj.weight",
            "attention.relative_position_bias.relative_position_bias_table",
            "mlp.fc1.weight",
            "mlp.fc2.bias",
        )
    ),
    *((V2, False, key.replace("swin.", "swinv2.")) for key in _CLASSIC),
    *(
        (V2, False, _BLOCK.replace("swin.", "swinv2.") + "attention.self." + part)
        for part in ("logit_scale", "continuous_position_bias_mlp.0.weight", "continuous_position_bias_mlp.2.weight")
    ),
]


@pytest.mark.parametrize(("name", "family", "rule"), [(V1, "v1", "huggingface"), (V2, "v2", "huggingface-v2")])
def test_the_architecture_is_read(name: str, family: Any, rule: str) -> None:
    spec = read(state_of(name)).spec
    assert (spec.family, spec.rule, spec.task.classes, spec.patch) == (family, rule, 5, 4)
    assert [(stage.dim, stage.depth, stage.heads) for stage in spec.stages] == [(16, 2, 2), (32, 2, 4)]
    assert [stage.window for stage in spec.stages] == [(7, 7), (7, 7)]


def test_names_in_memory_and_on_disk_give_the_same_weights() -> None:
    for name in (V1, "SwinBackbone", V2):
        disk, memory = read(state_of(name)), read(state_of(name, in_memory=True))
        assert disk.spec == memory.spec
        assert disk.tensors.keys() == memory.tensors.keys()
        assert all(torch.equal(tensor, memory.tensors[key]) for key, tensor in disk.tensors.items())


def test_query_key_and_value_are_joined_in_this_order() -> None:
    state = state_of(V1)
    joined = read(state).tensors["stages.0.blocks.0.attn.qkv.weight"]
    parts = [state[f"{_BLOCK}attention.self.{part}.weight"] for part in ("query", "key", "value")]
    assert torch.equal(joined, torch.cat(parts))


def test_v2s_key_has_no_bias() -> None:
    bias = read(state_of(V2)).tensors["stages.0.blocks.0.attn.qkv.bias"]
    query, key, value = bias.chunk(3)
    assert query.any() and value.any() and not key.any()


def test_buffers_of_transformers_4_and_a_mask_token_are_left_out() -> None:
    state = state_of(V1)
    state[_BLOCK + "attention.self.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    state["swin.embeddings.mask_token"] = torch.zeros(1, 1, 16)
    assert read(state).tensors.keys() == read(state_of(V1)).tensors.keys()


@pytest.mark.parametrize(("name", "in_memory", "key"), EVERY_KIND)
def test_a_renamed_key_of_any_kind_is_named(name: str, in_memory: bool, key: str) -> None:
    state = state_of(name, in_memory=in_memory)
    state[key + "x"] = state.pop(key)
    hints = HINTS.overridden(task="classification")
    with pytest.raises(BadInput) as caught:
        read(state, hints)
    message = explained(caught, "model.safetensors")
    assert re.search(rf"missing: .*{re.escape(key)}\b|{re.escape(key)} is missing", message), message
    assert key + "x" in message


@pytest.mark.parametrize(("name", "in_memory", "key"), EVERY_KIND)
def test_a_key_of_another_number_of_axes_is_named(name: str, in_memory: bool, key: str) -> None:
    state = state_of(name, in_memory=in_memory)
    with pytest.raises(BadInput) as caught:
        read({**state, key: state[key][None]})
    explained(caught, "model.safetensors", key)


def test_a_model_without_head_asks_for_its_task() -> None:
    for name in ("SwinModel", "Swinv2Model", "Swinv2Backbone"):
        state = state_of(name)
        with pytest.raises(BadInput) as caught:
            read(state)
        explained(caught, "neither a head (classifier.weight)", "--task backbone")
        assert read(state, HINTS.overridden(task="backbone")).spec.task == Backbone((0, 1), norms=False)


def test_a_backbone_that_the_config_names_needs_no_option(tmp_path: Path) -> None:
    made("Swinv2Backbone", out_features=["stage1"]).save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path / "model.safetensors").reading.spec.task == Backbone((0,), norms=False)


def test_the_norms_of_a_v1_backbone_tell_its_stages_and_its_geometry() -> None:
    model = made("SwinBackbone", out_features=["stage1"])
    spec = read(on_disk(model)[0]).spec
    assert (spec.task, spec.rule) == (Backbone((0,), norms=True), "huggingface-backbone")
    # SwinModel stops shifting where one window covers the shorter side; SwinBackbone never does.
    assert spec.geometry(1, 1).shift == (3, 3)
    assert read(state_of(V1)).spec.geometry(1, 1).shift == (0, 0)


def test_v2s_windows_and_shifts_are_those_it_was_built_with() -> None:
    built = read(state_of(V2)).spec
    shown = read(state_of(V2), HINTS.overridden(image_size=(112, 80))).spec
    for spec in (built, shown):
        assert [stage.window for stage in spec.stages] == [(7, 7), (7, 7)]
        assert [spec.geometry(stage, 1).shift for stage in (0, 1)] == [(3, 3), (0, 0)]
        assert spec.geometry(0, 1).mask_value == 2 * MASK_VALUE
    assert shown.feature_map(1) == (14, 10)  # where a model built for this size would shift
    rebuilt = read(state_of(V2), ArchitectureHints((112, 80), (7, 7), ((0, 0),), "config.json")).spec
    assert rebuilt.geometry(1, 1).shift == (3, 3)


def test_v2_clips_its_windows_to_the_rows_it_was_built_for() -> None:
    hints = ArchitectureHints((56, 56), (16, 16), ((0, 0),), "config.json", trained_size=(44, 200))
    spec = read(state_of(V2), hints).spec
    assert [stage.window for stage in spec.stages] == [(11, 11), (5, 5)]  # 11 rows of patches, halved without the rest
    assert [stage.pretrained_window for stage in spec.stages] == [(11, 11), (5, 5)]
    assert [stage.shifts for stage in spec.stages] == [False, False]


def test_the_evidence_says_for_which_size_v2_was_built() -> None:
    assert any("as built for images of 56" in fact for fact in read(state_of(V2)).evidence)
    assert not any("as built" in fact for fact in read(state_of(V1)).evidence)


def folder_of(tmp_path: Path, name: str = V1, **changes: Any) -> Path:
    """A folder as it is published: model, configuration and image processor."""
    made(name, id2label={index: f"class {index}" for index in range(5)}, **changes).save_pretrained(tmp_path)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": 56, "width": 56},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(("name", "family"), [(V1, "v1"), (V2, "v2")])
@torch.no_grad()
def test_a_published_folder_is_read_without_any_option(tmp_path: Path, name: str, family: str) -> None:
    checkpoint = load_checkpoint(folder_of(tmp_path, name))
    assert checkpoint.dialect == "huggingface"
    assert checkpoint.reading.spec.family == family
    assert checkpoint.sidecar.classes == tuple(f"class {index}" for index in range(5))
    half = (0.5, 0.5, 0.5)
    assert checkpoint.sidecar.preprocess == Preprocess(56, 56, "squash", "bicubic", "pillow", half, half)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 64, 3), dtype=np.uint8)
    batch = torch.from_numpy(checkpoint.sidecar.preprocess.batch([pixels]))
    transformers = pytest.importorskip("transformers")
    twin = getattr(transformers, name).from_pretrained(tmp_path).eval()
    wanted = twin(batch).logits
    assert (checkpoint.reference()(batch) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def changed_config(path: Path, **changes: Any) -> Path:
    file = path.with_name("config.json")
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"id2label": {"0": "cat", "1": "dog"}}, ("config.json", "2 classes", "have 5")),
        ({"depths": [2, 6]}, ("config.json", "(2, 6) blocks a stage", "have (2, 2)")),
        ({"num_heads": [4, 8]}, ("config.json", "(4, 8) heads a stage", "have (2, 4)")),
        ({"window_size": 12}, ("a window of 7", "config.json", "says 12")),
        ({"window_size": 5}, ("a window of 7", "config.json", "says 5")),
    ],
    ids=str,
)
def test_a_config_that_contradicts_the_weights_is_noticed(tmp_path: Path, changes: Any, parts: tuple[str, ...]) -> None:
    path = changed_config(folder_of(tmp_path), **changes)
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path)
    explained(caught, *parts)


def test_the_model_runs_at_the_size_that_its_images_are_made_with(tmp_path: Path) -> None:
    path = changed_config(folder_of(tmp_path, V2), image_size=224)
    reading = load_checkpoint(path).reading
    assert reading.spec.image_size == (56, 56)
    assert any("as built for images of 224" in fact for fact in reading.evidence)


def test_a_processor_that_is_not_understood_is_named_where_real_images_are_shown(tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"do_pad": true}', encoding="utf-8")
    checkpoint = load_checkpoint(path)
    assert preprocessing(Recipe(str(path)), checkpoint, real_images=False).height == 56
    with pytest.raises(BadInput) as caught:
        preprocessing(Recipe(str(path)), checkpoint, real_images=True)
    explained(caught, "preprocessor_config.json: do_pad is true", "--resize")


def test_a_checkpoint_in_several_files_is_refused(tmp_path: Path) -> None:
    made(V1).save_pretrained(tmp_path, max_shard_size="50KB")
    shards = sorted(tmp_path.glob("model-*-of-*.safetensors"))
    assert len(shards) > 1
    for path in (*shards, tmp_path / "model.safetensors.index.json"):
        with pytest.raises(BadInput) as caught:
            load_checkpoint(path)
        explained(caught, str(path), "a checkpoint in several", "max_shard_size")


def test_the_swin_in_a_segmenter_says_what_was_left_out(tmp_path: Path) -> None:
    state = {f"backbone.{name}": tensor for name, tensor in state_of("SwinBackbone").items()}
    state["decode_head.classifier.weight"] = torch.ones(3, 16, 1, 1)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(BadInput) as caught:
        load_checkpoint(tmp_path / "model.safetensors", image_size=(56, 56))
    explained(caught, "backbone.", "decode_head", "--task backbone")
    reading = load_checkpoint(tmp_path / "model.safetensors", image_size=(56, 56), task="backbone").reading
    assert reading.spec == read(state_of("SwinBackbone")).spec
    assert any("left out: decode_head (1)" in fact for fact in reading.evidence)


def test_the_layout_is_known_by_its_keys() -> None:
    for name in (V1, V2, "SwinModel", "SwinBackbone", "Swinv2Backbone"):
        for in_memory in (False, True):
            assert HuggingFace().recognises(table_of(state_of(name, in_memory=in_memory)))
    assert HuggingFace().recognises(table_of(weights("v1"))) is None
    super_resolution = {
        "swin2sr.embeddings.patch_embeddings.projection.weight": (8, 8, 1, 1),
        "swin2sr.encoder.stages.0.layers.0.attention.self.query.weight": (8, 8),
    }
    assert HuggingFace().recognises(KeyTable("", super_resolution)) is None
    vit = {"vit.embeddings.cls_token": (1, 1, 8), "vit.encoder.layer.0.attention.attention.query.weight": (8, 8)}
    assert HuggingFace().recognises(KeyTable("", vit)) is None


def test_timms_spec_and_this_one_differ_in_their_rule_alone() -> None:
    ours = read(state_of(V1)).spec
    assert ours == small_spec("v1", image_size=(56, 56), patch=4, rule="huggingface")
