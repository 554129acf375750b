"""timm's layout: what is inferred from shapes, what is asked for, and that every key matters."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.architecture import read_swin
from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.checkpoint.timm import Timm
from swin_deploy.errors import BadInput
from swin_deploy.model.reference import ReferenceSwin, relative_coordinates
from tests.checkpoint.timm_files import Weights, explained, weights
from tests.random_swin import random_images, random_reference, relative_error, small_spec, timm_state

HINTS = ArchitectureHints((28, 28), (7, 7), ((0, 0),), "model.json")


def table_of(state: Weights) -> KeyTable:
    return KeyTable("model.pth", {name: tuple(tensor.shape) for name, tensor in state.items()})


def read(state: Weights, hints: ArchitectureHints = HINTS) -> Reading:
    table = table_of(state)
    return read_swin(table, Timm().layout(table, hints), state, hints)


def kinds(family: Any) -> list[str]:
    """One key of each kind, from the first and from the last block, and all keys outside the blocks."""
    return [key for key in weights(family) if not re.match(r"layers\.(0\.blocks\.1|1\.blocks\.0)", key)]


EVERY_KIND = [(family, key) for family in ("v1", "v2") for key in kinds(family)]


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"image_size": (56, 56), "depths": (2, 3, 1), "heads": (2, 4, 8)},
        {"image_size": (56, 112), "patch": 4, "dim": 24, "heads": (3, 6), "classes": 11},
    ],
)
def test_the_architecture_and_the_weights_come_back(family: Any, changes: dict[str, Any]) -> None:
    spec = small_spec(family, **changes)
    model = random_reference(spec)
    hints = ArchitectureHints(spec.image_size, (7, 7), ((0, 0),), "model.json")
    reading = read(timm_state(model), hints)
    assert reading.spec == spec
    assert reading.tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, reading.tensors[name]) for name, tensor in model.state_dict().items())
    assert any(family.upper() in fact for fact in reading.evidence)


def live(family: str, **arguments: Any) -> Any:
    """A model as timm makes it, but without its zero norms and biases."""
    pytest.importorskip("timm")
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    torch.manual_seed(0)
    made = (SwinTransformer if family == "v1" else SwinTransformerV2)(
        **{
            "img_size": 28,
            "patch_size": 2,
            "num_classes": 5,
            "embed_dim": 16,
            "depths": (2, 2),
            "num_heads": (2, 4),
            "window_size": 7,
            "drop_path_rate": 0.0,
            **arguments,
        }
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.3, 0.2)
    return made.eval()


@pytest.mark.parametrize(
    ("family", "arguments", "hints"),
    [
        ("v1", {}, HINTS),
        ("v2", {}, HINTS),
        (
            "v2",
            {"img_size": (56, 28), "pretrained_window_sizes": (12, 6)},
            ArchitectureHints((56, 28), (7, 7), ((12, 12), (6, 6))),
        ),
        # A window that the last stage's map of 7x7 clips, so that its pretrained window is 7 as well.
        ("v2", {"window_size": 14}, ArchitectureHints((28, 28), (14, 14), ((0, 0),))),
        ("v1", {"window_size": 14}, ArchitectureHints((28, 28), (14, 14))),
        ("v1", {"mlp_ratio": 3.0, "embed_dim": 24, "num_heads": (3, 6)}, HINTS),
    ],
)
@torch.no_grad()
def test_a_model_that_timm_made_gives_the_same_logits(family: str, arguments: dict[str, Any], hints: Any) -> None:
    twin = live(family, **arguments)
    reading = read(twin.state_dict(), hints)
    model = ReferenceSwin(reading.spec)
    model.load_state_dict(dict(reading.tensors))
    images = random_images(reading.spec, 2)
    assert relative_error(model.double()(images), twin.double()(images)) <= 1e-10


@pytest.mark.parametrize(("family", "key"), EVERY_KIND)
def test_a_renamed_key_of_any_kind_is_named(family: Any, key: str) -> None:
    state = weights(family)
    state[key + "x"] = state.pop(key)
    with pytest.raises(BadInput) as caught:
        read(state)
    message = explained(caught, "model.pth")
    assert re.search(rf"missing: .*{re.escape(key)}\b|{re.escape(key)} is missing", message), message
    assert key + "x" in message


@pytest.mark.parametrize(("family", "key"), EVERY_KIND)
def test_a_missing_key_of_any_kind_is_named(family: Any, key: str) -> None:
    state = weights(family)
    del state[key]
    with pytest.raises(BadInput) as caught:
        read(state)
    explained(caught, "model.pth", "missing", key)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(("family", "key"), EVERY_KIND)
def test_a_mis_shaped_key_of_any_kind_is_named(family: Any, key: str, axis: int) -> None:
    state = weights(family)
    tensor = state[key]
    more = torch.cat([tensor, tensor.narrow(axis, 0, 1)], dim=axis)
    with pytest.raises(BadInput) as caught:
        read({**state, key: more})
    explained(caught, "model.pth", key)


@pytest.mark.parametrize(("family", "key"), EVERY_KIND)
def test_a_key_of_another_number_of_axes_is_named(family: Any, key: str) -> None:
    state = weights(family)
    with pytest.raises(BadInput) as caught:
        read({**state, key: state[key][None]})
    explained(caught, "model.pth", key)


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("key", ["layers.0.blocks.0.attn.more", "absolute_pos_embed", "layers.0.blocks.7.norm1.weight"])
def test_an_extra_key_is_named(family: Any, key: str) -> None:
    with pytest.raises(BadInput) as caught:
        read({**weights(family), key: torch.zeros(3)})
    explained(caught, "unexpected", key)


def test_buffers_that_follow_from_the_architecture_are_rebuilt() -> None:
    state = weights("v1")
    saved: Weights = {
        "layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        "layers.0.blocks.1.attn_mask": torch.zeros(4, 49, 49),
    }
    wanted, got = read(state), read({**state, **saved})
    assert got.spec == wanted.spec
    assert got.tensors.keys() == wanted.tensors.keys()


def test_the_image_size_is_asked_for_and_never_guessed() -> None:
    for family in ("v1", "v2"):
        with pytest.raises(BadInput) as caught:
            read(weights(family), ArchitectureHints(window=(7, 7), pretrained_window=((7, 7),)))
        explained(caught, "image size", "nothing beside the checkpoint", "--image-size")


def test_v2s_window_is_asked_for_and_never_guessed() -> None:
    with pytest.raises(BadInput) as caught:
        read(weights("v2"), ArchitectureHints((28, 28)))
    explained(caught, "V2's window is in no tensor", "--window")
    with pytest.raises(BadInput) as caught:
        read(weights("v2"), ArchitectureHints((28, 28), (7, 7)))
    explained(caught, "V2's pretrained window is in no tensor", "--pretrained-window")


def test_v1_needs_no_window_from_outside() -> None:
    assert read(weights("v1"), ArchitectureHints((28, 28))).spec == small_spec("v1")


@pytest.mark.parametrize(("window", "trained"), [(7, 7), (7, 12), (7, 6), (8, 24), (16, 12)])
def test_a_saved_coordinate_table_gives_window_and_pretrained_window(window: int, trained: int) -> None:
    image = 4 * window
    spec = small_spec(
        "v2",
        image_size=(image, image),
        window=window,
        pretrained=((trained, trained), (max(trained // 2, 2),) * 2),
    )
    state = timm_state(random_reference(spec))
    for index, stage in enumerate(spec.stages):
        assert stage.pretrained_window is not None
        for block in range(stage.depth):
            table = relative_coordinates(stage.window, stage.pretrained_window)[None]
            state[f"layers.{index}.blocks.{block}.attn.relative_coords_table"] = table
    assert read(state, ArchitectureHints((image, image))).spec == spec
    # Rounded to FP16 on the way, as the examples' weights are.
    rounded = {name: tensor.half().float() for name, tensor in state.items()}
    assert read(rounded, ArchitectureHints((image, image))).spec == spec


def coordinates(spec: SwinSpec, table: Tensor) -> Weights:
    state = timm_state(random_reference(spec))
    state.update({f"layers.{index}.blocks.0.attn.relative_coords_table": table for index in range(2)})
    return state


def test_a_saved_table_of_a_one_token_window_says_nothing_of_the_pretrained_one() -> None:
    spec = small_spec("v2", image_size=(4, 4), window=1)
    reading = read(coordinates(spec, torch.zeros(1, 1, 1, 2)), ArchitectureHints((4, 4)))
    assert [stage.window for stage in reading.spec.stages] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("filling", [0.0, -1.0, 1e-30, 1e5])
def test_a_saved_table_of_nonsense_is_named(filling: float) -> None:
    state = coordinates(small_spec("v2"), torch.full((1, 13, 13, 2), filling))
    with pytest.raises(BadInput) as caught:
        read(state, ArchitectureHints((28, 28)))
    explained(caught, "layers.0.blocks.0.attn.relative_coords_table")


@pytest.mark.parametrize("shape", [(1, 12, 13, 2), (1, 13, 13, 3), (2, 13, 13, 2), (13, 13, 2)])
def test_a_mis_shaped_saved_table_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput) as caught:
        read(coordinates(small_spec("v2"), torch.ones(shape)), ArchitectureHints((28, 28)))
    explained(caught, "layers.0.blocks.0.attn.relative_coords_table has the shape")


def test_a_v1_window_larger_than_the_feature_map_is_clipped_and_its_tables_interpolated() -> None:
    state = weights("v1", image_size=(56, 56))  # a window of 7 in maps of 28 and 14
    reading = read(state, ArchitectureHints((20, 20)))
    assert reading.spec.geometry(1, 1).window == (5, 5)
    assert reading.tensors["stages.1.blocks.0.attn.relative_position_bias_table"].shape == (81, 4)
    assert any("bias tables of stage 1 interpolated from a window of 7 to 5" in fact for fact in reading.evidence)


def test_a_v2_window_larger_than_the_feature_map_is_clipped() -> None:
    reading = read(weights("v2"), ArchitectureHints((28, 28), (14, 14), ((0, 0),)))
    assert [reading.spec.geometry(stage, 0).window for stage in (0, 1)] == [(14, 14), (7, 7)]
    assert [stage.pretrained_window for stage in reading.spec.stages] == [(14, 14), (7, 7)]


def test_one_pretrained_window_for_a_clipped_stage_is_asked_for_stage_by_stage() -> None:
    with pytest.raises(BadInput) as caught:
        read(weights("v2"), ArchitectureHints((28, 28), (14, 14), ((12, 12),)))
    explained(caught, "one pretrained window, 12", "clipped from 14", "--pretrained-window with one entry a stage")


def test_pretrained_windows_are_taken_stage_by_stage() -> None:
    reading = read(weights("v2"), ArchitectureHints((28, 28), (7, 7), ((12, 12), (6, 6))))
    assert [stage.pretrained_window for stage in reading.spec.stages] == [(12, 12), (6, 6)]
    reading = read(weights("v2"), ArchitectureHints((28, 28), (7, 7), ((12, 12),)))
    assert [stage.pretrained_window for stage in reading.spec.stages] == [(12, 12), (12, 12)]


@pytest.mark.parametrize("size", [(27, 28), (28, 31), (1, 28)])
def test_an_image_size_that_patches_do_not_divide_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput) as caught:
        read(weights("v2"), ArchitectureHints(size, (1, 1), ((1, 1),)))
    explained(caught, "is not a multiple of the patch, 2", "--image-size")


@pytest.mark.parametrize("size", [(0, 28), (-28, 28)])
def test_an_image_of_nothing_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput) as caught:
        read(weights("v2"), ArchitectureHints(size, (1, 1), ((1, 1),)))
    explained(caught, "an image of", "--image-size")


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        read(weights("v2"), ArchitectureHints((28, 28), (0, 0), ((7, 7),)))
    explained(caught, "stage 0 has a window of 0", "--window")


def test_a_bias_table_of_no_square_window_is_refused() -> None:
    state = weights("v1")
    for block in range(2):
        state[f"layers.0.blocks.{block}.attn.relative_position_bias_table"] = torch.zeros(168, 2)
    with pytest.raises(BadInput) as caught:
        read(state)
    explained(caught, "layers.0.blocks.0.attn.relative_position_bias_table has 168 rows")


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    state = weights("v1")
    for block in range(2):
        state[f"layers.0.blocks.{block}.attn.relative_position_bias_table"] = torch.zeros(169, 3)
    with pytest.raises(BadInput) as caught:
        read(state)
    explained(caught, "stage 0 has 16 channels", "layers.0.blocks.0.attn.relative_position_bias_table", "3 heads")


def test_images_of_other_channels_and_oblong_patches_are_refused() -> None:
    for shape in ((16, 4, 2, 2), (16, 1, 2, 2), (16, 3, 2, 4)):
        with pytest.raises(BadInput) as caught:
            read({**weights("v1"), "patch_embed.proj.weight": torch.zeros(shape)})
        explained(caught, "patch_embed.proj.weight")


def test_quantized_weights_are_refused() -> None:
    key = "layers.1.blocks.0.mlp.fc1.weight"
    state = weights("v1")
    with pytest.raises(BadInput) as caught:
        read({**state, key: state[key].to(torch.int8)})
    explained(caught, key, "int8")


def test_a_model_without_patch_norm_is_read() -> None:
    state = {key: tensor for key, tensor in weights("v1").items() if not key.startswith("patch_embed.norm")}
    assert not read(state).spec.patch_norm


def test_the_layout_is_known_by_its_keys() -> None:
    assert Timm().recognises(table_of(weights("v1")))
    assert Timm().recognises(table_of(weights("v2")))
    official = dict(weights("v1"))
    official["layers.0.downsample.reduction.weight"] = official.pop("layers.1.downsample.reduction.weight")
    assert Timm().recognises(table_of(official)) is None
    resnet = {"conv1.weight": (64, 3, 7, 7), "layer1.0.conv1.weight": (64, 64, 1, 1)}
    assert Timm().recognises(KeyTable("", resnet)) is None
    assert Timm().recognises(KeyTable("", {"layers.0.blocks.0.norm1.weight": (8,)})) is None


def test_the_evidence_says_what_came_from_where() -> None:
    facts = " | ".join(read(weights("v1"), ArchitectureHints((28, 28), source="--image-size")).evidence)
    assert "image 28x28: --image-size" in facts
    assert "window 7x7: bias table of 169 rows" in facts
    assert "window 7: model.json" in " | ".join(read(weights("v2")).evidence)


def test_the_spec_survives_json() -> None:
    for family in ("v1", "v2"):
        spec = small_spec(family, image_size=(56, 112), patch=4)
        assert SwinSpec.from_json(spec.to_json()) == spec


def test_a_spec_describes_itself_in_one_line() -> None:
    text = small_spec("v2", image_size=(56, 112), patch=4).describe()
    assert text == "Swin V2, image 56x112, patch 4, dims 16-32, depths 2-2, heads 2-4, window 7-7, 5 classes"


def test_a_v2_spec_must_know_its_pretrained_window() -> None:
    with pytest.raises(AssertionError):
        SwinSpec("v2", (28, 28), 2, 3, (StageSpec(2, 16, 2, (7, 7), 32),), Classifier(5))
