"""Whole runs from the command line of what is no plain classifier: sizes, backbones, variants, own networks.

Each kind of run is built once, small and without a C++ compiler (what compiles has its tests elsewhere), and then
validated and timed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import cli.main
from calib.synthetic import structured_images
from swin_deploy.manifest import Manifest, read_manifest
from tests.checkpoint.golden_state import golden_state
from tests.own_networks import made, plain
from tests.random_swin import random_reference, small_spec, timm_state

SCRIPT = Path(sys.executable).with_name("swin-deploy")
COMMON = ["--target", "onnxruntime", "--batch", "1,2,3", "--eval-images", "8", "--quiet"]
RANGE = ("--image-range", "1")
NETWORK = """
from a_part import Tokens
from torch import nn

def make():
    import a_late_part  # when it is called, the folder is still looked into
    return Tokens(5)
"""


@pytest.fixture(autouse=True, scope="module")
def bare() -> Any:
    """One thread, and no compiler to be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


def status_of(*arguments: object) -> int:
    return cli.main.status_of([str(argument) for argument in arguments])


def steps(folder: Path) -> dict[str, Any]:
    manifest: Manifest = read_manifest(folder)
    return {step.artifact: step for step in manifest.steps}


def worst(folder: Path, artifact: str) -> float:
    """The smallest SQNR of an artifact's first row against the oracle, dB."""
    measurement: Any = steps(folder)[artifact].rows[0].measurement
    return min(float(entry["sqnr_db"] or np.inf) for entry in measurement["oracle"].values())


