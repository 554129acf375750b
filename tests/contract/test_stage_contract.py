"""What every stage promises, whatever it does. The stages that build engines have tests of their own (tests/stages)."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.stages.base import Produced
from tests.chain import Chain

NAMES = [
    "loaded", "deployment", "half.fp16", "half.bf16", "compiled", "exported", "simplified", "slimmed", "fp16", "bf16",
    "lowered", "lowered85", "qdq", "int8", "lowered.qdq", "lowered85.qdq", "qdq.fp8", "fp8", "captured",
    "captured.deployment", "captured.compiled", "captured.exported",
]  # fmt: skip
SUFFIXES = {
    Format.CHECKPOINT: ".safetensors",
    Format.DEPLOYMENT: ".safetensors",
    Format.CAPTURED: ".pt2",
    Format.AOTINDUCTOR: ".pt2",
    Format.ONNX: ".onnx",
}
# What else a stage leaves, for a later run and for people to read.
BESIDE = {
    "qdq": {"int8.calibration.npz", "int8.plan"},
    "qdq.fp8": {"fp8.calibration.npz", "fp8.plan"},
}
# Machine code, and archives of torch.export, which hold their own name and symbols numbered anew.
NOT_REPEATED = ("compiled", "captured", "captured.deployment", "captured.compiled")

IMPORTS = """
import importlib, sys

BLOCKED = {"torch", "onnx", "onnxruntime", "onnxsim", "onnxslim", "safetensors", "tensorrt", "tensorrt_rtx",
           "torch_tensorrt", "timm", "triton"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def modules(package: str) -> list[str]:
    folder = Path(__file__).parents[2] / "swin_deploy" / package
    return [f"swin_deploy.{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


@pytest.mark.parametrize("package", ["stages", "backends", "onnx_graph"])
def test_modules_can_be_imported_with_no_heavy_package_installed(package: str) -> None:
    command = [sys.executable, "-c", IMPORTS, *modules(package)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_recipe_of_the_chain_is_under_contract(chain: Chain) -> None:
    assert list(chain.recipes) == NAMES


@pytest.mark.parametrize("name", NAMES)
class TestStage:
    """One stage with its parent's artifact."""

    def test_it_is_a_frozen_dataclass_that_compares_by_its_fields(self, v1: Chain, name: str) -> None:
        stage, _ = v1.recipes[name]
        assert dataclasses.is_dataclass(stage)
        with pytest.raises(dataclasses.FrozenInstanceError):
            stage.name = "other"
        assert dataclasses.replace(stage) == stage
        assert hash(dataclasses.replace(stage)) == hash(stage)
        assert dataclasses.replace(stage, name="other") != stage

    def test_its_name_is_the_name_of_its_file(self, v1: Chain, name: str) -> None:
        stage, _ = v1.recipes[name]
        assert type(stage).__module__ == f"swin_deploy.stages.{stage.name}"
        assert importlib.import_module(type(stage).__module__).__all__[-1] == type(stage).__name__

    def test_it_accepts_its_parent_and_says_what_it_makes(self, v1: Chain, name: str) -> None:
        stage, parent = v1.recipes[name]
        assert isinstance(stage.accepts, frozenset)
        assert stage.accepts
        for kind, precision in (*stage.accepts, stage.produces):
            assert isinstance(kind, Format)
            assert isinstance(precision, Precision)
        artifact = v1.artifact(parent)
        assert (artifact.format, artifact.precision) in stage.accepts
        assert stage.suffix == SUFFIXES[stage.produces[0]]

    def test_its_tools_are_names_and_versions(self, v1: Chain, name: str) -> None:
        tools = v1.recipes[name][0].tools()
        assert "swin-deploy" in tools
        assert len(tools) > 1
        for tool, version in tools.items():
            assert isinstance(tool, str)
            assert isinstance(version, str)
            assert version
        assert v1.recipes[name][0].tools() == tools

    def test_it_says_why_it_is_unavailable_or_nothing(self, v1: Chain, name: str) -> None:
        reason = v1.recipes[name][0].unavailable()
        assert reason is None or (isinstance(reason, str) and reason)

    def test_its_facts_are_json_and_its_notes_are_sentences(self, v1: Chain, name: str) -> None:
        produced = v1.produced(name)
        assert isinstance(produced, Produced)
        # allow_nan: a manifest with NaN in it is no JSON.
        assert json.loads(json.dumps(produced.facts, allow_nan=False)) == produced.facts
        assert isinstance(produced.notes, tuple)
        assert all(isinstance(note, str) and note for note in produced.notes)

    def test_it_tells_no_path_of_this_machine(self, v1: Chain, name: str) -> None:
        produced = v1.produced(name)
        said = json.dumps([produced.facts, produced.notes])
        assert str(v1.folder) not in said
        assert str(Path.cwd()) not in said

    def test_it_writes_the_file_asked_for_and_nothing_unknown_beside_it(self, v1: Chain, name: str) -> None:
        artifact = v1.artifact(name)
        wanted = {name + v1.recipes[name][0].suffix, *BESIDE.get(name, ())}
        assert {path.name for path in artifact.path.parent.iterdir()} == wanted
        assert artifact.path.stat().st_size > 0

    def test_nothing_that_was_made_of_it_has_changed_it(self, v1: Chain, name: str) -> None:
        path = v1.artifact(name).path
        assert file_sha256(path) == v1.sha256[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_REPEATED])
def test_a_second_run_gives_the_same_file_and_the_same_facts(v1: Chain, name: str, tmp_path: Path) -> None:
    stage, parent = v1.recipes[name]
    first = v1.produced(name)
    before = {path: file_sha256(path) for path in v1.artifact(parent).path.parent.iterdir()}
    out = tmp_path / ("again" + stage.suffix)
    again = stage.run(v1.artifact(parent), out)
    assert again == first
    assert file_sha256(out) == v1.sha256[name]
    assert {path.name for path in tmp_path.iterdir()} == {out.name, *BESIDE.get(name, ())}
    for other in BESIDE.get(name, ()):
        assert file_sha256(tmp_path / other) == file_sha256(v1.artifact(name).path.with_name(other))
    assert {path: file_sha256(path) for path in v1.artifact(parent).path.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["deployment", "half.fp16", "exported", "captured.deployment"])
def test_a_damaged_parent_is_bad_input_and_leaves_nothing(v1: Chain, name: str, tmp_path: Path) -> None:
    from swin_deploy.errors import BadInput

    stage, parent_name = v1.recipes[name]
    parent = v1.artifact(parent_name)
    damaged = tmp_path / ("damaged" + parent.path.suffix)
    damaged.write_bytes(parent.path.read_bytes()[:-100])
    with pytest.raises(BadInput):
        stage.run(Artifact("damaged", damaged, parent.format, parent.precision), tmp_path / ("out" + stage.suffix))
    assert [path.name for path in tmp_path.iterdir()] == [damaged.name]
