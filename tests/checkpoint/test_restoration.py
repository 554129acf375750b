"""Restoration models are read by their keys and shapes; what no tensor tells is asked for, and never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.dialect import Reading
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.load import Checkpoint, load_checkpoint
from swin_deploy.checkpoint.restoration import HuggingFaceSwin2SR, Swin2SR, SwinIR
from swin_deploy.checkpoint.task import Restoration
from swin_deploy.errors import BadInput
from tests.checkpoint.parity_row import GOLDEN, Original, golden, written
from tests.checkpoint.parity_rows_restoration import hugging_face
from tests.checkpoint.timm_files import explained

Weights = dict[str, Tensor]
DIALECTS: dict[str, Any] = {dialect.name: dialect for dialect in (SwinIR(), Swin2SR(), HuggingFaceSwin2SR())}
DIV2K = (0.4488, 0.4371, 0.4040)
HINTS = ArchitectureHints(image_size=(8, 8), image_range=1.0, source="the test")


def state(case: str) -> Weights:
    return dict(golden(case)().state)


def read(weights: Weights, dialect: str = "swinir", hints: ArchitectureHints = HINTS) -> Reading:
    table = KeyTable("model.pth", {name: tuple(tensor.shape) for name, tensor in weights.items()})
    layout = DIALECTS[dialect].layout(table, hints)
    return layout.read(table, layout, weights, hints)


def task_of(reading: Reading) -> Restoration:
    assert isinstance(reading.spec.task, Restoration)
    return reading.spec.task


def without(weights: Weights, *parts: str) -> Weights:
    return {name: tensor for name, tensor in weights.items() if not any(part in name for part in parts)}


def conv(outputs: int, inputs: int) -> Tensor:
    return torch.zeros(outputs, inputs, 3, 3)


@pytest.mark.parametrize(
    ("case", "dialect", "wanted"),
    [
        ("swinir_classical_x2", "swinir", Restoration(2, "pixelshuffle", 64, mean=DIV2K)),
        ("swinir_light_x2", "swinir", Restoration(2, "pixelshuffledirect", mean=DIV2K)),
        ("swinir_real_x4", "swinir", Restoration(4, "nearest+conv", 16, mean=DIV2K)),
        ("swinir_denoise", "swinir", Restoration(1, "none", mean=DIV2K)),
        ("swinir_denoise_3conv", "swinir", Restoration(1, "none", 64, "3conv", "3conv", mean=DIV2K)),
        ("swinir_jpeg_gray", "swinir", Restoration(1, "none", mean=(0.0,))),
        ("swin2sr_light_x2", "swin2sr", Restoration(2, "pixelshuffledirect", embed_conv=True, mean=DIV2K)),
    ],
)
def test_keys_and_shapes_tell_what_stands_around_the_blocks(case: str, dialect: str, wanted: Restoration) -> None:
    size = (10, 10) if "gray" in case else (8, 8)
    reading = read(state(case), dialect, ArchitectureHints(image_size=size, image_range=1.0))
    assert reading.spec.task == wanted
    assert reading.spec.family == ("v2" if dialect == "swin2sr" else "v1")
    assert (reading.spec.patch, reading.spec.rule) == (1, "restoration")


def test_the_evidence_names_the_keys() -> None:
    said = "\n".join(read(state("swinir_light_x2")).evidence)
    for part in (
        "V1",
        "upsampler pixelshuffledirect: upsample.0.weight; scale 2: 12 channels of upsample.0.weight",
        "image range 1: the test",
        "mean 0.4488, 0.4371, 0.404: as the code has it for 3 channels",
        "window 4x4: bias table of 49 rows",
        "image 8x8: the test",
    ):
        assert part in said


@pytest.mark.parametrize(("scale", "steps"), [(4, (4, 4)), (8, (4, 4, 4)), (3, (9,)), (1, ())])
def test_the_scale_is_counted_in_upsampling_convolutions(scale: int, steps: tuple[int, ...]) -> None:
    weights = {k: v for k, v in state("swin2sr_classical_x2").items() if not k.startswith("upsample.")}
    width = len(weights["conv_before_upsample.0.bias"])
    for index, factor in enumerate(steps):
        weights[f"upsample.{2 * index}.weight"] = conv(factor * width, width)
        weights[f"upsample.{2 * index}.bias"] = torch.zeros(factor * width)
    reading = read(weights, "swin2sr")
    assert task_of(reading).scale == scale
    assert sum("upsample.conv_up" in name for name in reading.tensors) == 2 * len(steps)


def test_a_window_of_v2_comes_from_its_saved_coordinates() -> None:
    reading = read(state("swin2sr_light_x2"), "swin2sr")
    assert reading.spec.stages[0].window == (4, 4)
    assert reading.spec.stages[0].pretrained_window == (4, 4)
    # The tables of an original are not always there; it is never given another pretrained window than the window.
    bare = without(state("swin2sr_light_x2"), "relative_coords_table", "relative_position_index", "attn_mask")
    with pytest.raises(BadInput, match="window is in no tensor"):
        read(bare, "swin2sr")
    again = read(bare, "swin2sr", ArchitectureHints(image_size=(8, 8), image_range=1.0, window=(4, 4)))
    assert again.spec == reading.spec


def test_a_model_built_for_one_window_is_known_by_its_buffers_or_its_training() -> None:
    one = state("swinir_denoise_one_window")
    reading = read(one)
    assert reading.spec.rule == "restoration-one-window"
    assert any("attn_mask is not there" in sentence for sentence in reading.evidence)
    assert not any(reading.spec.geometry(*block).shifted for block in reading.spec.blocks())

    bare = without(one, "relative_position_index")
    assert read(bare).spec.rule == "restoration"
    trained = ArchitectureHints(image_size=(8, 8), image_range=1.0, trained_size=(4, 4), source="model.json")
    reading = read(bare, hints=trained)
    assert reading.spec.rule == "restoration-one-window"
    assert any("a training at 4x4: model.json" in sentence for sentence in reading.evidence)

    many = without(state("swinir_denoise"), "relative_position_index", "attn_mask")
    trained = ArchitectureHints(image_size=(8, 8), image_range=1.0, trained_size=(8, 8))
    assert read(many, hints=trained).spec.rule == "restoration"


def on_disk(tmp_path: Path, original: Original, **options: Any) -> Checkpoint:
    return load_checkpoint(written(original, tmp_path), **options)


def test_the_image_range_is_asked_for_and_comes_from_an_option_or_a_json(tmp_path: Path) -> None:
    original = golden("swinir_denoise")()
    with pytest.raises(BadInput) as caught:
        on_disk(tmp_path, original, image_size=(8, 8))
    explained(caught, "image range", "1 in all released models", "255", "--image-range")

    option = on_disk(tmp_path, original, image_size=(8, 8), image_range=255.0)
    assert task_of(option.reading).image_range == 255.0
    (tmp_path / "model.json").write_text(json.dumps({"arguments": {"img_size": 8, "img_range": 255.0}}))
    beside = on_disk(tmp_path, original)
    assert beside.reading.spec == option.reading.spec
    assert any("image range 255: model.json" in sentence for sentence in beside.reading.evidence)
    assert task_of(on_disk(tmp_path, original, image_range=1.0).reading).image_range == 1.0


def test_hugging_faces_config_tells_window_and_range(tmp_path: Path) -> None:
    checkpoint = on_disk(tmp_path, hugging_face(sizes=(), img_range=255.0)(), image_size=(12, 16))
    spec = checkpoint.reading.spec
    assert checkpoint.dialect == "huggingface-swin2sr"
    assert spec.rule == "restoration-huggingface"
    assert task_of(checkpoint.reading).image_range == 255.0
    assert spec.stages[0].window == spec.stages[0].pretrained_window == (4, 4)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"hidden_act": "relu"}, ("hidden_act is 'relu'",)),
        ({"layer_norm_eps": 1e-6}, ("layer_norm_eps is 1e-06",)),
        ({"depths": [6, 6]}, ("blocks a stage", "config.json")),
        ({"window_size": None}, ("cannot be understood",)),
    ],
)
def test_a_config_of_another_model_is_refused(tmp_path: Path, change: dict[str, Any], parts: tuple[str, ...]) -> None:
    original = hugging_face(sizes=())()
    assert original.sidecar is not None
    changed = Original(original.state, (), sidecar={**original.sidecar, **change})
    with pytest.raises(BadInput) as caught:
        on_disk(tmp_path, changed, image_size=(8, 8))
    explained(caught, *parts)


def test_what_the_config_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    original = hugging_face(sizes=())()
    bare = Original(original.state, ())
    with pytest.raises(BadInput, match="image range"):
        on_disk(tmp_path, bare, image_size=(8, 8))
    with pytest.raises(BadInput, match="window is in no tensor"):
        on_disk(tmp_path, bare, image_size=(8, 8), image_range=1.0)
    with pytest.raises(BadInput, match="image size is in no tensor"):
        on_disk(tmp_path, bare, image_range=1.0, window=(4, 4))


@pytest.mark.parametrize("upsampler", ["pixelshuffle_aux", "pixelshuffle_hf"])
def test_upsamplers_with_more_outputs_are_refused_by_name(upsampler: str) -> None:
    """On key samples of the original's own models."""
    keys = json.loads((GOLDEN / "foreign_keys.json").read_text())[f"swin2sr_{upsampler}"]
    table = KeyTable("model.pth", {key: tuple(shape) for key, shape in keys})
    assert Swin2SR().recognises(table)
    assert not SwinIR().recognises(table)
    with pytest.raises(BadInput) as caught:
        Swin2SR().layout(table, HINTS)
    explained(caught, f"the upsampler {upsampler}", "--model")


