"""A bundle that needs neither torch nor onnx, and a board with an imitated TensorRT and GPU that runs its runner.py.

The network's outputs are the sum and the largest value of each image, which is what the imitated engine computes. The
runner runs as it does on a device: as a process, from the code in the bundle, under any Python from 3.8 on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from toy_program import write_toy

from swin_deploy.artifact import Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.bundle.closure import import_closure
from swin_deploy.device.bundle_file import BUNDLE_FILE, Bundle, BundleEngine, BundleProgram, FileFacts, Limits
from swin_deploy.device.closeness import Closeness

ROOT = Path(__file__).resolve().parents[2]
GATE = Closeness(sqnr_db=50.0, dense_db=50.0, agreement=0.98, psnr_y_db=58.92)
BATCHES = (1, 2, 4)
PROFILES = {"8.5.3.1": "trt85", "8.6.1": "trt86", "10.3.0": "strong", "11.4.0.106": "strong"}

# What is acted out, by name; `images` is [B, 3, 4, 4].
COMPUTES = {
    "sound": "np.stack([flat.sum(axis=1), flat.max(axis=1)], axis=1)",
    "swapped": "np.stack([flat.sum(axis=1), flat.max(axis=1)], axis=1)[::-1]",
    "first": "np.repeat(np.array([[flat[0].sum(), flat[0].max()]]), len(flat), axis=0)",
    "broken": "np.full((len(flat), 2), np.nan)",
}

_TENSORRT = """\
import sys

import numpy as np

sys.path.append({helpers!r})
import tensorrt_fakes
from sitecustomize import driver

if {listing!r}:
    tensorrt_fakes.LISTING = {listing!r}


def computes(images):
    flat = images.reshape(len(images), -1)
    return {{"sums": {computes}}}


sys.modules[__name__] = tensorrt_fakes.fake_tensorrt(
    {version!r}, driver=driver, outputs=("sums",), computes=computes, **{behaviour!r}
)
"""
_SITE = """\
import ctypes
import sys

sys.path.append({helpers!r})
from launching_driver import LaunchingDriver, numpy_kernels

driver = LaunchingDriver({capability!r}, multiprocessors={multiprocessors!r}, carry_out=numpy_kernels({kernels!r}))
_CDLL = ctypes.CDLL
ctypes.CDLL = lambda name, *more, **options: driver if "cuda" in str(name) else _CDLL(name, *more, **options)
"""


def images(count: int = 4, seed: int = 0) -> np.ndarray:
    """[count, 3, 4, 4], all different; sums of about count * 10, so that outputs are far apart."""
    noise = np.random.default_rng(seed).standard_normal((count, 3, 4, 4))
    return (noise + np.arange(count).reshape(-1, 1, 1, 1)).astype(np.float32)


def oracle(of: np.ndarray) -> dict[str, np.ndarray]:
    """The right answers."""
    flat = of.reshape(len(of), -1)
    return {"sums": np.stack([flat.sum(axis=1), flat.max(axis=1)], axis=1).astype(np.float32)}


def write_bundle(
    folder: Path,
    *,
    profile: str = "strong",
    given: np.ndarray | None = None,
    triton: str | None = None,
    kernels: str | None = None,
    **changes: Any,
) -> Bundle:
    """A bundle with one FP16 engine in `folder`; keyword arguments replace fields of `Bundle`.

    With `kernels`, a compute capability, it has a kernel program for that too.
    """
    shown = images() if given is None else given
    (folder / "fixtures").mkdir(parents=True)
    np.save(folder / "fixtures/images.npy", shown)
    np.save(folder / "fixtures/oracle-0.npy", oracle(shown)["sums"])
    (folder / "model.onnx").write_bytes(b"a graph")
    for file in import_closure():
        place = folder / "lib" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, place)
    shutil.copy(ROOT / "swin_deploy/device/runner.py", folder)
    programs = ()
    if kernels is not None:
        write_toy(folder / "kernels/fp16", capability=kernels)
        programs = (BundleProgram("kernels-fp16", Precision.FP16, "kernels/fp16", GATE),)
    engine = BundleEngine(
        name="fp16",
        precision=Precision.FP16,
        profile=profile,
        onnx="model.onnx",
        engine_gate=GATE,
        graph_gate=GATE,
        asked={"linears": 1, "attentions": 0, "fp32_products": 0},
        activation_mib=1,
        triton=triton,
    )
    facts: dict[str, Any] = {
        "name": "sums",
        "target": "orin",
        "packages": ("tensorrt",),
        "model": {"task": "classifier", "architecture": "", "image": [3, 4, 4]},
        "batches": BATCHES,
        "engines": (engine,),
        "images": "fixtures/images.npy",
        "oracle": {"sums": "fixtures/oracle-0.npy"},
        "image_source": "4 made-up images",
        "labels": None,
        "limits": Limits(256, 512, 60.0),
        "made_by": "a test",
        "programs": programs,
        "files": files_of(folder),
        **changes,
    }
    bundle = Bundle(**facts)
    (folder / BUNDLE_FILE).write_text(json.dumps(bundle.facts(), indent=1))
    return bundle


def files_of(folder: Path) -> dict[str, FileFacts]:
    """Hashes of everything below `folder`."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != BUNDLE_FILE)
    return {
        path.relative_to(folder).as_posix(): FileFacts(file_sha256(path), path.stat().st_size)
        for path in found
        if "finished" not in path.parts
    }


