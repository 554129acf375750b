"""A trained restoration model through the whole of `build`, judged with pairs against the true pictures.

The model is tiny and trained on the spot: a SwinIR x2 of 40 thousand weights, 300 steps on CIFAR-10 (half a minute on
one core). It is no published model, but it is trained: it beats bicubic enlargement by about one dB on held-out
pictures, so that its activations, and what half precision and INT8 cost it, are those of a network that does its work.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor, nn

from calib.images import open_images
from cli.main import status_of
from swin_deploy.atomic import file_sha256
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Restoration
from swin_deploy.manifest import Manifest, read_manifest, write_manifest
from swin_deploy.model.forms import build_reference
from swin_deploy.parity.gates import GATES, GateName, Verdict
from swin_deploy.parity.psnr import psnr_y_against_picture

CIFAR10 = Path(__file__).resolve().parents[1] / "examples" / "cifar10"
SCALE, SIDE = 2, 16
PAIRS = 64
STEPS, BATCH = 300, 16

Pictures = npt.NDArray[np.uint8]
Spoil = Callable[[str, npt.NDArray[Any]], npt.NDArray[Any]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def training_pictures() -> Pictures:
    """[1000, 32, 32, 3]."""
    return pictures(CIFAR10 / "calib.tar.xz", 1000)


@pytest.fixture(scope="module")
def held_out() -> Pictures:
    """[64, 32, 32, 3], of the test images."""
    return pictures(CIFAR10 / "eval.tar.xz", PAIRS)


def pictures(archive: Path, count: int) -> Pictures:
    images = open_images(archive, limit=count)
    return np.stack([images[index] for index in range(count)])


def resized(image: Pictures, side: int) -> Pictures:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def inputs_of(large: Pictures) -> Pictures:
    """Half as large: [N, 16, 16, 3]."""
    return np.stack([resized(image, SIDE) for image in large])


def tensor_of(images: Pictures) -> Tensor:
    """[N, H, W, 3] to [N, 3, H, W] on the 0..1 scale."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


@pytest.fixture(scope="module")
def trained(training_pictures: Pictures) -> nn.Module:
    """The paper form after `STEPS` steps of Adam on the mean absolute error."""
    stages = tuple(StageSpec(2, 24, 2, (8, 8), 48) for _ in range(2))
    task = Restoration(SCALE, "pixelshuffledirect", mean=(0.4488, 0.4371, 0.4040))
    torch.manual_seed(0)
    model = build_reference(SwinSpec("v1", (SIDE, SIDE), 1, 3, stages, task, rule="restoration"))
    for name, parameter in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.trunc_normal_(parameter, std=0.02)
    low, high = tensor_of(inputs_of(training_pictures)), tensor_of(training_pictures)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(0, len(low), (BATCH,))
        axes = [3] if torch.rand(()) < 0.5 else []
        error = (model(low[chosen].flip(axes)) - high[chosen].flip(axes)).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        pace.step()
    return model.eval()


