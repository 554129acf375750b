"""Tiny random Swins and every file that the stages make of them, each made once a session.

The architecture is the smallest that still has everything: stage 0 has four windows and a shifted block, stage 1 is a
single window. A folder of tests that needs them imports the fixtures in its conftest.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from safetensors.torch import save_file

from calib.images import ImageSet, open_images
from calib.preprocess import Preprocess
from calib.synthetic import structured_images
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.model.forms import open_deployment, open_reference, save_reference
from swin_deploy.model.reference import ReferenceSwin
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.solve import Settings
from swin_deploy.stages.base import Produced, Stage
from swin_deploy.stages.capture import Capture
from swin_deploy.stages.cast import Cast
from swin_deploy.stages.compile import Compile
from swin_deploy.stages.constants import Constants
from swin_deploy.stages.export import Export
from swin_deploy.stages.fold import Fold
from swin_deploy.stages.half import Half
from swin_deploy.stages.lower import Lower
from swin_deploy.stages.quantize import Quantize
from swin_deploy.stages.simplify import Simplify
from tests.own_networks import made, plain
from tests.random_swin import random_reference, small_spec, timm_state

__all__ = ["PREPROCESS", "Chain", "Family", "chain", "decibels", "one_thread", "random_images", "v1", "v2"]

Family = Literal["v1", "v2"]
Images = npt.NDArray[np.float32]

PREPROCESS = Preprocess(28, 28, "squash", "bilinear", "torch", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CALIBRATION_IMAGES = 24
_LARGEST_BATCH = 33


def random_images(count: int, seed: int = 1) -> Images:
    """Network inputs [count, 3, 28, 28] of structured images."""
    return PREPROCESS.batch(structured_images(count, 28, 28, seed=seed))


def decibels(got: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """Signal to noise of `got` against `wanted`."""
    assert got.shape == wanted.shape
    wide = wanted.astype(np.float64)
    noise = float(np.square(got.astype(np.float64) - wide).sum())
    return float("inf") if noise == 0 else float(10 * np.log10(np.square(wide).sum() / noise))


class Chain:
    """One tiny model and its artifacts, made when they are first asked for, each in a folder of its own.

    Args:
        family: `v1` or `v2`.
        folder: Where the files go.
    """

    def __init__(self, family: Family, folder: Path) -> None:
        self.family, self.folder = family, folder
        self.spec = small_spec(family)
        model = random_reference(self.spec)
        source = self._place("source", ".safetensors")
        _write_timm(model, source)
        path = self._place("reference", ".safetensors")
        save_reference(model, path)
        own = self._place("own", ".safetensors")
        save_file(made(plain).state_dict(), own)
        self._made = {
            "own": Artifact("own", own, Format.SOURCE, Precision.FP32),
            "source": Artifact("source", source, Format.SOURCE, Precision.FP32),
            "reference": Artifact("reference", path, Format.CHECKPOINT, Precision.FP32),
        }
        self._produced: dict[str, Produced] = {}
        self.sha256: dict[str, str] = {}
        images = folder / "calibration.npz"
        np.savez(images, images=structured_images(_CALIBRATION_IMAGES, 28, 28, seed=3))
        self.images: ImageSet = open_images(images)
        self.calibration = Calibration(self.images, PREPROCESS, len(self.images), None)

    @functools.cached_property
    def recipes(self) -> Mapping[str, tuple[Stage, str]]:
        """Each artifact's stage and parent."""
        p = Precision
        from swin_deploy.stages.load import Load

        return {
            "loaded": (Load(), "source"),
            "deployment": (Fold(), "reference"),
            "half.fp16": (Half(p.FP16), "deployment"),
            "half.bf16": (Half(p.BF16), "deployment"),
            "compiled": (Compile(p.FP32, _LARGEST_BATCH), "deployment"),
            "exported": (Export(_LARGEST_BATCH), "deployment"),
            "simplified": (Simplify(), "exported"),
            "slimmed": (Simplify(simplifiers=("onnxslim",)), "exported"),
            "fp16": (Cast(p.FP16), "simplified"),
            "bf16": (Cast(p.BF16), "simplified"),
            "lowered": (Lower(p.FP32, "trt86"), "simplified"),
            "lowered85": (Lower(p.FP32, "trt85"), "simplified"),
            "qdq": (Quantize(self.calibration, preprocess=PREPROCESS), "simplified"),
            "int8": (Cast(p.INT8), "qdq"),
            "lowered.qdq": (Lower(p.INT8, "trt86"), "qdq"),
            "lowered85.qdq": (Lower(p.INT8, "trt85"), "qdq"),
            "qdq.fp8": (Quantize(self.calibration, Settings("fp8"), preprocess=PREPROCESS), "simplified"),
            "fp8": (Cast(p.FP8), "qdq.fp8"),
            # The same of a network that is not ours.
            "captured": (Capture("tests.own_networks:plain", (28, 28), _LARGEST_BATCH), "own"),
            "captured.deployment": (Constants(_LARGEST_BATCH), "captured"),
            "captured.compiled": (Compile(p.FP32, _LARGEST_BATCH), "captured.deployment"),
            "captured.exported": (Export(_LARGEST_BATCH), "captured.deployment"),
        }

    def artifact(self, name: str) -> Artifact:
        """The artifact of that name, with all that comes before it."""
        if name not in self._made:
            stage, parent_name = self.recipes[name]
            parent = self.artifact(parent_name)
            out = self._place(name, stage.suffix)
            self._produced[name] = stage.run(parent, out)
            self._made[name] = Artifact(name, out, *stage.produces, parent_name)
            self.sha256[name] = file_sha256(out)
        return self._made[name]

    def produced(self, name: str) -> Produced:
        """What the stage said of it."""
        self.artifact(name)
        return self._produced[name]

    def model(self, name: str) -> onnx.ModelProto:
        """An ONNX artifact, read afresh."""
        return onnx.load(self.artifact(name).path)

    def reference(self) -> Any:
        """The paper form."""
        return open_reference(self.artifact("reference").path)

    def deployment(self, name: str = "deployment") -> Any:
        """The deployment form."""
        return open_deployment(self.artifact(name).path)

    def logits(self, images: Images, name: str = "deployment") -> Images:
        """The deployment form's eager answer, [B, classes]."""
        with torch.inference_mode():
            return cast(Images, self.deployment(name)(torch.from_numpy(images)).numpy())

    def _place(self, name: str, suffix: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder / (name + suffix)


def _write_timm(model: ReferenceSwin, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in timm_state(model).items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"arguments": {"img_size": 28, "window_size": 7}}))


@functools.cache
def _chain_in(base: Path, family: Family) -> Chain:
    # The conftest of each folder has its own copy of the fixtures; the cache makes them share one chain.
    return Chain(family, base / f"chain-{family}")


@pytest.fixture(scope="session")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Swin V1."""
    return _chain_in(tmp_path_factory.getbasetemp(), "v1")


@pytest.fixture(scope="session")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Swin V2."""
    return _chain_in(tmp_path_factory.getbasetemp(), "v2")


@pytest.fixture(scope="session", params=["v1", "v2"])
def chain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Both families, one after the other."""
    return _chain_in(tmp_path_factory.getbasetemp(), request.param)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread for tiny models: more only wait for one another."""
    torch.set_num_threads(1)
