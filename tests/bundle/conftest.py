"""A finished run of a tiny Swin, put together from its artifacts, and the bundles that are packed of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib.synthetic import structured_images
from swin_deploy.atomic import file_sha256
from swin_deploy.bundle.pack import PackOptions, pack
from swin_deploy.bundle.unpack import unpacked
from swin_deploy.checkpoint.task import Classifier, task_to_json
from swin_deploy.manifest import Manifest, StepRecord, write_manifest
from tests.chain import PREPROCESS, Chain, one_thread, v1, v2

__all__ = ["bundled", "one_thread", "packed", "run", "v1", "v2", "write_run"]

BATCH = (1, 2, 4)
CLASSES = ("owl", "ant", "cow", "bee", "elk")
# Artifact and file of a run, and the name that the chain has for it.
_FILES = {
    "reference": ("reference.safetensors", "reference"),
    "fp32": ("fp32.onnx", "simplified"),
    "fp16": ("fp16.onnx", "fp16"),
    "bf16": ("bf16.onnx", "bf16"),
    "int8-qdq": ("int8.qdq.onnx", "qdq"),
    "int8": ("int8.onnx", "int8"),
}


def write_run(folder: Path, chain: Chain, names: tuple[str, ...], **changes: Any) -> Path:
    """A run's folder with these artifacts and four evaluation images; keyword arguments replace manifest fields."""
    folder.mkdir(parents=True)
    steps = []
    for name in ("reference", *names):
        file, made = _FILES[name]
        artifact = chain.artifact(made)
        shutil.copy(artifact.path, folder / file)
        digest = file_sha256(folder / file)
        record = StepRecord(
            name, "made", "checkpoint", {}, {}, "key", file, artifact.format.value, artifact.precision.value, digest
        )
        steps.append(record)
    images = folder / "eval.npz"
    np.savez(images, images=structured_images(4, 28, 28, seed=7), labels=np.arange(4))
    evaluation = {
        "kind": "images", "source": str(images), "images": 4, "labelled": True, "pictures": False, "remark": "",
        "task": task_to_json(Classifier(5)), "output_bytes": 20, "fingerprint": "0",
        "preprocess": PREPROCESS.to_json(),
    }  # fmt: skip
    facts: dict[str, Any] = {
        "recipe": {"batch": list(BATCH), "seed": 0, "eval_data": str(images), "max_drop": 1.0, "max_psnr_drop": 0.1},
        "target": "onnxruntime",
        "machine": {},
        "checkpoint": {"file": "tiny.v1.pth", "sha256": "1", "sidecar_sha256": None, "classes": list(CLASSES)},
        "evaluation": evaluation,
        "steps": tuple(steps),
        "status": 0,
        "verdict": "PASS",
        **changes,
    }
    write_manifest(Manifest(**facts), folder)
    return folder


@pytest.fixture(scope="session")
def run(v1: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FP32, FP16, BF16 and INT8."""
    return write_run(tmp_path_factory.mktemp("packed") / "run", v1, ("fp32", "fp16", "bf16", "int8-qdq", "int8"))


@pytest.fixture(scope="session")
def packed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The archive for a target, with all that the run has, packed once."""
    folder = tmp_path_factory.mktemp("archives")

    def archive(target: str) -> Path:
        out = folder / f"{target}.tar"
        if not out.exists():
            pack(run, out, PackOptions(target), lambda text: None)
        return out

    return archive


@pytest.fixture
def bundled(packed: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A fresh folder of the bundle for a target."""
    return lambda target: unpacked(packed(target), tmp_path / target)
