"""torchvision's layout: what is read from it, and that every key matters. Outputs are compared in the parity table."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.architecture import read_swin
from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.checkpoint.torchvision import Torchvision
from swin_deploy.errors import BadInput
from tests.checkpoint.parity_rows_torchvision import torchvision_model
from tests.checkpoint.timm_files import explained, weights
from tests.random_swin import small_spec

State = dict[str, Tensor]
HINTS = ArchitectureHints((56, 56), source="--image-size")


@lru_cache
def _state(family: Any) -> State:
    return dict(torchvision_model(family).state_dict())


def state_of(family: Any) -> State:
    return dict(_state(family))


def table_of(state: State) -> KeyTable:
    return KeyTable("model.pth", {name: tuple(tensor.shape) for name, tensor in state.items()})


def read(state: State, hints: ArchitectureHints = HINTS) -> Reading:
    table = table_of(state)
    return read_swin(table, Torchvision().layout(table, hints), state, hints)


# One key of each kind, of the first block and of the last; torchvision is not asked, so that a run without it collects.
_V1 = [
    "features.0.0.weight",
    "features.0.0.bias",
    "features.0.2.weight",
    "features.2.reduction.weight",
    "features.2.norm.bias",
    "norm.weight",
    "head.weight",
    "head.bias",
    *(
        f"features.{place}.{part}"
        for place in ("1.0", "3.1")
        for part in (
            "norm1.weight",
            "attn.qkv.weight",
            "attn.qkv.bias",
            "attn.proj.weight",
            "norm2.bias",
            "mlp.0.weight",
        )
    ),
    "features.3.1.mlp.3.weight",
    "features.1.0.mlp.3.bias",
]
EVERY_KIND = [
    *(("v1", key) for key in (*_V1, "features.1.0.attn.relative_position_bias_table")),
    *(("v2", key) for key in (*_V1, "features.3.1.attn.logit_scale", "features.1.0.attn.cpb_mlp.0.weight")),
    ("v2", "features.3.0.attn.cpb_mlp.2.weight"),
]


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_the_architecture_is_read_from_the_weights_alone(family: Any) -> None:
    reading = read(state_of(family))
    assert reading.spec == small_spec(family, image_size=(56, 56), patch=4, rule="torchvision")
    state = state_of(family)
    assert torch.equal(reading.tensors["stages.1.merge.reduction.weight"], state["features.2.reduction.weight"])
    assert torch.equal(reading.tensors["stages.1.blocks.1.mlp.2.weight"], state["features.3.1.mlp.3.weight"])


def published(name: str) -> State:
    """The keys and buffers of a published model; its weights are memory that nobody has written."""
    models = pytest.importorskip("torchvision").models
    theirs = models.swin_transformer
    with torch.device("meta"):
        shapes = getattr(models, name)().state_dict()
    if "v2" in name:
        buffers = dict(theirs.ShiftedWindowAttentionV2(32, [8, 8], [0, 0], 1).named_buffers())
    else:
        buffers = dict(theirs.ShiftedWindowAttention(32, [7, 7], [0, 0], 1).named_buffers())
    return {
        key: buffers.get(key.rpartition(".")[2], torch.empty_like(tensor, device="cpu"))
        for key, tensor in shapes.items()
    }


@pytest.mark.parametrize(
    ("name", "window", "depths", "dim"),
    [
        ("swin_t", 7, (2, 2, 6, 2), 96),
        ("swin_s", 7, (2, 2, 18, 2), 96),
        ("swin_b", 7, (2, 2, 18, 2), 128),
        ("swin_v2_t", 8, (2, 2, 6, 2), 96),
        ("swin_v2_b", 8, (2, 2, 18, 2), 128),
    ],
)
def test_the_published_architectures_are_read(name: str, window: int, depths: tuple[int, ...], dim: int) -> None:
    spec = read(published(name), ArchitectureHints((256, 256))).spec
    assert spec.task.classes == 1000
    assert tuple(stage.depth for stage in spec.stages) == depths
    assert [stage.dim for stage in spec.stages] == [dim, 2 * dim, 4 * dim, 8 * dim]
    assert [stage.dim // stage.heads for stage in spec.stages] == [32] * 4
    assert {stage.window for stage in spec.stages} == {(window, window)}
    if spec.family == "v2":
        assert {stage.pretrained_window for stage in spec.stages} == {(window, window)}


def test_a_window_is_never_clipped_and_what_patches_do_not_cover_is_dropped() -> None:
    spec = read(state_of("v1"), ArchitectureHints((22, 83))).spec
    assert spec.padded_image == (20, 80)
    assert spec.feature_map(0) == (5, 20)
    assert spec.geometry(0, 1).window == (7, 7)
    assert spec.geometry(0, 1).shift == (0, 3)  # one window covers the rows, once they are padded


def test_v2s_dead_key_bias_is_dropped_whatever_it_holds() -> None:
    state = state_of("v2")
    assert state["features.1.0.attn.qkv.bias"].chunk(3)[1].abs().max() > 0.05
    bias = read(state).tensors["stages.0.blocks.0.attn.qkv.bias"]
    query, key, value = bias.chunk(3)
    assert not key.any()
    wanted = state["features.1.0.attn.qkv.bias"].chunk(3)
    assert torch.equal(query, wanted[0])
    assert torch.equal(value, wanted[2])


def test_v1s_key_bias_is_kept() -> None:
    state = state_of("v1")
    reading = read(state)
    assert torch.equal(reading.tensors["stages.0.blocks.0.attn.qkv.bias"], state["features.1.0.attn.qkv.bias"])


@pytest.mark.parametrize(("family", "key"), EVERY_KIND)
def test_a_renamed_key_of_any_kind_is_named(family: Any, key: str) -> None:
    state = state_of(family)
    state[key + "x"] = state.pop(key)
    with pytest.raises(BadInput) as caught:
        read(state)
    message = explained(caught, "model.pth")
    assert re.search(rf"missing: .*{re.escape(key)}\b|{re.escape(key)} is missing", message), message
    assert key + "x" in message


@pytest.mark.parametrize(("family", "key"), EVERY_KIND)
def test_a_key_of_another_number_of_axes_is_named(family: Any, key: str) -> None:
    state = state_of(family)
    with pytest.raises(BadInput) as caught:
        read({**state, key: state[key][None]})
    explained(caught, "model.pth", key)


def test_an_extra_key_is_named() -> None:
    for key in ("features.1.0.attn.more", "features.3.1.more", "absolute"):
        with pytest.raises(BadInput) as caught:
            read({**state_of("v1"), key: torch.zeros(3)})
        explained(caught, key)


def test_another_window_is_refused_since_torchvision_cannot_interpolate() -> None:
    hints = HINTS.overridden(window=(14, 14))
    with pytest.raises(BadInput) as caught:
        read(state_of("v1"), hints)
    explained(caught, "a window of 7", "no interpolation")


def test_a_classifiers_features_are_read_without_its_head() -> None:
    reading = read(state_of("v1"), ArchitectureHints((56, 56), task="backbone", out_stages=(1,)))
    assert reading.spec.task == Backbone((1,), norms=False)
    assert not [name for name in reading.tensors if name.startswith(("head", "norm."))]


def test_the_layout_is_known_by_its_keys() -> None:
    for family in ("v1", "v2"):
        assert Torchvision().recognises(table_of(state_of(family)))
    assert Torchvision().recognises(table_of(weights("v1"))) is None
    video = {"patch_embed.proj.weight": (96, 3, 2, 4, 4), "features.0.0.attn.qkv.weight": (288, 96)}
    assert Torchvision().recognises(KeyTable("", {**video, "features.1.reduction.weight": (192, 384)})) is None
    efficientnet = {"features.0.0.weight": (32, 3, 3, 3), "features.1.0.block.0.0.weight": (32, 1, 3, 3)}
    assert Torchvision().recognises(KeyTable("", efficientnet)) is None
