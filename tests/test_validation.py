"""An artifact is judged again only if it is the file that was built, and by the rules of its own run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calib.preprocess import Preprocess
from calib.synthetic import structured_images
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration, Task, task_to_json
from swin_deploy.errors import BadData, BadInput, UsageFault
from swin_deploy.manifest import Manifest, StepRecord, read_manifest, write_manifest
from swin_deploy.model.forms import open_deployment, open_reference, save_deployment, save_reference
from swin_deploy.parity.gates import Verdict
from swin_deploy.stages.fold import Fold
from swin_deploy.validation import artifact_of, validate
from tests.random_swin import random_reference, small_spec

PREPROCESS = Preprocess(28, 28, "squash", "bilinear", "torch", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CLASSIFIER = Classifier(5)
CLASSES = ["owl", "ant", "cow", "bee", "elk"]


@dataclass(frozen=True)
class Folder:
    """A finished run of two artifacts."""

    path: Path

    @property
    def deployment(self) -> Path:
        return self.path / "deployment.safetensors"

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """The oracle's own, [images, 5]."""
        with torch.inference_mode():
            found: np.ndarray = open_reference(self.path / "reference.safetensors")(
                torch.from_numpy(PREPROCESS.batch(pixels))
            ).numpy()
        return found


def record(name: str, stage: str, parent: str, path: Path, form: Format) -> StepRecord:
    return StepRecord(
        name, stage, parent, {}, {}, "key", path.name, form.value, "fp32", file_sha256(path), path.stat().st_size
    )


def write_run(folder: Path, task: Task = CLASSIFIER, preprocess: Preprocess = PREPROCESS) -> Folder:
    reference, deployment = folder / "reference.safetensors", folder / "deployment.safetensors"
    evaluation = {
        "kind": "images",
        "source": "elsewhere",
        "images": 9999,
        "labelled": True,
        "pictures": False,
        "remark": "",
        "task": task_to_json(task),
        "output_bytes": 20,
        "fingerprint": "0",
        "preprocess": preprocess.to_json(),
    }
    steps = (
        record("reference", "load", "checkpoint", reference, Format.CHECKPOINT),
        record("deployment", "fold", "reference", deployment, Format.DEPLOYMENT),
    )
    recipe = {"batch": [1, 2, 4], "max_drop": 1.0, "max_psnr_drop": 0.1}
    source = {"file": "tiny.pth", "sha256": "1", "classes": CLASSES}
    write_manifest(Manifest(recipe, "onnxruntime", {}, source, evaluation, steps, 0, "PASS", 1.0), folder)
    return Folder(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The two weight files of a tiny Swin."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("built")
    save_reference(random_reference(small_spec("v1")), folder / "reference.safetensors")
    parent = Artifact("reference", folder / "reference.safetensors", Format.CHECKPOINT, Precision.FP32)
    Fold().run(parent, folder / "deployment.safetensors")
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.fixture
def run(built: dict[str, bytes], tmp_path: Path) -> Folder:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in built.items():
        (folder / name).write_bytes(content)
    return write_run(folder)


def npz(path: Path, pixels: np.ndarray, labels: np.ndarray | None = None) -> str:
    np.savez(path, images=pixels, **({} if labels is None else {"labels": labels}))
    return str(path)


def test_a_file_of_the_run_is_known_with_all_that_the_manifest_says(run: Folder) -> None:
    artifact, found, manifest = artifact_of(run.deployment)
    assert artifact == Artifact("deployment", run.deployment, Format.DEPLOYMENT, Precision.FP32, "reference")
    assert (found.stage, manifest.target) == ("fold", "onnxruntime")


def test_a_tampered_file_is_refused_by_its_hash(run: Folder) -> None:
    content = bytearray(run.deployment.read_bytes())
    content[-1] ^= 1  # one bit of one weight
    run.deployment.write_bytes(content)
    with pytest.raises(BadInput, match="sha256 differs from the manifest's") as caught:
        validate(run.deployment, data=None, images=0, max_drop=1.0)
    assert caught.value.exit_code == 5


def test_a_tampered_oracle_is_refused_too(run: Folder) -> None:
    oracle = run.path / "reference.safetensors"
    oracle.write_bytes(oracle.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BadInput, match=r"reference\.safetensors is not the file that was built"):
        validate(run.deployment, data=None, images=0, max_drop=1.0)


def test_a_file_that_the_manifest_does_not_know_is_refused_and_the_known_ones_named(run: Folder) -> None:
    stranger = run.path / "stranger.onnx"
    stranger.write_bytes(b"x")
    with pytest.raises(BadInput, match=r"does not know it.*reference\.safetensors, deployment\.safetensors"):
        artifact_of(stranger)


def test_a_missing_file_a_folder_and_a_folder_without_a_manifest_are_refused(run: Folder, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(b"x")
    for path, seen in (
        (run.path / "none.onnx", "does not exist"),
        (run.path, "is a folder.*fp32.onnx"),
        (alone, "no manifest.json stands beside"),
    ):
        with pytest.raises(BadInput, match=seen) as caught:
            artifact_of(path)
        assert caught.value.exit_code == 5


def test_a_run_without_its_oracle_cannot_judge(run: Folder) -> None:
    (run.path / "reference.safetensors").unlink()
    with pytest.raises(BadInput, match=r"reference\.safetensors does not exist"):
        validate(run.deployment, data=None, images=0, max_drop=1.0)


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), -1.0])
def test_a_margin_in_decibels_that_judges_nothing_is_refused(run: Folder, margin: float) -> None:
    with pytest.raises(UsageFault, match="--max-psnr-drop"):
        validate(run.deployment, data=None, images=0, max_drop=1.0, max_psnr_drop=margin)