def saved_as_swinir(model: nn.Module) -> dict[str, Tensor]:
    """Its weights under the names of JingyunLiang/SwinIR; written from that code, not from our dialect."""
    names = (
        (r"^stages\.(\d+)\.blocks\.", r"layers.\1.residual_group.blocks."),
        (r"^convs\.(\d+)\.0\.", r"layers.\1.conv."),
        (r"^conv_after_body\.0\.", "conv_after_body."),
        (r"^upsample\.conv_last\.", "upsample.0."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.2\.", ".mlp.fc2."),
    )
    state = {}
    for name, tensor in model.state_dict().items():
        for ours, theirs in names:
            name = re.sub(ours, theirs, name)
        state[name] = tensor.clone()
    return state


def write_pairs(folder: Path, large: Pictures, low: Pictures) -> Path:
    for name, images in (("lr", low), ("hr", large)):
        (folder / name).mkdir(parents=True)
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{index:03}.png")
    return folder


@pytest.fixture(scope="module")
def built(
    trained: nn.Module, training_pictures: Pictures, held_out: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    """Exit status and folder of `swin-deploy build` on the trained model."""
    folder = tmp_path_factory.mktemp("restoration")
    checkpoint = folder / "trained.pth"
    torch.save({"params": saved_as_swinir(trained)}, checkpoint)
    pairs = write_pairs(folder / "pairs", held_out, inputs_of(held_out))
    (folder / "calibration").mkdir()
    for index, image in enumerate(inputs_of(training_pictures[:200])):
        Image.fromarray(image).save(folder / "calibration" / f"{index:03}.png")
    arguments = ["build", checkpoint, "--fp16", "--int8", "--no-compile", "--target", "onnxruntime", "--quiet"]
    arguments += ["--image-size", SIDE, "--image-range", 1, "--window", 8, "--batch", "1,8,16"]
    arguments += ["--eval-data", pairs, "--calib-data", folder / "calibration", "--out", folder / "run"]
    return status_of([str(argument) for argument in arguments]), folder


@pytest.fixture(scope="module")
def manifest(built: tuple[int, Path]) -> Manifest:
    return read_manifest(built[1] / "run")


def measured(manifest: Manifest, artifact: str, label: str) -> tuple[Verdict, Any]:
    step = manifest.step(artifact)
    assert step is not None
    (row,) = [row for row in step.rows if row.label == label]
    return row.verdict, row.measurement


def worst(measurement: Any, key: str) -> float:
    return float(min(entry[key] for entry in measurement["oracle"].values()))


def bicubic_db(large: Pictures) -> float:
    """Mean PSNR-Y of bicubic enlargement."""
    enlarged = [resized(resized(image, SIDE), SCALE * SIDE) for image in large]
    values = [
        psnr_y_against_picture(
            (guess.transpose(2, 0, 1) / 255).astype(np.float32), image.transpose(2, 0, 1), border=SCALE
        )
        for guess, image in zip(enlarged, large, strict=True)
    ]
    return float(np.mean(values))


def test_the_model_is_trained_it_beats_bicubic_enlargement(manifest: Manifest, held_out: Pictures) -> None:
    task = measured(manifest, "reference", "oracle")[1]["task"]
    assert task["images"] == PAIRS
    assert task["db"] > bicubic_db(held_out) + 0.5


def test_an_untrained_model_does_not(trained: nn.Module, held_out: Pictures) -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        guesses = build_reference(trained.spec)(tensor_of(inputs_of(held_out))).numpy()
    values = [
        psnr_y_against_picture(guess, image.transpose(2, 0, 1), border=SCALE)
        for guess, image in zip(guesses, held_out, strict=True)
    ]
    assert np.mean(values) < bicubic_db(held_out) - 5


def test_the_build_passes(built: tuple[int, Path], manifest: Manifest) -> None:
    assert built[0] == 0, manifest.verdict


@pytest.mark.parametrize(
    ("artifact", "label", "gate"),
    [
        ("deployment", "eager", GateName.FP32),
        ("fp32", "graph", GateName.FP32),
        ("deployment-fp16", "numerics", GateName.FP16_NUMERICS),
        ("fp16", "graph", GateName.FP16_GRAPH),
    ],
)
def test_fp32_and_fp16_give_the_oracles_pictures_and_lose_nothing_against_the_true_ones(
    manifest: Manifest, artifact: str, label: str, gate: GateName
) -> None:
    verdict, measurement = measured(manifest, artifact, label)
    assert verdict is Verdict.PASS
    assert worst(measurement, "psnr_y_db") >= GATES[gate].psnr_y_db
    assert worst(measurement, "sqnr_db") >= GATES[gate].dense_db
    assert abs(measurement["task"]["drop"]) < 0.01


@pytest.mark.parametrize("artifact", ["int8-qdq", "int8"])
def test_int8_loses_less_than_a_tenth_of_a_db_with_its_bound(manifest: Manifest, artifact: str) -> None:
    _, measurement = measured(manifest, artifact, "literal Q/DQ")
    assert measurement["task"]["images"] == PAIRS
    assert measurement["task"]["upper"] < 0.1


def test_pictures_that_are_shifted_by_one_pixel_are_met_less_well(
    built: tuple[int, Path], manifest: Manifest, held_out: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    """So the pairing, the scale and the border are not beside the point."""
    aside = write_pairs(built[1] / "shifted", np.roll(held_out, 1, axis=2), inputs_of(held_out))
    capsys.readouterr()
    status_of(["validate", str(built[1] / "run" / "fp32.onnx"), "--data", str(aside), "--json", "--quiet"])
    answer = json.loads(capsys.readouterr().out)
    shifted = answer["steps"][-1]["rows"][0]["measurement"]["task"]
    assert shifted["db"] < measured(manifest, "fp32", "graph")[1]["task"]["db"] - 2
    assert abs(shifted["drop"]) < 0.01  # candidate and oracle alike


def spoiled_status(built: tuple[int, Path], manifest: Manifest, folder: Path, artifact: str, spoil: Spoil) -> int:
    """Status of `validate` on a file of the run with `spoil` done to each constant, as a defect would have made it."""
    run = built[1] / "run"
    step = manifest.step(artifact)
    assert step is not None and step.file is not None
    shutil.copy(run / "reference.safetensors", folder)
    model = onnx.load(run / step.file)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(spoil(tensor.name, values).astype(values.dtype), tensor.name))
    onnx.save(model, folder / step.file)
    told = replace(step, sha256=file_sha256(folder / step.file))
    steps = tuple(told if known.artifact == artifact else known for known in manifest.steps)
    write_manifest(replace(manifest, steps=steps), folder)
    return status_of(["validate", str(folder / step.file), "--data", str(built[1] / "pairs"), "--quiet"])


def without_one_bias(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 0 * values if name == "blocks.0.attn.constant" else values


def with_ranges_too_small(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values / 16 if name.endswith("input.scale") else values


@pytest.mark.parametrize(
    ("artifact", "spoil"), [("fp32", without_one_bias), ("int8-qdq", with_ranges_too_small)], ids=["bias", "ranges"]
)
def test_a_spoiled_file_fails_its_gate(
    built: tuple[int, Path], manifest: Manifest, tmp_path: Path, artifact: str, spoil: Spoil
) -> None:
    (tmp_path / "sound").mkdir()
    (tmp_path / "spoiled").mkdir()
    assert spoiled_status(built, manifest, tmp_path / "sound", artifact, lambda name, values: values) == 0
    assert spoiled_status(built, manifest, tmp_path / "spoiled", artifact, spoil) == 4