Spoiler = Callable[[Weights], Any]
BROKEN: dict[str, tuple[str, Spoiler, str]] = {
    "no end": ("swinir_denoise", lambda w: [w.pop(f"conv_last.{kind}") for kind in ("weight", "bias")], "no upsampler"),
    "a group of another width": (
        "swinir_denoise",
        lambda w: w.update({n: w[n][:4] for n in w if n.startswith("layers.1.") and n.endswith("norm1.weight")}),
        "channels of stage 1",
    ),
    "another number of output channels": (
        "swinir_denoise",
        lambda w: w.update({"conv_last.weight": conv(1, 8)}),
        "channels of the image",
    ),
    "no square of channels": (
        "swinir_light_x2",
        lambda w: w.update({"upsample.0.weight": conv(15, 8)}),
        "times a square",
    ),
    "an unknown key": ("swinir_denoise", lambda w: w.update(more=torch.zeros(1)), "unexpected: more"),
    "a missing convolution": (
        "swinir_denoise",
        lambda w: w.pop("layers.1.conv.bias"),
        "missing: layers.1.conv.bias",
    ),
    "one group with three convolutions": (
        "swinir_denoise_3conv",
        lambda w: w.update({"layers.1.conv.4.weight": conv(8, 8)}),
        "layers.1.conv.4.weight has the shape",
    ),
    "a table of another window in one group": (
        "swinir_denoise",
        lambda w: w.update({n: torch.zeros(25, 2) for n in w if n.startswith("layers.1.") and "bias_table" in n}),
        "different widths or windows",
    ),
    "no blocks": ("swinir_denoise", lambda w: [w.pop(n) for n in list(w) if "blocks" in n], "no block was found"),
    "integers": (
        "swinir_denoise",
        lambda w: w.update({"conv_first.weight": w["conv_first.weight"].to(torch.int8)}),
        "floating-point weights",
    ),
}


