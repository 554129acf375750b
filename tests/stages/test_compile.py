"""Compile: a `.pt2` package that runs where this toolkit cannot be imported."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swin_deploy import torch_versions
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends import aot_inductor, torch_compile
from swin_deploy.backends.torch_eager import TorchEager
from swin_deploy.errors import Unavailable, UsageFault
from swin_deploy.model import network as network_module
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import save_deployment
from swin_deploy.model.network import Network, fused_network, open_network, without_fused_form
from swin_deploy.stages.compile import Compile
from swin_deploy.torch_versions import compile_package
from tests.chain import Chain, decibels, random_images
from tests.random_swin import random_reference, small_spec

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


def run_by_a_stranger(package: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", STRANGER, str(package), "images.npy", "logits.npz"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_package_runs_where_swin_deploy_cannot_be_imported(v1: Chain, tmp_path: Path) -> None:
    images = random_images(7)
    np.save(tmp_path / "images.npy", images)
    done = run_by_a_stranger(v1.artifact("compiled").path, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = v1.logits(images)
    with np.load(tmp_path / "logits.npz") as answers:
        for batch in (1, 2, 7):
            assert decibels(answers[str(batch)], wanted[:batch]) >= 100


@pytest.mark.skipif(torch.cuda.is_available(), reason="packages are compiled for the GPU here")
def test_on_a_cpu_weights_are_packed_for_onednn_and_threads_are_the_callers(v1: Chain) -> None:
    with zipfile.ZipFile(v1.artifact("compiled").path) as package:
        sources = [package.read(name).decode() for name in package.namelist() if name.endswith(".cpp")]
    code = "\n".join(sources)
    assert "aoti_torch_cpu__linear_pointwise" in code and "aoti_torch_cpu_addmm_out" not in code
    assert "#pragma omp parallel" in code and "num_threads(" not in code


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """One block, since every kernel takes the compiler its time."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_deployment(fold(random_reference(small_spec("v1", depths=(1,), heads=(2,)))), path)
    return Artifact("small", path, Format.DEPLOYMENT, Precision.FP32)


def test_a_package_of_the_fused_form_runs_there_too(small: Artifact, tmp_path: Path) -> None:
    # On a CPU, where its operators are PyTorch's own; tests/kernels/test_embedding.py looks at those of a GPU.
    network = fused_network(open_network(small))
    images = random_images(7)
    np.save(tmp_path / "images.npy", images)
    compile_package(network.program(7), tmp_path / "fused.pt2", network.outputs)
    done = run_by_a_stranger(tmp_path / "fused.pt2", tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    with TorchEager("cpu").open(small) as eager, np.load(tmp_path / "logits.npz") as answers:
        for batch in (1, 2, 7):
            assert decibels(answers[str(batch)], eager.infer(images[:batch])["logits"]) >= 100


@pytest.mark.parametrize(("fused", "note"), [(True, "fused, its kernels inside"), (False, "not fused: as asked")])
def test_on_a_gpu_the_fused_form_is_what_is_compiled(
    small: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool, note: str
) -> None:
    # The device is named and its work is left out: what is handed to the compiler shows which form it is.
    handed = []

    def take(program: Any, path: Path, outputs: tuple[str, ...]) -> None:
        handed.append(program)

    monkeypatch.setattr(aot_inductor, "torch_device", lambda: "cuda")
    monkeypatch.setattr(network_module, "open_network", lambda artifact, device: open_network(artifact))
    monkeypatch.setattr(torch_versions, "compile_package", take)
    produced = Compile(Precision.FP32, 4, fused).run(small, tmp_path / "out.pt2")
    assert produced.notes == ("bound to this torch version and to cuda devices", note)
    assert produced.facts == {"device": "cuda", "fused": fused}
    # The fused form alone has its windows in a table.
    assert any("positions" in name for name in handed[0].state_dict) is fused


def test_what_has_no_fused_form_is_compiled_as_it_is() -> None:
    own = Network(torch.nn.Identity(), ("output0",), (8, 8), 3, None)
    assert without_fused_form(own) == "there is no fused form of a network of one's own"
    another = replace(own, spec=small_spec("v1", attention="linformer"))
    assert "linformer" in (without_fused_form(another) or "")
    assert without_fused_form(replace(own, spec=small_spec("v1"))) is None


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
