"""Quantize an ONNX graph with another tool, in a child process of its own, and check that it did what was asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.child import Job
from benchmarks.peers.same_scope import departures, give_back

__all__ = ["MODEL_OPTIMIZER_ENVIRONMENT", "PEERS", "PeerFailed", "PeerResult", "PeerUnavailable", "quantize_with"]

_OWN = "ours:"
_ROOT = Path(__file__).resolve().parents[2]
MODEL_OPTIMIZER_ENVIRONMENT = _ROOT / ".venv-modelopt"


@dataclass(frozen=True)
class Peer:
    """One row of the comparison.

    Attributes:
        module: The child, in this folder.
        method: The tool's own name of the calibration method.
    """

    module: str
    method: str


PEERS: Mapping[str, Peer] = {
    "onnxruntime-minmax": Peer("onnxruntime_static", "MinMax"),
    "onnxruntime-percentile": Peer("onnxruntime_static", "Percentile"),
    "onnxruntime-entropy": Peer("onnxruntime_static", "Entropy"),
    "modelopt-max": Peer("model_optimizer", "max"),
    "modelopt-entropy": Peer("model_optimizer", "entropy"),
}


@dataclass(frozen=True)
class PeerResult:
    """What a peer needed.

    Attributes:
        seconds: Calibration and quantization, from the images on disk to the ONNX file.
        cpu_seconds: The same of all cores together, which other work on the machine disturbs less.
        peak_mib: The most memory that the child ever had resident (VmHWM).
        import_seconds: Importing the tool; not part of `seconds`.
        import_mib: The same when the tool had been imported.
        versions: Packages of the child that computed.
        settings: What it was told, and what it chose itself.
        wider: Nodes beyond the matmuls that the tool made read INT8, too; in the agreed file they read FP32.
        as_left: The tool's own file, where `wider` is not empty.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    import_seconds: float
    import_mib: float
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    wider: tuple[str, ...] = ()
    as_left: Path | None = None


class PeerUnavailable(Exception):
    """The tool or its environment is not here: the row is SKIPPED, with this reason."""


class PeerFailed(Exception):
    """The tool is here, and broke or quantized something else than it was asked to."""


def quantize_with(
    peer: str,
    graph: Path,
    calibration: Path,
    matmuls: Sequence[str],
    out: Path,
    *,
    environment: Path | None = None,
    batch: int = 32,
    limit_s: float = 3600,
) -> PeerResult:
    """Quantize `graph` to `out` with a tool's own calibration.

    Args:
        peer: A key of `PEERS`, or `ours:` with a range method and tools, e.g. `ours:output+balance+bias`.
        graph: The FP32 ONNX file, its batch axis free.
        calibration: `.npy`, float32 [N, 3, H, W].
        matmuls: Names of the MatMul nodes to quantize, all of them and no other.
        out: The quantized file; written only if it is as agreed, see `departures`. Where the tool rounded for other
            readers of the matmuls' inputs as well, this file has that undone, and `*.as-left.onnx` beside it has not.
        environment: Folder of the virtual environment with Model Optimizer, `MODEL_OPTIMIZER_ENVIRONMENT` by default.
            ONNX Runtime is this interpreter's.
        batch: Images a calibration step, at most; the largest divisor of N counts, since ONNX Runtime's histograms
            refuse a smaller last batch.
        limit_s: Seconds after which the child is ended.

    Raises:
        PeerUnavailable: the tool or its environment is not here.
        PeerFailed: it broke, took too long, or left a graph that cannot be compared.
    """
    import onnx

    own = peer.startswith(_OWN)
    chosen = Peer("ours", peer.removeprefix(_OWN)) if own else PEERS[peer]
    python = _interpreter(chosen, environment)
    images = len(np.load(calibration, mmap_mode="r"))
    if not images:
        raise PeerFailed(f"{calibration} holds no images, and Model Optimizer would calibrate on random numbers")
    step = max(size for size in range(1, min(batch, images) + 1) if images % size == 0)
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        place = Path(folder)
        copy, left, task, report = (place / name for name in ("graph.onnx", "left.onnx", "job.json", "report.json"))
        shutil.copy(graph, copy)
        names = tuple(matmuls)
        Job(str(copy), str(calibration.resolve()), names, str(left), chosen.method, step).write(task)
        command = [str(python), "-m", f"benchmarks.peers.{chosen.module}", str(task), str(report)]
        surroundings = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        try:
            done = subprocess.run(
                command,
                cwd=_ROOT,
                env={**surroundings, "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PeerFailed(f"{peer} had not finished after {limit_s:g} s") from error
        if done.returncode or not report.exists():
            last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "and said nothing")
            raise PeerFailed(f"{peer} ended with status {done.returncode}: {last}")
        answer = json.loads(report.read_text(encoding="utf-8"))
        if "unavailable" in answer:
            raise PeerUnavailable(f"{python} cannot import it: {answer['unavailable']}")
        model = onnx.load(left)
        # Ours has other LayerNorm scales, and audits itself.
        wider = () if own else give_back(model, names)
        wrong = () if own else departures(model, onnx.load(graph), names)
        if wrong:
            raise PeerFailed(f"{peer} left a graph of another scope: {'; '.join(wrong[:3])} ({len(wrong)} in all)")
        as_left = out.with_suffix(".as-left.onnx") if wider else None
        if as_left:
            shutil.move(left, as_left)
        onnx.save(model, out)
    return PeerResult(**answer, wider=tuple(wider), as_left=as_left)


def _interpreter(peer: Peer, environment: Path | None) -> Path:
    if peer.module != "model_optimizer":
        return Path(sys.executable)
    python = (environment or MODEL_OPTIMIZER_ENVIRONMENT).absolute() / "bin" / "python"
    if not python.exists():
        raise PeerUnavailable(
            f"{python} does not exist; make the environment with benchmarks/modelopt-requirements.txt"
        )
    return python
