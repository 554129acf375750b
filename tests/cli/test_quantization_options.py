"""INT8 and FP8 from the command line: each option on a tiny model, and the exit status of its wrong use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import cli.main
from calib.synthetic import structured_images
from swin_deploy.manifest import read_manifest
from swin_deploy.onnx_graph.placement import POLICIES
from tests.random_swin import random_reference, small_spec, timm_state

PREPARE = ["--resize", "squash", "--interpolation", "bilinear", "--resampler", "torch"]
PREPARE += ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
COMMON = ["--target", "onnxruntime", "--batch", "1,2,3", "--image-size", "16", "--no-compile", "--quiet"]
PARTS = ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two blocks, images to calibrate on, and labelled ones."""
    folder = tmp_path_factory.mktemp("quantized")
    spec = small_spec("v1", image_size=(16, 16), window=4, depths=(2,), heads=(2,))
    save_file(timm_state(random_reference(spec)), folder / "tiny.safetensors")
    np.savez(folder / "calib.npz", images=structured_images(12, 16, 16, seed=3))
    labels = np.arange(40) % 5
    np.savez(folder / "eval.npz", images=structured_images(40, 16, 16, seed=4), labels=labels)
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    np.savez(folder / "noise.npz", images=noise)
    return folder


def build(folder: Path, out: Path, *arguments: object) -> int:
    words = ["build", folder / "tiny.safetensors", "--out", out, *PREPARE, *COMMON, *arguments]
    return cli.main.status_of([str(word) for word in words])


def facts(out: Path, grid: str = "int8") -> dict[str, Any]:
    step = read_manifest(out).step(f"{grid}-qdq")
    assert step is not None
    return dict(step.facts)


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    """INT8 and FP8 in one run, with one linear left out."""
    options = ["--int8", "--fp8", "--calib-data", folder / "calib.npz", "--calib-seeds", "2"]
    options += ["--exclude", r"blocks\.1\.mlp\.2"]
    assert build(folder, folder / "first", *options, "--eval-images", "8") == 0
    return folder / "first"


def test_int8_and_fp8_are_made_and_judged_side_by_side(first: Path) -> None:
    manifest = read_manifest(first)
    for grid in ("int8", "fp8"):
        for artifact in (f"{grid}-qdq", grid):
            step = manifest.step(artifact)
            assert step is not None and step.rows[0].gate == grid
            assert step.rows[0].verdict.value == "PASS"
        assert (first / f"{grid}.onnx").is_file() and (first / f"{grid}.calibration.npz").is_file()
        assert facts(first, grid)["left_in_float"] == ["blocks.1.mlp.2"]
        assert facts(first, grid)["audit"]["attention"] == {}
        assert len(facts(first, grid)["seeds"]) == 2
        assert "blocks.1.mlp.2 fp16" in (first / f"{grid}.plan").read_text()
    assert facts(first)["audit"]["stored"] == "INT8" and facts(first, "fp8")["audit"]["stored"] == "FP8"


def test_its_calibration_and_its_plan_give_the_same_graph_without_an_image(folder: Path, first: Path) -> None:
    options = ["--int8", "--calibration", first / "int8.calibration.npz", "--precision-plan", first / "int8.plan"]
    out = folder / "reused"
    assert build(folder, out, *options, "--eval-images", "8") == 0
    assert (out / "int8.onnx").read_bytes() == (first / "int8.onnx").read_bytes()
    # The recipe that the run wrote does it again.
    arguments = ["build", "--recipe", out / "recipe.toml", "--out", folder / "again", "--quiet"]
    assert cli.main.status_of([str(word) for word in arguments]) == 0
    assert (folder / "again" / "int8.onnx").read_bytes() == (first / "int8.onnx").read_bytes()