def timm_file(folder: Path, name: str = "tiny", **options: Any) -> Path:
    spec = small_spec("v1", image_size=(16, 16), window=4, **{"depths": (2,), "heads": (2,), **options})
    save_file(timm_state(random_reference(spec)), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return timm_file(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    two = timm_file(folder, depths=(2, 1), heads=(2, 4))
    out = folder / "run"
    options = ["--task", "backbone", "--out-stages", "0,1", "--image-size", "16"]
    assert status_of("build", two, *options, "--out", out, *COMMON) == 0
    return out


@pytest.fixture(scope="module")
def restoration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("restoration")
    save_file(golden_state("swinir_denoise"), folder / "denoise.safetensors")
    out = folder / "run"
    assert status_of("build", folder / "denoise.safetensors", "--image-size", "8", *RANGE, "--out", out, *COMMON) == 0
    return out


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A network of one's own in INT8, by the console script from the folder that holds the code."""
    folder = tmp_path_factory.mktemp("captured")
    (folder / "my_network.py").write_text(NETWORK)
    source = (Path(__file__).parents[1] / "own_networks.py").read_text()
    body = source[source.index("class Plain") : source.index("def plain")].replace("class Plain", "class Tokens")
    imports = "from typing import Any\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\n\n"
    (folder / "a_part.py").write_text(imports + body)
    (folder / "a_late_part.py").write_text("")
    save_file(made(plain).state_dict(), folder / "own.safetensors")
    np.savez(folder / "images.npz", images=structured_images(12, 16, 16, seed=3))
    prepare = ["--resize", "squash", "--interpolation", "bilinear", "--resampler", "torch"]
    prepare += ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
    options = ["--model", "my_network:make", "--image-size", "16", "--int8", "--calib-data", "images.npz", *prepare]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [SCRIPT, "build", "own.safetensors", *options, "--out", "run", *COMMON],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return folder / "run", done


# Several image sizes


def test_each_image_size_has_a_run_in_a_folder_of_its_own_and_json_lists_them(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sizes"
    sizes = ["--image-size", "16", "--image-size", "16x32"]
    assert status_of("build", tiny, *sizes, "--out", out, "--json", *COMMON) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["recipe"]["image_size"] for entry in found] == [[16, 16], [16, 32]]
    assert sorted(path.name for path in out.iterdir()) == ["16x16", "16x32"]
    for folder in out.iterdir():
        assert all((folder / name).is_file() for name in ("report.md", "report.html", "fp32.onnx"))
        assert worst(folder, "fp32") > 100
    assert "image 16x32" in steps(out / "16x32")["reference"].facts["architecture"]
    assert "image_size = [16, 32]" in (out / "16x32" / "recipe.toml").read_text()


def test_the_exit_status_of_several_is_the_worst_and_none_is_left_out(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from swin_deploy import pipeline

    statuses = iter([0, 4, 3])
    folders = []

    def run(plan: Any, recipe: Any, target: str, evaluation: Any, folder: Path, **_: Any) -> Manifest:
        folders.append(folder.name)
        folder.mkdir(parents=True)
        checkpoint = {"file": "tiny", "sha256": "0"}
        return Manifest(recipe.__dict__, target, {}, checkpoint, evaluation.to_json(), (), next(statuses), "done")

    monkeypatch.setattr(pipeline, "run", run)
    sizes = ["--image-size", "16", "--image-size", "32", "--image-size", "16x32"]
    assert status_of("build", tiny, *sizes, "--out", tmp_path / "run", *COMMON) == 4
    assert folders == ["16x16", "32x32", "16x32"]
    assert capsys.readouterr().out.count("Everything is in") == 3


def test_a_size_that_does_not_fit_leaves_no_folder_of_any(tiny: Path, tmp_path: Path, capsys) -> None:
    sizes = ["--image-size", "16", "--image-size", "17"]
    assert status_of("build", tiny, *sizes, "--out", tmp_path / "run", *COMMON) == 5
    assert "17 is not a multiple of the patch" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_size_twice_is_a_mistake(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--image-size", "16", "--image-size", "16x16"]
    assert status_of("build", tiny, *sizes, "--out", tmp_path / "run", *COMMON) == 2
    assert "given twice" in capsys.readouterr().err


def test_a_dry_run_shows_the_plan_of_each_size(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--image-size", "16", "--image-size", "32"]
    assert status_of("build", tiny, *sizes, "--dry-run", *COMMON) == 0
    text = capsys.readouterr().out
    assert text.index("images of 16x16:") < text.index("images of 32x32:")
    assert text.count("checkpoint -> load -> reference.safetensors") == 2
    assert status_of("build", tiny, *sizes, "--dry-run", "--json", *COMMON) == 0
    assert [plan["target"] for plan in json.loads(capsys.readouterr().out)] == ["onnxruntime"] * 2
    # The control: of one size it is one plan, with no title.
    assert status_of("build", tiny, *sizes[:2], "--dry-run", *COMMON) == 0
    assert "images of" not in capsys.readouterr().out


# Tasks and variants


def test_a_backbone_gives_each_stage_and_is_judged_on_each(backbone: Path) -> None:
    made_of = steps(backbone)
    assert made_of["reference"].facts["architecture"].endswith("features of stages 0, 1")
    assert set(made_of["fp32"].rows[0].measurement["oracle"]["2"]["by_output"]) == {"stage0", "stage1"}
    assert worst(backbone, "deployment") > 100 and worst(backbone, "fp32") > 100


def test_another_dialect_than_the_files_is_refused_with_what_is_missing(tiny: Path, capsys) -> None:
    assert status_of("inspect", tiny, "--image-size", "16", "--dialect", "timm") == 0
    capsys.readouterr()
    for dialect, word in (("torchvision", "features.0.0.weight"), ("no-such", "one of microsoft, timm")):
        assert status_of("inspect", tiny, "--image-size", "16", "--dialect", dialect) == 5
        message = capsys.readouterr().err
        assert word in message and "Traceback" not in message


def test_a_gated_attention_is_built_where_it_is_named_and_noticed_where_it_is_not(tmp_path: Path, capsys) -> None:
    gated = timm_file(tmp_path, "gated", attention="channel-gate")
    arguments = ["build", gated, "--image-size", "16", "--out", tmp_path / "run", *COMMON]
    assert status_of(*arguments) == 5
    assert "gate" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert status_of(*arguments, "--attention", "channel-gate") == 0
    assert "attention channel-gate" in steps(tmp_path / "run")["reference"].facts["architecture"]
    assert worst(tmp_path / "run", "fp32") > 100


# A network of one's own


def test_a_network_in_the_current_folder_is_found_by_the_console_script(captured) -> None:
    folder, done = captured
    assert done.returncode == 0, done.stderr
    made_of = steps(folder)
    assert made_of["reference"].file == "reference.program.pt2"
    assert made_of["deployment"].file == "deployment.program.pt2"
    assert made_of["reference"].facts["architecture"] == "my_network:make, image 16x16"
    assert worst(folder, "deployment") > 100 and worst(folder, "fp32") > 100
    assert read_manifest(folder).task == "classifier"


def test_its_linears_are_quantized_and_its_head_is_not(captured) -> None:
    folder, _ = captured
    quantized = steps(folder)["int8-qdq"].facts["quantized_linears"]
    assert [name.rsplit(".", 1)[-1] for name in quantized] == ["first", "second"]
    assert 25 < worst(folder, "int8") < 100


def test_the_same_command_from_another_folder_says_where_to_run_it(captured, tmp_path: Path) -> None:
    folder, _ = captured
    arguments = [folder.parent / "own.safetensors", "--model", "my_network:make", "--image-size", "16", "--dry-run"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [SCRIPT, "build", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5
    assert "No module named 'my_network'" in done.stderr and "Run from the folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_contradicts_a_network_of_ones_own_is_refused(captured, capsys: pytest.CaptureFixture[str]) -> None:
    own = captured[0].parent / "own.safetensors"
    model = ["--model", "tests.own_networks:plain", "--image-size", "16", "--dry-run"]
    assert status_of("build", own, *model, "--target", "onnxruntime") == 0
    capsys.readouterr()
    for extra, word in (
        (["--dialect", "timm"], "--model together with"),
        (["--attention", "linformer"], "--model together with"),
        (["--target", "torch", "--fp16"], "--fp16 with --model and --target torch"),
    ):
        assert status_of("build", own, *model, *extra) == 2
        assert word in capsys.readouterr().err


# validate and bench


@pytest.mark.parametrize("kind", ["backbone", "restoration", "captured"])
def test_what_was_built_is_validated_and_timed(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    found = request.getfixturevalue(kind)
    folder = found[0] if kind == "captured" else found
    oracle, deployment = (steps(folder)[name].file for name in ("reference", "deployment"))
    capsys.readouterr()
    for name, gate in ((oracle, None), (deployment, "fp32"), ("fp32.onnx", "fp32")):
        assert status_of("validate", folder / name, "--images", "4", "--json", "--quiet") == 0
        said = json.loads(capsys.readouterr().out)
        assert said["steps"][0]["artifact"] == "reference"
        row = said["steps"][-1]["rows"][0]
        assert (row["gate"], row["verdict"]) == (gate, "PASS" if gate else "INFO")
        assert row["measurement"]["oracle"]["2"]["images"] == 4
    files = [folder / name for name in (oracle, deployment, "fp32.onnx")]
    quick = ("--rounds", "3", "--calls", "1", "--warmup-seconds", "1", "--no-memory", "--no-roofline")
    assert status_of("bench", *files, "--batch", "2", "--json", *quick) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert [line["artifact"].split("/")[1] for line in lines] == [file.name for file in files]
    # The control: a file that was changed since is neither judged nor timed.
    spoiled = folder / "fp32.onnx"
    content = spoiled.read_bytes()
    spoiled.write_bytes(content + b"\0")
    try:
        assert status_of("validate", spoiled, "--quiet") == status_of("bench", spoiled, "--rounds", "3") == 5
        assert capsys.readouterr().err.count("sha256 differs") == 2
    finally:
        spoiled.write_bytes(content)


# inspect


@pytest.mark.parametrize(
    ("case", "dialect", "words", "options"),
    [
        ("microsoft_v1", "microsoft", "Swin V1", ()),
        ("microsoft_v2", "microsoft", "Swin V2", ("--image-size", "16", "--pretrained-window", "4")),
        ("microsoft_detection_v1", "microsoft", "backbone with the features of stages", ()),
        ("mmdet_v1", "openmmlab", "backbone with the features of stages", ()),
        ("mmpretrain_v1", "openmmlab", "Swin V1", ()),
        ("swinir_light_x2", "swinir", "restoration x2", RANGE),
        ("swin2sr_light_x2", "swin2sr", "restoration x2", RANGE),
    ],
)
def test_inspect_names_dialect_architecture_and_evidence(
    case: str, dialect: str, words: str, options: tuple[str, ...], tmp_path: Path, capsys
) -> None:
    save_file(golden_state(case), tmp_path / "model.safetensors")
    _shows(tmp_path / "model.safetensors", dialect, words, ("--image-size", "32", *options), capsys)


@pytest.mark.parametrize("code_base", ["timm", "torchvision", "huggingface", "huggingface-swin2sr"])
def test_inspect_names_those_of_a_live_model_too(code_base: str, tmp_path: Path, tiny: Path, capsys) -> None:
    if code_base == "timm":
        _shows(tiny, "timm", "5 classes", ("--image-size", "16"), capsys)
        return
    maker: Callable[[], Any]
    if code_base == "torchvision":
        models = pytest.importorskip("torchvision").models.swin_transformer
        maker, words = lambda: models.SwinTransformer([4, 4], 8, [2, 2], [1, 2], [4, 4], num_classes=5), "5 classes"
    else:
        transformers = pytest.importorskip("transformers")
        small = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "num_heads": [1, 2], "window_size": 4}
        if code_base == "huggingface":
            config = transformers.SwinConfig(**small, depths=[2, 2], num_labels=5)
            maker, words = lambda: transformers.SwinForImageClassification(config), "5 classes"
        else:
            config = transformers.Swin2SRConfig(**{**small, "patch_size": 1}, depths=[2, 2], upscale=2)
            maker, words = lambda: transformers.Swin2SRForImageSuperResolution(config), "restoration x2"
        config.save_pretrained(tmp_path)
    save_file({name: tensor.contiguous() for name, tensor in maker().state_dict().items()}, tmp_path / "m.safetensors")
    _shows(tmp_path / "m.safetensors", code_base, words, ("--image-size", "32"), capsys)


def _shows(path: Path, dialect: str, words: str, options: tuple[str, ...], capsys: Any) -> None:
    assert status_of("inspect", path, *options) == 0, capsys.readouterr().err
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert words in lines[0] and "parameters" in lines[0]
    assert lines[1].startswith(f"  dialect {dialect}: ") and len(lines[1]) > len(dialect) + 15
    assert lines[-1].startswith("  fold: ")
    assert status_of("inspect", path, *options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dialect"] == dialect
    assert words in found["architecture"]
    assert found["evidence"][0] == lines[1].strip()
