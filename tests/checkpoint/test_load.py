"""From a file, and what stands beside it, to the paper form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.checkpoint.load import DIALECTS, Checkpoint, load_checkpoint
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.errors import BadData, BadInput
from swin_deploy.model.forms import open_reference
from swin_deploy.stages.load import Load
from tests.checkpoint.timm_files import Weights, arguments, explained, weights, written
from tests.random_swin import random_images, random_reference, relative_error, small_spec, timm_state, timm_twin


def same_weights(checkpoint: Checkpoint, wanted: dict[str, Tensor]) -> bool:
    got = checkpoint.reference().state_dict()
    return got.keys() == wanted.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted)


def saved(path: Path, state: Weights, wrapping: str) -> Path:
    """Write `state` in one of the ways that training scripts do, with our side-car."""
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    content: Any = {
        "bare": state,
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state},
        "module": prefixed,
        "state_dict-module": {"state_dict": prefixed},
        "legacy": state,
    }[wrapping]
    torch.save(content, path, _use_new_zipfile_serialization=wrapping != "legacy")
    path.with_suffix(".json").write_text(json.dumps(arguments()), encoding="utf-8")
    return path


@pytest.mark.parametrize("family", ["v1", "v2"])
@torch.no_grad()
def test_what_timm_saved_gives_what_timm_computes(tmp_path: Path, family: Any) -> None:
    twin = timm_twin(random_reference(small_spec(family)))
    path = written(tmp_path / "model.safetensors", twin.state_dict())
    checkpoint = load_checkpoint(path)
    assert checkpoint.dialect == "timm"
    assert checkpoint.path == path
    assert checkpoint.reading.spec == small_spec(family)
    assert checkpoint.sidecar.path == path.with_suffix(".json")
    model = checkpoint.reference()
    assert not model.training
    for batch in (1, 2, 7):
        images = random_images(model.spec, batch)
        assert relative_error(model(images.float()), twin(images.float())) <= 1e-5


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("wrapping", ["bare", "state_dict", "model", "module", "state_dict-module", "legacy"])
def test_a_pth_gives_the_same_model_however_it_is_wrapped(tmp_path: Path, family: Any, wrapping: str) -> None:
    path = saved(tmp_path / "model.pth", weights(family), wrapping)
    assert same_weights(load_checkpoint(path), random_reference(small_spec(family)).state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["v1", "v2"])
def test_half_weights_become_fp32_with_their_values(tmp_path: Path, family: Any, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in weights(family).items()}
    model = load_checkpoint(written(tmp_path / "model.safetensors", state)).reference()
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    wanted = random_reference(small_spec(family)).state_dict()
    assert all(torch.equal(tensor, wanted[name].to(dtype).float()) for name, tensor in model.state_dict().items())


def test_the_evidence_begins_with_the_dialect(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(written(tmp_path / "model.safetensors", weights("v1")))
    assert checkpoint.reading.evidence[0].startswith("dialect timm: ")


def test_options_go_before_the_side_car(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v2"))
    spec = load_checkpoint(path, image_size=(56, 28), pretrained_window=((12, 12),)).reading.spec
    assert spec == small_spec("v2", image_size=(56, 28), pretrained=((12, 12), (12, 12)))


def test_options_alone_are_enough(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v2"), sidecar=False)
    checkpoint = load_checkpoint(path, image_size=(28, 28), window=(7, 7), pretrained_window=((7, 7),))
    assert checkpoint.reading.spec == small_spec("v2")
    assert checkpoint.sidecar.path is None


def test_a_v2_without_a_window_names_the_option(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v2"), sidecar=False)
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, image_size=(28, 28))
    explained(caught, str(path), "window is in no tensor", "--window")
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, image_size=(28, 28), window=(7, 7))
    explained(caught, "pretrained window is in no tensor", "--image-size and --window", "--pretrained-window")


def test_a_window_option_against_the_side_car_asks_for_the_pretrained_one(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v2"))
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, window=(14, 14))
    explained(caught, "--pretrained-window")


def test_a_missing_image_size_names_the_option(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v1"), sidecar=False)
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path)
    explained(caught, str(path), "image size", "--image-size")


def test_an_image_size_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v2"))
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, image_size=(31, 28))
    explained(caught, "image height 31 is not a multiple of the patch, 2", "--image-size")


def test_a_hub_folder_is_read_as_timm_wrote_it(tmp_path: Path) -> None:
    """The layout of `swinv2_base_window12to16_192to256`, shrunk: windows of 16 clipped by maps of 14 and 7."""
    spec = small_spec("v2", window=16, pretrained=((12, 12), (12, 12)))
    save_file(timm_state(random_reference(spec)), tmp_path / "model.safetensors")
    config = {
        "architecture": "swinv2_base_window12to16_192to256",
        "pretrained_cfg": {
            "input_size": [3, 28, 28],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    found = checkpoint.reading.spec
    assert [found.geometry(stage, 0).window for stage in (0, 1)] == [(14, 14), (7, 7)]
    assert [stage.pretrained_window for stage in found.stages] == [(12, 12), (12, 12)]
    assert checkpoint.sidecar.preprocess is not None


@pytest.mark.parametrize(
    "keys",
    [
        ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"],
        ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight", "head.weight"],
        ["features.0.0.weight", "features.1.0.norm1.weight", "head.weight"],
    ],
    ids=["resnet", "vit", "torchvision"],
)
def test_a_checkpoint_of_another_model_says_how_its_keys_begin(tmp_path: Path, keys: list[str]) -> None:
    path = written(tmp_path / "model.safetensors", {key: torch.zeros(2) for key in keys})
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path)
    explained(caught, str(path), "no known Swin layout", "timm")
    assert any(key in str(caught.value) for key in keys)


@pytest.mark.parametrize("key", ["patch_embed.proj.weight", "layers.0.blocks.0.norm1.weight", "head.fc.weight"])
def test_a_renamed_key_is_named_with_the_file(tmp_path: Path, key: str) -> None:
    state = weights("v1")
    state[key.replace("weight", "wieght")] = state.pop(key)
    path = written(tmp_path / "model.safetensors", state)
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path)
    explained(caught, str(path), key, f"did you mean {key.replace('weight', 'wieght')}?")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def no_weight(path: Path) -> None:
    state = load_file(path)
    state["norm.weight"][0] = float("nan")
    save_file(state, path)


DAMAGE = {
    "truncated": (truncate, "truncated"),
    "a text": (lambda path: path.write_text("weights", encoding="utf-8"), "not a safetensors file"),
    "NaN": (no_weight, "norm.weight holds NaN"),
    "gone": (lambda path: path.unlink(), "does not exist"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
    "broken JSON": (lambda path: path.with_suffix(".json").write_text("{", encoding="utf-8"), "not valid JSON"),
}


@pytest.mark.parametrize(("damage", "seen"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_input_is_unusable_input_and_leaves_nothing(tmp_path: Path, damage: Any, seen: str) -> None:
    path = written(tmp_path / "model.safetensors", weights("v1"))
    damage(path)
    out = tmp_path / "out.safetensors"
    with pytest.raises(BadInput) as caught:
        Load().run(Artifact("source", path, Format.SOURCE, Precision.FP32), out)
    explained(caught, str(path.with_suffix("")), seen)
    assert not out.exists()


def test_a_path_without_a_name_is_no_file() -> None:
    for path in (Path(), Path("/")):
        with pytest.raises(BadInput) as caught:
            load_checkpoint(path)
        explained(caught, "is not a file")


def test_a_pickle_that_would_run_code_is_refused_before_anything_else(tmp_path: Path) -> None:
    proof = tmp_path / "ran"

    class Shell:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {proof}",)

    path = tmp_path / "model.pth"
    torch.save({"state_dict": weights("v1"), "hook": Shell()}, path)
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path)
    explained(caught, str(path), "would run code")
    assert not proof.exists()


def test_the_load_stage_leaves_the_paper_form_and_says_what_it_found(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v2"), sidecar=False)
    stage = Load(image_size=(28, 28), window=(7, 7), pretrained_window=((7, 7),))
    produced = stage.run(Artifact("source", path, Format.SOURCE, Precision.FP32), tmp_path / "paper.safetensors")
    again = open_reference(tmp_path / "paper.safetensors")
    wanted = random_reference(small_spec("v2")).state_dict()
    assert again.spec == small_spec("v2")
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in again.state_dict().items())
    assert produced.facts["parameters"] == sum(tensor.numel() for tensor in wanted.values())
    assert produced.facts["dialect"] == "timm"


def test_exit_statuses_of_unusable_input_are_five() -> None:
    assert BadInput("x").exit_code == 5
    assert BadData("x").exit_code == 5


def test_dialects_have_names_of_their_own() -> None:
    names = [dialect.name for dialect in DIALECTS]
    assert len(set(names)) == len(names)


def test_loading_reads_the_file_again_each_time(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v1", seed=0))
    first = load_checkpoint(path)
    written(path, weights("v1", seed=1))
    second = load_checkpoint(path)
    assert isinstance(second.reading.spec, SwinSpec)
    assert not torch.equal(first.reference().head.weight, second.reference().head.weight)


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"


def example_with(tmp_path: Path, change: dict[str, object], dropped: str | None = None) -> Path:
    """A copy of the example whose side-car is changed and which lacks the keys that begin with `dropped`."""
    from safetensors.torch import load_file, save_file

    tensors = {key: value for key, value in load_file(EXAMPLE).items() if not (dropped and key.startswith(dropped))}
    save_file(tensors, tmp_path / "model.safetensors")
    side = json.loads(EXAMPLE.with_suffix(".json").read_text())
    side["arguments"].update(change.pop("arguments", {}))
    (tmp_path / "model.json").write_text(json.dumps({**side, **change}))
    return tmp_path / "model.safetensors"


def test_a_block_that_is_missing_at_the_end_of_a_stage_is_noticed(tmp_path: Path) -> None:
    path = example_with(tmp_path, {}, dropped="layers.1.blocks.5.")
    with pytest.raises(BadInput, match="blocks a stage"):
        load_checkpoint(path)


def test_class_names_that_do_not_match_the_head_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="speaks of 2 classes, the weights have 10"):
        load_checkpoint(example_with(tmp_path, {"classes": ["cat", "dog"]}))


def test_a_v1_window_that_contradicts_the_bias_tables_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="one window"):
        load_checkpoint(example_with(tmp_path, {"arguments": {"window_size": 5}}))


def test_a_window_that_was_clipped_in_training_is_known_by_the_size_of_the_training(tmp_path: Path) -> None:
    # Windows 7 and, in the last stage, 4: as trained with a 4x4 map there. A larger map takes a window of 7 again.
    state = weights("v1", image_size=(16, 16))
    sidecar = {"arguments": {"img_size": 16, "window_size": 7}}
    path = written(tmp_path / "model.safetensors", state, sidecar=sidecar)
    assert load_checkpoint(path).reading.spec.geometry(1, 0).window == (4, 4)
    larger = load_checkpoint(path, image_size=(56, 56)).reading
    assert larger.spec.geometry(1, 0).window == (7, 7)
    assert any("interpolated from a window of 4 to 7" in fact for fact in larger.evidence)


def test_a_window_that_may_have_been_clipped_in_training_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v1", image_size=(16, 16)), sidecar=False)
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, image_size=(56, 56))
    explained(caught, "whether its window was clipped in training", "--window 7")
    assert load_checkpoint(path, image_size=(56, 56), window=(7, 7)).reading.spec.geometry(1, 0).window == (7, 7)


def test_output_stages_of_a_classifier_are_refused_rather_than_ignored(tmp_path: Path) -> None:
    path = written(tmp_path / "swin.safetensors", weights("v1"))
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, out_stages=(1,))
    explained(caught, "--task backbone")
    assert load_checkpoint(path, task="backbone", out_stages=(1,)).task.output_names == ("stage1",)


@pytest.mark.parametrize(
    ("option", "value"), [("pretrained_window", ((3, 3),)), ("image_range", 255.0)], ids=["window", "range"]
)
def test_an_option_that_the_network_has_no_use_for_is_refused(tmp_path: Path, option: str, value: Any) -> None:
    path = written(tmp_path / "swin.safetensors", weights("v1"))
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, **{option: value})
    explained(caught, "--" + option.replace("_", "-"))


@pytest.mark.parametrize("count", [2, 4])
def test_pretrained_windows_for_another_number_of_stages_are_refused(tmp_path: Path, count: int) -> None:
    spec = small_spec("v2", image_size=(56, 56), depths=(1, 1, 1), heads=(2, 4, 8))
    path = written(tmp_path / "swin.safetensors", timm_state(random_reference(spec)))
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, image_size=(56, 56), pretrained_window=((7, 7),) * count)
    explained(caught, f"{count} pretrained windows", "3 stages")
    load_checkpoint(path, image_size=(56, 56), pretrained_window=((7, 7),) * 3)


def test_an_attention_that_is_not_there_is_refused_when_the_checkpoint_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "model.safetensors", weights("v1"))
    with pytest.raises(BadInput) as caught:
        load_checkpoint(path, attention="nonsense")
    explained(caught, "--attention nonsense", "linformer")
    assert load_checkpoint(path).reading.spec.attention == "window"
