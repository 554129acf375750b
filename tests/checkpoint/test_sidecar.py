"""What stands beside a checkpoint: ours, timm's, and files that are neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.checkpoint.sidecar import ArchitectureHints, Sidecar, read_sidecar
from swin_deploy.errors import BadInput
from tests.checkpoint.timm_files import explained

PREPROCESSING = {
    "resize": 56,
    "interpolation": "bicubic, align_corners=False, antialias=False, on float32 0..255, then clamp(0,255)",
    "scale": "1/255",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
HUB: dict[str, Any] = {
    "architecture": "swinv2_base_window12to16_192to256",
    "num_classes": 1000,
    "num_features": 1024,
    "pretrained_cfg": {
        "tag": "ms_in22k_ft_in1k",
        "input_size": [3, 256, 256],
        "crop_pct": 0.9,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 1000,
    },
}


def beside(folder: Path, raw: Any, name: str = "model.json") -> Sidecar:
    (folder / name).write_text(raw if isinstance(raw, str) else json.dumps(raw), encoding="utf-8")
    return read_sidecar(folder / "model.safetensors")


def hub(**changes: Any) -> dict[str, Any]:
    return {**HUB, **changes}


def evaluation(**changes: Any) -> dict[str, Any]:
    return hub(pretrained_cfg={**HUB["pretrained_cfg"], **changes})


def test_nothing_beside_the_checkpoint_states_nothing(tmp_path: Path) -> None:
    sidecar = read_sidecar(tmp_path / "model.safetensors")
    assert sidecar == Sidecar()
    assert sidecar.hints == ArchitectureHints()


def test_our_layout_gives_architecture_preprocessing_and_classes(tmp_path: Path) -> None:
    sidecar = beside(
        tmp_path,
        {
            "arguments": {"img_size": 56, "window_size": 7},
            "preprocessing": PREPROCESSING,
            "classes": ["cat", "dog"],
        },
    )
    assert sidecar.path == tmp_path / "model.json"
    assert sidecar.hints == ArchitectureHints((56, 56), (7, 7), ((0, 0),), "model.json")
    assert sidecar.classes == ("cat", "dog")
    assert sidecar.preprocess is not None
    assert (sidecar.preprocess.height, sidecar.preprocess.width) == (56, 56)
    assert sidecar.preprocess.resampler == "torch"
    assert sidecar.preprocess.interpolation == "bicubic"
    assert sidecar.preprocess.std == (0.229, 0.224, 0.225)


def test_sizes_may_be_height_and_width(tmp_path: Path) -> None:
    sidecar = beside(
        tmp_path,
        {"arguments": {"img_size": [56, 112], "window_size": [7, 14], "pretrained_window_sizes": [12, [6, 8], 0]}},
    )
    assert sidecar.hints.image_size == (56, 112)
    assert sidecar.hints.window == (7, 14)
    assert sidecar.hints.pretrained_window == ((12, 12), (6, 8), (0, 0))


def test_what_is_not_stated_is_not_guessed(tmp_path: Path) -> None:
    assert beside(tmp_path, {}).hints == ArchitectureHints(source="model.json")
    assert beside(tmp_path, {"arguments": {"img_size": 56}}).hints.pretrained_window is None


def test_the_checkpoints_own_json_goes_before_config_json(tmp_path: Path) -> None:
    beside(tmp_path, HUB, "config.json")
    assert beside(tmp_path, {"arguments": {"img_size": 56}}).hints.image_size == (56, 56)


def test_timms_fine_tuned_name_gives_window_and_pretrained_windows(tmp_path: Path) -> None:
    sidecar = beside(tmp_path, HUB, "config.json")
    assert sidecar.hints.image_size == (256, 256)
    assert sidecar.hints.window == (16, 16)
    assert sidecar.hints.pretrained_window == ((12, 12), (12, 12), (12, 12), (6, 6))
    assert sidecar.hints.source == "config.json (swinv2_base_window12to16_192to256)"


@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("swinv2_tiny_window8_256", 8),
        ("swinv2_base_window12_192", 12),
        ("swin_tiny_patch4_window7_224", 7),
        ("swin_base_patch4_window12_384", 12),
    ],
)
def test_a_plain_name_means_that_the_pretrained_window_is_the_window(tmp_path: Path, name: str, window: int) -> None:
    hints = beside(tmp_path, hub(architecture=name), "config.json").hints
    assert hints.window == (window, window)
    assert hints.pretrained_window == ((0, 0),)


def test_a_name_without_a_window_gives_none(tmp_path: Path) -> None:
    for raw in (hub(architecture="swin_custom"), {key: HUB[key] for key in ("pretrained_cfg",)}):
        hints = beside(tmp_path, raw, "config.json").hints
        assert hints.window is None
        assert hints.pretrained_window is None


def test_timms_model_arguments_go_before_the_name(tmp_path: Path) -> None:
    raw = hub(model_args={"img_size": 192, "window_size": 6, "pretrained_window_sizes": [3, 3, 3, 3]})
    hints = beside(tmp_path, raw, "config.json").hints
    assert hints.image_size == (192, 192)
    assert hints.window == (6, 6)
    assert hints.pretrained_window == ((3, 3),) * 4


def test_timms_evaluation_transform_becomes_the_preprocessing(tmp_path: Path) -> None:
    preprocess = beside(tmp_path, HUB, "config.json").preprocess
    assert preprocess is not None
    assert (preprocess.resize, preprocess.resampler, preprocess.crop_pct) == ("shorter-side", "pillow", 0.9)
    squashed = beside(tmp_path, evaluation(crop_mode="squash", crop_pct=1.0), "config.json").preprocess
    assert squashed is not None
    assert squashed.resize == "squash"


def test_the_names_of_the_classes_are_read_from_the_hub_layout(tmp_path: Path) -> None:
    assert beside(tmp_path, hub(label_names=["a", "b"]), "config.json").classes == ("a", "b")
    assert beside(tmp_path, evaluation(label_names=["c"]), "config.json").classes == ("c",)


@pytest.mark.parametrize(
    ("interpolation", "kind", "resampler"),
    [
        ("bilinear", "bilinear", "pillow"),
        ("bicubic", "bicubic", "pillow"),
        ("bicubic, align_corners=False, antialias=False", "bicubic", "torch"),
    ],
)
def test_interpolation_is_read_with_its_details(tmp_path: Path, interpolation: str, kind: str, resampler: str) -> None:
    preprocess = beside(tmp_path, {"preprocessing": {**PREPROCESSING, "interpolation": interpolation}}).preprocess
    assert preprocess is not None
    assert (preprocess.interpolation, preprocess.resampler) == (kind, resampler)


@pytest.mark.parametrize(
    ("interpolation", "part"),
    [
        ("lanczos", "lanczos"),
        ("bicubic, align_corners=True", "align_corners=True"),
        ("bicubic, antialias=maybe", "antialias=maybe"),
    ],
)
def test_an_unknown_interpolation_is_named(tmp_path: Path, interpolation: str, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, {"preprocessing": {**PREPROCESSING, "interpolation": interpolation}})
    explained(caught, "model.json", part, "bilinear or bicubic")


@pytest.mark.parametrize("text", ["{", "", "not json", '{"a": 1,}', "\x00"])
def test_broken_json_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, text)
    explained(caught, "model.json is not valid JSON")


def test_json_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(BadInput) as caught:
        read_sidecar(tmp_path / "model.pth")
    explained(caught, "model.json is not valid JSON")


@pytest.mark.parametrize("raw", [[], 3, "text", None])
def test_json_that_is_no_object_is_named(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, json.dumps(raw))
    explained(caught, "model.json holds a")


@pytest.mark.parametrize(
    "raw",
    [
        {"arguments": []},
        {"arguments": "window_size"},
        {"arguments": {"img_size": "56"}},
        {"arguments": {"img_size": 56.5}},
        {"arguments": {"img_size": [56, 56, 3]}},
        {"arguments": {"window_size": -7}},
        {"arguments": {"window_size": [7, None]}},
        {"arguments": {"pretrained_window_sizes": [[1, 2, 3]]}},
        {"preprocessing": {key: value for key, value in PREPROCESSING.items() if key != "mean"}},
        {"preprocessing": {**PREPROCESSING, "mean": [0.5]}},
        {"preprocessing": {**PREPROCESSING, "mean": 0.5}},
        {"preprocessing": {**PREPROCESSING, "std": [0.0, 0.1, 0.1]}},
        {"preprocessing": {**PREPROCESSING, "resize": 0}},
        {"preprocessing": {**PREPROCESSING, "interpolation": 3}},
        {"preprocessing": 1},
        {"classes": 10},
        {"classes": "cat"},
        {"classes": [1, 2]},
        hub(pretrained_cfg=None),
        hub(pretrained_cfg={}),
        hub(architecture=3),
        hub(model_args=[7]),
        evaluation(interpolation="nearest"),
        evaluation(input_size=[256, 256]),
        evaluation(crop_pct=0),
        evaluation(crop_pct=None),
    ],
    ids=str,
)
def test_json_of_another_shape_is_unusable_and_names_the_file(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, raw)
    explained(caught, str(tmp_path / "model.json"))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, {"preprocessing": {"resize": 56, "mean": [0.5] * 3}})
    explained(caught, "the key 'std' is missing")


def test_options_go_before_the_side_car_and_are_named_as_a_source() -> None:
    stated = ArchitectureHints((56, 56), (7, 7), ((12, 12), (6, 6)), "model.json")
    hints = stated.overridden(image_size=(112, 112), window=None, pretrained_window=(8, 8))
    assert hints == ArchitectureHints(
        (112, 112), (7, 7), ((8, 8),), "model.json and --image-size and --pretrained-window"
    )
    assert stated.overridden(image_size=None, window=None, pretrained_window=None) == stated


def test_another_window_does_not_inherit_the_window_itself_as_its_pretrained_window() -> None:
    stated = ArchitectureHints((56, 56), (7, 7), ((0, 0),), "model.json")
    assert stated.overridden(image_size=None, window=(14, 14), pretrained_window=None).pretrained_window is None
    assert stated.overridden(image_size=None, window=(7, 7), pretrained_window=None).pretrained_window == ((0, 0),)
    both = stated.overridden(image_size=None, window=(14, 14), pretrained_window=(7, 7))
    assert both.pretrained_window == ((7, 7),)