def rehash(folder: Path) -> None:
    """Make `bundle.json` fit the files, as whoever damages a bundle on purpose would."""
    raw = json.loads((folder / BUNDLE_FILE).read_text())
    raw["files"] = {name: dict(facts.__dict__) for name, facts in files_of(folder).items()}
    (folder / BUNDLE_FILE).write_text(json.dumps(raw))


@dataclass(frozen=True)
class Board:
    """Where the runner runs.

    Attributes:
        site: Folder of the imitations, made by `make`.
        python: The interpreter.
    """

    site: Path
    python: str = sys.executable

    @classmethod
    def make(
        cls,
        site: Path,
        version: str,
        *,
        python: str = sys.executable,
        computes: str = "sound",
        capability: str = "8.7",
        multiprocessors: int = 28,
        listing: str = "",
        kernels: str = "sound",
        **behaviour: Any,
    ) -> Board:
        """A board with TensorRT `version`; see `fake_tensorrt` for its behaviour, `numpy_kernels` for the kernels'."""
        site.mkdir(exist_ok=True)
        helpers = str(Path(__file__).parent)
        text = _TENSORRT.format(
            helpers=helpers, computes=COMPUTES[computes], version=version, behaviour=behaviour, listing=listing
        )
        (site / "tensorrt.py").write_text(text)
        site_text = _SITE.format(
            helpers=helpers, capability=capability, multiprocessors=multiprocessors, kernels=kernels
        )
        (site / "sitecustomize.py").write_text(site_text)
        return cls(site, python)

    def run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python runner.py ...`, with nothing of this project on the path but what the bundle holds."""
        environment = {**os.environ, "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [self.python, str(folder / "runner.py"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder.parent,
            env=environment,
        )


def oldest_python() -> str | None:
    """A Python 3.8 with NumPy, if there is one."""
    named = shutil.which("python3.8")
    made = ROOT / ".venv-python38/bin/python"  # by .ci/run
    candidates = [name for name in (str(made), named) if name and Path(name).is_file()]
    # A virtual environment on the path has it under the plain name.
    candidates += [found for name in ("python", "python3") if (found := shutil.which(name))]
    code = "import sys, numpy; sys.exit(sys.version_info[:2] != (3, 8))"
    for python in candidates:
        if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0:
            return python
    return None