@pytest.mark.parametrize("margin", [float("nan"), float("inf"), -1.0])
def test_a_margin_that_judges_nothing_is_refused(run: Folder, margin: float) -> None:
    with pytest.raises(UsageFault, match="--max-drop"):
        validate(run.deployment, data=None, images=0, max_drop=margin)


def test_without_data_the_images_are_synthetic_and_accuracy_is_not_measured(run: Folder) -> None:
    found = validate(run.deployment, data=None, images=0, max_drop=1.0)
    assert found.status == 0
    assert [step.artifact for step in found.steps] == ["reference", "deployment"]
    assert "SYNTHETIC" in found.judged_on()
    (row,) = found.steps[1].rows
    assert row.verdict is Verdict.PASS
    assert row.measurement is not None
    assert row.measurement["task"] is None
    assert list(row.measurement["oracle"]) == ["1", "2", "4"]


def test_labelled_images_are_named_by_the_checkpoints_classes_and_not_by_their_sorted_order(
    run: Folder, tmp_path: Path
) -> None:
    # Each image is put into the folder of the class that the oracle decides for. Sorted, ant would be 0 instead of owl.
    from PIL import Image

    pixels = structured_images(12, 28, 28, seed=5)
    for index, decided in enumerate(run.logits(pixels).argmax(axis=1)):
        place = tmp_path / "data" / "split" / CLASSES[decided]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(place / f"{index}.png")
    found = validate(run.deployment, data=str(tmp_path / "data"), images=0, max_drop=1.0)
    (row,) = found.steps[0].rows
    assert row.measurement is not None
    assert row.measurement["task"]["top1"] == 100.0


def test_the_manifest_of_the_run_itself_is_left_alone(run: Folder) -> None:
    before = read_manifest(run.path)
    validate(run.deployment, data=None, images=0, max_drop=0.5)
    assert read_manifest(run.path) == before


def test_a_limit_takes_so_many_images(run: Folder, tmp_path: Path) -> None:
    pixels = structured_images(12, 28, 28, seed=5)
    data = npz(tmp_path / "a.npz", pixels, np.arange(12) % 5)
    found = validate(run.deployment, data=data, images=6, max_drop=1.0)
    assert (found.evaluation["images"], found.evaluation["labelled"]) == (6, True)
    assert "too few to judge" in found.judged_on()


