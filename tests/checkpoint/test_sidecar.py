"""What stands beside a checkpoint: ours, timm's, and files that are neither."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from calib.preprocess import Preprocess
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.sidecar import Sidecar, read_sidecar
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

# As `save_pretrained` writes it, without what no loader asks for.
TRANSFORMERS: dict[str, Any] = {
    "architectures": ["Swinv2ForImageClassification"],
    "model_type": "swinv2",
    "image_size": 256,
    "patch_size": 4,
    "depths": [2, 2, 18, 2],
    "num_heads": [4, 8, 16, 32],
    "window_size": 16,
    "pretrained_window_sizes": [12, 12, 12, 6],
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-05,
}
PROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 256, "width": 192},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def beside(folder: Path, raw: Any, name: str = "model.json") -> Sidecar:
    (folder / name).write_text(raw if isinstance(raw, str) else json.dumps(raw), encoding="utf-8")
    return read_sidecar(folder / "model.safetensors")


def hub(**changes: Any) -> dict[str, Any]:
    return {**HUB, **changes}


def transformers(**changes: Any) -> dict[str, Any]:
    return {**TRANSFORMERS, **changes}


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
    hints = stated.overridden(image_size=(112, 112), pretrained_window=((8, 8),))
    assert hints == ArchitectureHints(
        (112, 112),
        (7, 7),
        ((8, 8),),
        "model.json and --image-size and --pretrained-window",
        trained_size=(56, 56),
    )
    assert stated.overridden() == replace(stated, trained_size=(56, 56))


def test_another_window_does_not_inherit_the_window_itself_as_its_pretrained_window() -> None:
    stated = ArchitectureHints((56, 56), (7, 7), ((0, 0),), "model.json")
    assert stated.overridden(window=(14, 14)).pretrained_window is None
    assert stated.overridden(window=(7, 7)).pretrained_window == ((0, 0),)
    both = stated.overridden(window=(14, 14), pretrained_window=((7, 7),))
    assert both.pretrained_window == ((7, 7),)


def test_our_layout_may_state_what_no_tensor_tells(tmp_path: Path) -> None:
    arguments = {"num_heads": [2, 4], "img_range": 255, "depths": [2, 2]}
    raw = {"arguments": arguments, "task": "backbone", "out_stages": [0, 1], "attention": "linformer"}
    sidecar = beside(tmp_path, raw)
    assert sidecar.depths == (2, 2)
    assert sidecar.hints == ArchitectureHints(
        source="model.json",
        heads=(2, 4),
        task="backbone",
        out_stages=(0, 1),
        attention="linformer",
        image_range=255.0,
    )


@pytest.mark.parametrize(
    "raw",
    [
        {"task": "detection"},
        {"task": 1},
        {"out_stages": 1},
        {"out_stages": ["stage1"]},
        {"out_stages": [True]},
        {"attention": ""},
        {"attention": 3},
        {"arguments": {"num_heads": 2}},
        {"arguments": {"img_range": "wide"}},
    ],
    ids=str,
)
def test_what_our_layout_may_state_is_checked(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, raw)
    explained(caught, str(tmp_path / "model.json"))


def test_a_side_car_never_names_a_class_to_import(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, {"attention": "theirs.attention:Class"})
    explained(caught, "would run its code", "--attention theirs.attention:Class")


def test_transformers_config_gives_architecture_and_classes(tmp_path: Path) -> None:
    sidecar = beside(tmp_path, transformers(id2label={"1": "dog", "0": "cat"}), "config.json")
    assert sidecar.path == tmp_path / "config.json"
    assert sidecar.hints == ArchitectureHints(
        (256, 256),
        (16, 16),
        ((12, 12), (12, 12), (12, 12), (6, 6)),
        "config.json",
        trained_size=(256, 256),
        heads=(4, 8, 16, 32),
        norm_eps=1e-5,
    )
    assert sidecar.classes == ("cat", "dog")
    assert sidecar.depths == (2, 2, 18, 2)
    assert sidecar.preprocess is None
    assert sidecar.unprepared == ""


def test_the_placeholders_of_transformers_are_no_class_names(tmp_path: Path) -> None:
    raw = transformers(id2label={"0": "LABEL_0", "1": "LABEL_1"})
    assert beside(tmp_path, raw, "config.json").classes is None


def test_keys_that_transformers_leaves_out_have_its_defaults(tmp_path: Path) -> None:
    hints = beside(tmp_path, {"model_type": "swinv2"}, "config.json").hints
    assert (hints.image_size, hints.window, hints.pretrained_window) == ((224, 224), (7, 7), ((0, 0),))
    hints = beside(tmp_path, {"model_type": "swin2sr"}, "config.json").hints
    assert (hints.trained_size, hints.window, hints.image_range) == ((64, 64), (8, 8), 1.0)


def test_a_network_for_images_of_any_size_states_none_to_run_at(tmp_path: Path) -> None:
    hints = beside(tmp_path, {"model_type": "swin2sr", "image_size": 48, "img_range": 255.0}, "config.json").hints
    assert (hints.image_size, hints.trained_size, hints.image_range) == (None, (48, 48), 255.0)


def test_a_backbones_stages_are_counted_from_0(tmp_path: Path) -> None:
    raw = transformers(architectures=["Swinv2Backbone"], out_features=["stage2", "stage4"])
    hints = beside(tmp_path, raw, "config.json").hints
    assert (hints.task, hints.out_stages) == ("backbone", (1, 3))
    raw = transformers(architectures=["Swinv2Backbone"], out_indices=[1, 2])
    assert beside(tmp_path, raw, "config.json").hints.out_stages == (0, 1)


def test_a_classifiers_out_features_are_transformers_default_and_no_wish(tmp_path: Path) -> None:
    hints = beside(tmp_path, transformers(out_features=["stage4"]), "config.json").hints
    assert (hints.task, hints.out_stages) == (None, None)


def test_the_stem_among_the_features_is_refused(tmp_path: Path) -> None:
    for change in ({"out_features": ["stem", "stage4"]}, {"out_indices": [0, 4]}):
        with pytest.raises(BadInput) as caught:
            beside(tmp_path, transformers(architectures=["Swinv2Backbone"], **change), "config.json")
        explained(caught, "config.json", "stem")


def test_the_swin_inside_a_larger_model_is_found_and_its_size_is_not_the_one_to_run_at(tmp_path: Path) -> None:
    inner = transformers(model_type="swin", image_size=224, out_features=["stage1", "stage4"])
    raw = {"model_type": "upernet", "backbone_config": inner, "id2label": {"0": "wall", "1": "sky"}}
    sidecar = beside(tmp_path, raw, "config.json")
    assert (sidecar.hints.image_size, sidecar.hints.trained_size) == (None, (224, 224))
    assert (sidecar.hints.task, sidecar.hints.out_stages) == (None, (0, 3))
    assert (sidecar.classes, sidecar.depths) == (None, (2, 2, 18, 2))


def test_the_config_of_another_network_states_nothing(tmp_path: Path) -> None:
    sidecar = beside(tmp_path, {"model_type": "vit", "image_size": 224, "hidden_act": "relu"}, "config.json")
    assert sidecar == Sidecar(tmp_path / "config.json", ArchitectureHints(source="config.json"))


@pytest.mark.parametrize(
    ("change", "part"),
    [({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new'"), ({"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-06")],
)
def test_a_swin_that_the_forms_are_not_is_refused_by_its_config(tmp_path: Path, change: Any, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, transformers(**change), "config.json")
    explained(caught, part, "--model")


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": "256"},
        {"window_size": None},
        {"depths": 3},
        {"num_heads": ["4"]},
        {"id2label": {"0": "cat", "2": "dog"}},
        {"id2label": ["cat"]},
        {"id2label": {"0": 1}},
        {"pretrained_window_sizes": [1.5]},
        {"architectures": ["Swinv2Backbone"], "out_features": ["layer1"]},
    ],
    ids=str,
)
def test_a_config_of_transformers_that_cannot_be_understood_is_named(tmp_path: Path, change: Any) -> None:
    with pytest.raises(BadInput) as caught:
        beside(tmp_path, transformers(**change), "config.json")
    explained(caught, str(tmp_path / "config.json"))


def prepared(tmp_path: Path, **changes: Any) -> Sidecar:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **changes}), encoding="utf-8")
    return beside(tmp_path, transformers(), "config.json")


def test_a_processor_that_squashes_is_read(tmp_path: Path) -> None:
    sidecar = prepared(tmp_path)
    assert sidecar.preprocess == Preprocess(
        256, 192, "squash", "bicubic", "pillow", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    # Images of that size are what the model is shown, whatever size it was built for.
    assert (sidecar.hints.image_size, sidecar.hints.trained_size) == ((256, 192), (256, 256))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resample": 2}, {"interpolation": "bilinear"}),
        ({"do_normalize": False}, {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}),
        ({"size": 224, "feature_extractor_type": "ViTFeatureExtractor"}, {"height": 224, "width": 224}),
        (
            {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            {"resize": "squash", "height": 224, "crop_pct": 0.875},
        ),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, {"resize": "shorter-side"}),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"resize": "shorter-side", "crop_pct": 0.875}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"resize": "squash", "height": 384, "crop_pct": 1.0}),
    ],
    ids=str,
)
def test_what_processors_do_is_put_in_our_terms(tmp_path: Path, changes: Any, expected: dict[str, Any]) -> None:
    preprocess = prepared(tmp_path, **changes).preprocess
    assert preprocess is not None
    assert {name: getattr(preprocess, name) for name in expected} == expected


@pytest.mark.parametrize("resized", range(224, 300))
def test_a_crop_is_of_the_side_that_was_resized_to(tmp_path: Path, resized: int) -> None:
    size = {"size": {"shortest_edge": resized}, "do_center_crop": True, "crop_size": 224}
    preprocess = prepared(tmp_path, **size).preprocess
    assert preprocess is not None
    assert math.floor(preprocess.height / preprocess.crop_pct) == resized


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"do_resize": False}, "do_resize is false"),
        ({"do_rescale": False}, "do_rescale is false"),
        ({"do_pad": True}, "do_pad is true"),
        ({"rescale_factor": 1 / 127.5}, "another range"),
        ({"resample": 1}, "resample is 1"),
        ({"image_mean": None}, "image_mean is not stated"),
        ({"size": {"shortest_edge": 800, "longest_edge": 1333}}, "size is stated by longest_edge, shortest_edge"),
        ({"size": {"shortest_edge": 224}}, "no one size"),
        ({"size": 224}, "a processor that is not known (not named)"),
        ({"size": {"shortest_edge": 224}, "do_center_crop": True, "crop_size": 256}, "cropped to 256x256"),
    ],
    ids=str,
)
def test_what_cannot_be_put_in_our_terms_is_said_and_never_guessed(tmp_path: Path, changes: Any, reason: str) -> None:
    sidecar = prepared(tmp_path, **changes)
    assert sidecar.preprocess is None
    assert str(tmp_path / "preprocessor_config.json") in sidecar.unprepared
    assert reason in sidecar.unprepared
    assert sidecar.hints.image_size == (256, 256)


@pytest.mark.parametrize(
    "changes", [{"size": "big"}, {"size": {"height": 1.5, "width": 2}}, {"image_mean": [0.5]}, {"image_std": [0, 1, 1]}]
)
def test_a_processor_that_cannot_be_understood_is_named(tmp_path: Path, changes: Any) -> None:
    with pytest.raises(BadInput) as caught:
        prepared(tmp_path, **changes)
    explained(caught, str(tmp_path / "preprocessor_config.json"))


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("vit.image_processing_pil_vit", "ViTImageProcessorPil", {"size": {"height": 56, "width": 40}, "resample": 3}),
        ("vit.image_processing_pil_vit", "ViTImageProcessorPil", {"size": 48, "do_normalize": False}),
        ("convnext.image_processing_pil_convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 48}}),
        (
            "clip.image_processing_pil_clip",
            "CLIPImageProcessorPil",
            {"size": {"shortest_edge": 60}, "crop_size": {"height": 48, "width": 48}},
        ),
    ],
)
def test_a_processor_of_transformers_makes_the_same_inputs(
    tmp_path: Path, module: str, name: str, arguments: dict[str, Any]
) -> None:
    pytest.importorskip("transformers")
    theirs = getattr(pytest.importorskip(f"transformers.models.{module}"), name)(**arguments)
    theirs.save_pretrained(tmp_path)
    ours = beside(tmp_path, transformers(), "config.json").preprocess
    assert ours is not None
    image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), dtype=np.uint8)
    wanted = theirs(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    assert np.abs(ours(image) - wanted).max() <= 1e-6
    assert np.abs(ours(255 - image) - wanted).max() > 0.1
