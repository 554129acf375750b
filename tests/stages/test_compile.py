"""Compile: a `.pt2` package that runs where this toolkit cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swin_deploy.artifact import Precision
from swin_deploy.backends import torch_compile
from swin_deploy.errors import Unavailable, UsageFault
from swin_deploy.stages.compile import Compile
from tests.chain import Chain, decibels, random_images

# Isolated: no current folder and no PYTHONPATH, and whatever is installed of ours is blocked as well.
STRANGER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("swin_deploy", "calib", "cli"):
            raise ModuleNotFoundError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import swin_deploy
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the blocker does not block")

import numpy, torch, torch._inductor
torch.set_num_threads(1)
package, images, out = sys.argv[1:]
run = torch._inductor.aoti_load_package(package)
images = torch.from_numpy(numpy.load(images))
with torch.inference_mode():
    numpy.savez(out, **{str(batch): run(images[:batch]).numpy() for batch in (1, 2, 7)})
assert not any(name.split(".")[0] in ("swin_deploy", "calib", "cli") for name in sys.modules)
"""


def test_the_package_runs_where_swin_deploy_cannot_be_imported(v1: Chain, tmp_path: Path) -> None:
    images = random_images(7)
    np.save(tmp_path / "images.npy", images)
    package = v1.artifact("compiled").path
    command = [sys.executable, "-I", "-c", STRANGER, str(package), "images.npy", "logits.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = v1.logits(images)
    with np.load(tmp_path / "logits.npz") as answers:
        for batch in (1, 2, 7):
            assert decibels(answers[str(batch)], wanted[:batch]) >= 100


def test_the_reader_is_told_what_the_package_is_bound_to(v1: Chain) -> None:
    produced = v1.produced("compiled")
    device = produced.facts["device"]
    assert device in ("cpu", "cuda")
    assert produced.notes == (f"bound to this torch version and to {device} devices",)


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one empty folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def executable(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_without_a_compiler_the_stage_is_unavailable_and_names_the_package(no_tools: Path) -> None:
    reason = Compile(Precision.FP32, 8).unavailable()
    assert reason is not None
    assert "install the package g++" in reason


@pytest.mark.parametrize("name", ["gcc", "clang++", "c++"])
def test_a_compiler_that_inductor_does_not_look_for_is_none(no_tools: Path, name: str) -> None:
    executable(no_tools / name)
    assert torch_compile.no_cpp_compiler() is not None


def test_with_a_compiler_the_stage_is_available(no_tools: Path) -> None:
    executable(no_tools / "g++")
    assert Compile(Precision.FP32, 8).unavailable() is None


def test_running_it_without_a_compiler_names_the_package_and_writes_nothing(v1: Chain, no_tools: Path) -> None:
    out = no_tools / "out.pt2"
    with pytest.raises(Unavailable, match=r"g\+\+"):
        Compile(Precision.FP32, 8).run(v1.artifact("deployment"), out)
    assert not out.exists()


def test_what_cannot_be_compiled_is_refused_on_construction() -> None:
    with pytest.raises(UsageFault, match="INT8"):
        Compile(Precision.INT8, 8)
    with pytest.raises(UsageFault, match="largest batch of 0"):
        Compile(Precision.FP32, 0)
