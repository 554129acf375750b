"""What the children have in common: read a job, time the imports and the work apart, report seconds and peak memory.

Standard library alone, since one of them runs in an environment without swin-deploy. A child is started as

    python -m benchmarks.peers.<module> JOB.json REPORT.json

and its report is a file, because the tools print whatever they like on both streams.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Job", "Work", "serve"]


@dataclass(frozen=True)
class Job:
    """One graph to quantize.

    Attributes:
        graph: The FP32 ONNX file. The tools write beside it, so it has to be a copy in a folder of its own.
        calibration: `.npy`, float32 [N, 3, H, W].
        matmuls: Names of the MatMul nodes to quantize, all of them and no other.
        out: Where the quantized ONNX file goes.
        method: The tool's own name of its calibration method.
        batch: Images a calibration step; it divides N.
    """

    graph: str
    calibration: str
    matmuls: tuple[str, ...]
    out: str
    method: str
    batch: int

    def write(self, path: Path) -> None:
        """As JSON, for a child."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """What `write` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**fields, "matmuls": tuple(fields["matmuls"])})


# Quantizes, and returns the settings that it used.
Work = Callable[[Job], Mapping[str, Any]]


def serve(prepare: Callable[[], tuple[Work, Mapping[str, str]]]) -> None:
    """Do the job that the command line names.

    Args:
        prepare: Imports the tool; returns what quantizes with it, and the versions of its packages.
    """
    job, report = Job.read(Path(sys.argv[1])), Path(sys.argv[2])
    started = time.perf_counter()
    try:
        work, versions = prepare()
    except (ImportError, OSError) as error:  # OSError: a shared library that is not there
        report.write_text(json.dumps({"unavailable": f"{type(error).__name__}: {error}"}), encoding="utf-8")
        return
    imported, imported_mib, spent = time.perf_counter(), _peak_mib(), time.process_time()
    settings = work(job)
    measured = {
        "seconds": time.perf_counter() - imported,
        "cpu_seconds": time.process_time() - spent,
        "peak_mib": _peak_mib(),
        "import_seconds": imported - started,
        "import_mib": imported_mib,
        "versions": {"python": sys.version.split()[0], **versions},
        "settings": {"method": job.method, "batch": job.batch, **settings},
    }
    report.write_text(json.dumps(measured), encoding="utf-8")


def _peak_mib() -> float:
    """The most memory that this process ever had resident.

    Not `getrusage`: its maximum is inherited from the parent, which may have been the larger one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status tells no VmHWM")