def test_labels_beyond_the_oracles_outputs_are_refused(run: Folder, tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", structured_images(3, 28, 28, seed=5), np.array([0, 1, 7]))
    with pytest.raises(BadData):
        validate(run.deployment, data=data, images=0, max_drop=1.0)


def test_labels_beyond_the_outputs_are_refused_without_class_names_too(run: Folder, tmp_path: Path) -> None:
    manifest = read_manifest(run.path)
    write_manifest(replace(manifest, checkpoint={**manifest.checkpoint, "classes": None}), run.path)
    data = npz(tmp_path / "a.npz", structured_images(3, 28, 28, seed=5), np.array([0, 1, 7]))
    with pytest.raises(BadData, match="labels up to 7, the model 5 classes"):
        validate(run.deployment, data=data, images=0, max_drop=1.0)


def test_a_spoiled_artifact_that_the_manifest_vouches_for_still_fails_the_gate(run: Folder) -> None:
    # The control: the hash fits, the weights do not.
    model = open_deployment(run.deployment)
    with torch.no_grad():
        model.head.bias[0] += 0.01
    save_deployment(model, run.deployment)
    write_run(run.path)
    found = validate(run.deployment, data=None, images=0, max_drop=1.0)
    assert found.status == 4
    assert found.verdict.startswith("FAIL: ")
    assert "gate 100 dB" in found.verdict


def test_an_engine_that_cannot_run_here_is_skipped_with_status_3(run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = run.path / "fp16.rtx.plan"
    plan.write_bytes(b"plan")
    manifest = read_manifest(run.path)
    engine = replace(record("fp16-engine", "build", "fp16", plan, Format.RTX_PLAN), precision="fp16")
    write_manifest(replace(manifest, steps=(*manifest.steps, engine)), run.path)
    monkeypatch.setattr(
        "swin_deploy.backends.tensorrt.TensorRTBackend.unavailable", lambda self, artifact: "no NVIDIA GPU"
    )
    found = validate(plan, data=None, images=0, max_drop=1.0)
    assert (found.status, found.verdict) == (3, "SKIPPED: no NVIDIA GPU")
    (row,) = found.steps[1].rows
    assert (row.verdict, row.measurement) == (Verdict.SKIPPED, None)


def test_the_oracle_itself_is_shown_and_not_judged(run: Folder) -> None:
    found = validate(run.path / "reference.safetensors", data=None, images=0, max_drop=1.0)
    assert (found.status, len(found.steps)) == (0, 1)
    assert found.steps[0].rows[0].verdict is Verdict.INFO


# Dense tasks


def dense_folder(folder: Path, spec: SwinSpec, preprocess: Preprocess) -> Folder:
    folder.mkdir()
    save_reference(random_reference(spec), folder / "reference.safetensors")
    parent = Artifact("reference", folder / "reference.safetensors", Format.CHECKPOINT, Precision.FP32)
    Fold().run(parent, folder / "deployment.safetensors")
    return write_run(folder, spec.task, preprocess)


@pytest.fixture
def backbone(tmp_path: Path) -> Folder:
    return dense_folder(tmp_path / "run", small_spec("v1", task=Backbone((0, 1), norms=True)), PREPROCESS)


def test_a_backbone_is_judged_by_every_scale(backbone: Folder) -> None:
    found = validate(backbone.deployment, data=None, images=3, max_drop=1.0)
    assert (found.status, found.evaluation["images"], found.task) == (0, 3, "backbone")
    (row,) = found.steps[1].rows
    assert row.measurement is not None
    entry = row.measurement["oracle"]["2"]
    assert set(entry["by_output"]) == {"stage0", "stage1"}
    assert entry["sqnr_db"] == min(entry["by_output"].values()) > 100
    assert (entry["agreement"], row.measurement["task"]) == (None, None)
    assert [check["check"] for check in row.judgements] == ["finite", "sqnr"]


def test_one_spoiled_norm_of_a_backbone_fails_and_its_scale_is_named(backbone: Folder) -> None:
    model = open_deployment(backbone.deployment)
    with torch.no_grad():
        model.out_norms["0"].weight.mul_(1.001)
    save_deployment(model, backbone.deployment)
    write_run(backbone.path, small_spec("v1", task=Backbone((0, 1), norms=True)).task)
    found = validate(backbone.deployment, data=None, images=2, max_drop=1.0)
    assert found.status == 4
    assert "output stage0, gate 100 dB" in found.verdict


@pytest.fixture
def restoration(tmp_path: Path) -> Folder:
    stages = (StageSpec(2, 16, 2, (8, 8), 32),)
    spec = SwinSpec("v1", (16, 16), 1, 3, stages, Restoration(2, "pixelshuffledirect"), rule="restoration")
    plain = Preprocess(16, 16, "none", "bicubic", "pillow", (0.0,) * 3, (1.0,) * 3)
    return dense_folder(tmp_path / "run", spec, plain)


def picture_pairs(folder: Path, count: int) -> str:
    from PIL import Image

    for side in ("lr", "hr"):
        (folder / side).mkdir(parents=True)
    for index, picture in enumerate(structured_images(count, 40, 36, seed=3)):
        Image.fromarray(picture).save(folder / "hr" / f"{index}.png")
        Image.fromarray(picture[::2, ::2]).save(folder / "lr" / f"{index}.png")
    return str(folder)


def test_a_restoration_is_judged_by_psnr_y_against_the_oracle_and_with_pairs_against_the_pictures(
    restoration: Folder, tmp_path: Path
) -> None:
    alone = validate(restoration.deployment, data=None, images=3, max_drop=1.0)
    (row,) = alone.steps[1].rows
    assert (alone.status, row.measurement["task"]) == (0, None)
    assert row.measurement["oracle"]["2"]["psnr_y_db"] > 60
    found = validate(restoration.deployment, data=picture_pairs(tmp_path / "pairs", 6), images=0, max_drop=1.0)
    (row,) = found.steps[1].rows
    assert (found.status, found.judged_on()) == (0, "6 pairs of images, PSNR-Y margin 0.1 dB")
    task = row.measurement["task"]
    assert (task["images"], abs(task["drop"]) < 1e-3) == (6, True)
    assert "psnr-y-drop" in {check["check"] for check in row.judgements}


def test_a_restoration_that_loses_brightness_fails(restoration: Folder, tmp_path: Path) -> None:
    model = open_deployment(restoration.deployment)
    with torch.no_grad():
        for parameter in model.blocks[0].mlp.parameters():
            parameter.mul_(1.5)
    save_deployment(model, restoration.deployment)
    spec = open_reference(restoration.path / "reference.safetensors").spec
    write_run(
        restoration.path, spec.task, Preprocess.from_json(read_manifest(restoration.path).evaluation["preprocess"])
    )
    found = validate(restoration.deployment, data=picture_pairs(tmp_path / "pairs", 6), images=0, max_drop=1.0)
    assert found.status == 4


def test_the_margin_in_decibels_is_the_one_given(restoration: Folder, tmp_path: Path) -> None:
    data = picture_pairs(tmp_path / "pairs", 6)
    found = validate(restoration.deployment, data=data, images=0, max_drop=1.0, max_psnr_drop=0.25)
    assert "margin 0.25 dB" in str(found.steps[1].rows[0].judgements)
    assert found.recipe["max_psnr_drop"] == 0.25


def test_more_images_than_fit_are_refused_before_anything_is_run(
    restoration: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = read_manifest(restoration.path)
    write_manifest(replace(raw, evaluation={**raw.evaluation, "output_bytes": 1 << 28}), restoration.path)
    monkeypatch.setattr("swin_deploy.validation.run_session", lambda *args: pytest.fail("executed"))
    with pytest.raises(BadData, match="--images"):
        validate(restoration.deployment, data=None, images=50, max_drop=1.0)
