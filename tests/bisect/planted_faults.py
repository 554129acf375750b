"""A finished run of a tiny Swin, with faults planted in its graphs: which FP32 does not see, and low precision does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from swin_deploy.artifact import Artifact
from swin_deploy.atomic import file_sha256
from swin_deploy.manifest import Manifest, StepRecord, write_manifest
from tests.chain import PREPROCESS, Chain

__all__ = ["Plant", "broken_step", "huge_weight", "loud_embedding", "loud_norm", "loud_values", "nan_weight", "run_of"]

Plant = Callable[[ModelProto], None]
_FILES = {"reference": "reference.safetensors", "simplified": "fp32.onnx", "qdq": "int8.qdq.onnx", "int8": "int8.onnx"}
_NAMES = {"simplified": "fp32", "qdq": "int8-qdq"}


def run_of(chain: Chain, folder: Path, *, fp32: Iterable[Plant] = (), int8: Iterable[Plant] = ()) -> Path:
    """A run's folder: the oracle is sound, and the FP32 and the Q/DQ graph have the faults."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for name, file in _FILES.items():
        artifact, path = chain.artifact(name), folder / file
        shutil.copyfile(artifact.path, path)
        for plant in {"simplified": fp32, "qdq": int8}.get(name, ()):
            model = onnx.load(path)
            plant(model)
            onnx.save(model, path)
        records.append(_record(_NAMES.get(name, name), artifact, path))
    evaluation = {
        "kind": "synthetic",
        "task": {"kind": "classifier", "classes": 5},
        "output_bytes": 20,
        "preprocess": PREPROCESS.to_json(),
    }
    recipe = {"batch": [1, 2, 4], "seed": 0, "eval_data": None, "placement": "linears", "int8": True, "fp8": False}
    checkpoint = {"file": "tiny.safetensors", "sha256": "1", "classes": None}
    write_manifest(Manifest(recipe, "onnxruntime", {}, checkpoint, evaluation, tuple(records), 0, "PASS"), folder)
    return folder


def _record(name: str, artifact: Artifact, path: Path) -> StepRecord:
    return StepRecord(
        artifact=name,
        stage="planted",
        parent="fp32",
        config={},
        tools={},
        key="",
        file=path.name,
        format=artifact.format.value,
        precision=artifact.precision.value,
        sha256=file_sha256(path),
    )


def _change(model: ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    values = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def _scaled(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: values * np.float32(factor)


def loud_values(block: int, power: int = 17) -> Plant:
    """An attention's values times 2^power, its projection's weights over it: FP16 has the weights, not the values."""

    def values(array: np.ndarray) -> np.ndarray:
        first = 2 * array.shape[-1] // 3
        array[..., first:] *= np.float32(2.0**power)
        return array

    def plant(model: ModelProto) -> None:
        attention = f"blocks.{block}.attn"
        _change(model, f"{attention}.qkv.weight", values)
        _change(model, f"{attention}.qkv.bias", values)
        _change(model, f"{attention}.proj.weight", _scaled(2.0**-power))

    return plant


def loud_embedding(power: int = 16) -> Plant:
    """Patches embedded 2^power times as large, which the norm behind them takes away."""

    def plant(model: ModelProto) -> None:
        _change(model, "patch_embed.proj.weight", _scaled(2.0**power))
        _change(model, "patch_embed.proj.bias", _scaled(2.0**power))

    return plant


def loud_norm(power: int = 15) -> Plant:
    """The last norm 2^power times as large and the head's weights over it: the border between both overflows."""

    def plant(model: ModelProto) -> None:
        _change(model, "norm.weight", _scaled(2.0**power))
        _change(model, "norm.bias", _scaled(2.0**power))
        _change(model, "head.weight", _scaled(2.0**-power))

    return plant


def huge_weight(power: int = 22) -> Plant:
    """The head's weights 2^power times as large, beyond FP16, and the last norm so much smaller."""
    return loud_norm(-power)


def nan_weight(block: int) -> Plant:
    """A weight that is no number."""

    def spoil(array: np.ndarray) -> np.ndarray:
        array[0, 0] = np.nan
        return array

    return lambda model: _change(model, f"blocks.{block}.mlp.0.weight", spoil)


def broken_step(block: int, factor: float = 1000.0) -> Plant:
    """The step of the codes that enter an MLP, wrong by a factor."""
    return lambda model: _change(model, f"blocks.{block}.mlp.0.input.scale", _scaled(factor))