def test_a_hand_written_plan_is_what_is_built(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.plan").write_text("default fp16\n/mlp/ int8\n")
    options = ["--int8", "--calib-data", folder / "calib.npz", "--calib-seeds", "1", "--calib-tools", "none"]
    options += ["--precision-plan", tmp_path / "mine.plan", "--eval-images", "8"]
    assert build(folder, tmp_path / "run", *options) == 0
    found = facts(tmp_path / "run")
    assert found["quantized_linears"] == ["blocks.0.mlp.0", "blocks.0.mlp.2", "blocks.1.mlp.0", "blocks.1.mlp.2"]
    assert found["calibration"]["method"]["tools"] == []
    assert "seeds" not in found


def test_a_search_is_judged_on_the_half_that_it_did_not_see(folder: Path, tmp_path: Path) -> None:
    options = ["--int8", "--calib-data", folder / "calib.npz", "--calib-seeds", "1", "--search", "--max-drop", "60"]
    assert build(folder, tmp_path / "run", *options, "--eval-data", folder / "eval.npz") in (0, 4)
    manifest = read_manifest(tmp_path / "run")
    assert manifest.evaluation["images"] == 20
    found = facts(tmp_path / "run")
    assert found["search"]["choice"] and found["search"]["measured"] > 0
    assert (tmp_path / "run" / "int8.search.jsonl").is_file()


def test_a_search_within_an_impossible_limit_ends_with_4(folder: Path, tmp_path: Path, capsys) -> None:
    options = ["--int8", "--calib-data", folder / "calib.npz", "--search", "--max-drop", "0"]
    assert build(folder, tmp_path / "run", *options, "--eval-data", folder / "eval.npz") == 4
    shown = capsys.readouterr()
    assert "no int8 plan has its drop within the limit" in shown.out and "Traceback" not in shown.err
    assert not (tmp_path / "run" / "int8.qdq.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["--int8"], 2, "--int8 without --calib-data"),
        (["--fp8"], 2, "--fp8 without --calib-data"),
        (["--calib-data", "calib.npz"], 2, "--calib-data without --int8"),
        (["--exclude", "head"], 2, "--exclude without --int8"),
        (["--calibration", "a.npz"], 2, "--calibration without --int8"),
        (["--int8", "--calib-data", "calib.npz", "--placement", "everywhere"], 2, "--placement everywhere"),
        (["--int8", "--calib-data", "calib.npz", "--calib-method", "luck"], 2, "--calib-method luck"),
        (["--int8", "--calib-data", "calib.npz", "--calib-tools", "luck"], 2, "--calib-tools luck"),
        (["--int8", "--calib-data", "calib.npz", "--calib-tools", "none,bias"], 2, "--calib-tools none,bias"),
        (["--int8", "--calib-data", "calib.npz", "--calib-seeds", "0"], 2, "--calib-seeds 0"),
        (["--int8", "--calib-data", "calib.npz", "--search"], 2, "--search without --eval-data"),
        (["--int8", "--calib-data", "calib.npz", "--timings", "a"], 2, "--timings without --search"),
        (["--int8", "--fp8", "--calibration", "a.npz"], 2, "--calibration with --int8 and --fp8"),
        (["--int8", "--calib-data", "calib.npz", "--target", "torch"], 2, "--int8 with --target torch"),
        (["--fp8", "--calib-data", "calib.npz", "--target", "torch"], 2, "--fp8 with --target torch"),
        (["--int8", "--calib-data", "noise.npz"], 5, "12 of 12 calibration images looked at are random noise"),
        (["--int8", "--calib-data", "none.npz"], 5, "none.npz"),
        (["--int8", "--calibration", "none.npz"], 5, "none.npz cannot be read as a calibration"),
        (["--int8", "--calibration", "calib.npz"], 5, "calib.npz cannot be read as a calibration"),
        (["--int8", "--calib-data", "calib.npz", "--precision-plan", "none.plan"], 5, "none.plan is no file"),
        (["--int8", "--calib-data", "calib.npz", "--eval-data", "calib.npz"], 5, "evaluation images too"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, arguments: list[str], status: int, word: str, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(folder)
    assert build(folder, tmp_path / "run", *arguments) == status
    message = capsys.readouterr().err
    assert word in message and "Traceback" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--exclude", "layers"], "matches no linear"),
        (["--exclude", "("], "no regular expression"),
        (["--exclude", "blocks"], "leaves every linear in float"),
    ],
)
def test_an_exclusion_that_fits_nothing_or_everything_ends_with_5(
    folder: Path, tmp_path: Path, arguments: list[str], word: str, capsys
) -> None:
    options = ["--int8", "--calib-data", folder / "calib.npz", "--eval-images", "4"]
    assert build(folder, tmp_path / "run", *options, *arguments) == 5
    message = capsys.readouterr().err
    assert word in message and "Traceback" not in message


def test_a_calibration_of_another_transform_ends_with_5_and_names_it(folder: Path, first: Path, capsys) -> None:
    options = ["--int8", "--calibration", first / "int8.calibration.npz", "--mean", "0.4,0.5,0.5"]
    options += ["--precision-plan", first / "int8.plan", "--eval-images", "4"]
    assert build(folder, folder / "other", *options) == 5
    assert "the transform: mean is [0.4, 0.5, 0.5] and was [0.5, 0.5, 0.5]" in capsys.readouterr().err


def test_fp8_for_compute_capability_8_6_ends_with_2_and_is_planned_for_8_9(
    folder: Path, tmp_path: Path, capsys
) -> None:
    pytest.importorskip("tensorrt_rtx")
    options = ["--calib-data", folder / "calib.npz", "--target", "rtx", "--dry-run", "--json"]
    assert build(folder, tmp_path / "run", "--fp8", "--sm", "8.6", *options) == 2
    assert "--fp8 with --sm 8.6" in capsys.readouterr().err
    for grid, sm in (("--int8", "8.6"), ("--fp8", "8.6,8.9")):
        assert build(folder, tmp_path / "run", grid, "--sm", sm, *options) == 0
        planned = json.loads(capsys.readouterr().out)["steps"]
        assert planned[-1]["artifact"] == f"{grid[2:]}-engine"


def test_every_policy_is_taken_by_its_name(folder: Path, tmp_path: Path, capsys) -> None:
    for policy in POLICIES:
        options = ["--int8", "--calib-data", folder / "calib.npz", "--placement", policy, "--dry-run"]
        assert build(folder, tmp_path / "run", *options) == 0
        assert "quantize -> int8.qdq.onnx" in capsys.readouterr().out