@pytest.mark.parametrize(("case", "spoil", "part"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_checkpoint_is_refused(case: str, spoil: Spoiler, part: str) -> None:
    weights = state(case)
    spoil(weights)
    with pytest.raises(BadInput) as caught:
        read(weights)
    explained(caught, part)


@pytest.mark.parametrize(
    ("hints", "part"),
    [
        (ArchitectureHints(image_size=(8, 8), image_range=1.0, task="classification"), "--task classification"),
        (
            ArchitectureHints(image_size=(8, 8), image_range=1.0, window=(8, 8), source="model.json"),
            "model.json says 8",
        ),
        (
            ArchitectureHints(image_size=(8, 8), image_range=1.0, window=(8, 8), window_option=True),
            "no interpolation of bias tables",
        ),
        (ArchitectureHints(image_size=(2, 8), image_range=1.0), "at least 3 pixels"),
        (ArchitectureHints(image_size=(8, 8), image_range=-1.0), "image range"),
    ],
)
def test_hints_that_do_not_fit_the_weights_are_refused(hints: ArchitectureHints, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(state("swinir_denoise"), hints=hints)
    explained(caught, part)


def test_no_dialect_takes_another_ones_checkpoint() -> None:
    tables = {
        "swinir": state("swinir_light_x2"),
        "swin2sr": state("swin2sr_light_x2"),
        "huggingface-swin2sr": dict(hugging_face(sizes=())().state),
        "": state("microsoft_v1"),
    }
    for name, weights in tables.items():
        table = KeyTable("model.pth", {key: tuple(tensor.shape) for key, tensor in weights.items()})
        assert [other for other, dialect in DIALECTS.items() if dialect.recognises(table)] == ([name] if name else [])
