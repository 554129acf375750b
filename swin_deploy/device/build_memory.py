"""Whether memory suffices for a build, said before a board without swap kills it half an hour later.

The estimate is rough: the libraries, four times the graph (protobuf, network, working copies and plan; TensorRT for RTX
1.6 took 3.5 to 3.7 times on x86-64, with Swin-T in FP16 and Swin V2-T in FP32), and what kernels are tried on:
activations and scratch memory. It has not been compared with a board.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.errors import EnvironmentFault

__all__ = ["BuildMemory", "estimated", "free_memory_mib", "require_memory"]

_MEMINFO = Path("/proc/meminfo")
# What the libraries take before any graph: 340 MiB were measured of TensorRT for RTX 1.6 on x86-64; TensorRT 8.6's
# kernel library alone takes 1,444 (NVIDIA/TensorRT issue 3359), and CUDA's context, cuBLAS and cuDNN some hundred each.
_LIBRARIES_MIB = {"tensorrt_rtx": 400, "tensorrt": 2048}
_COPIES = 4
_DEFAULT_WORKSPACE_MIB = 1024  # what a build without a bound is taken to need


@dataclass(frozen=True)
class BuildMemory:
    """The parts of the estimate, in MiB."""

    libraries: int
    graph: int
    trials: int

    @property
    def total(self) -> int:
        """Their sum."""
        return self.libraries + self.graph + self.trials

    def describe(self) -> str:
        """In one line."""
        return (
            f"{self.total} MiB: libraries {self.libraries}, copies of the graph {self.graph}, activations and scratch "
            f"memory {self.trials}"
        )


def estimated(
    package: str,
    onnx_bytes: int,
    activation_mib: int,
    *,
    workspace_mib: int | None = None,
    memory_limit_mib: int | None = None,
) -> BuildMemory:
    """What a build is likely to take at most.

    Args:
        package: `tensorrt` or `tensorrt_rtx`.
        onnx_bytes: Size of the graph.
        activation_mib: What its tensors take at the largest batch.
        workspace_mib: Bound on scratch memory.
        memory_limit_mib: Bound on what kernels are tried in; it holds for activations and scratch memory together.
    """
    trials = activation_mib + (workspace_mib or _DEFAULT_WORKSPACE_MIB)
    if memory_limit_mib is not None:
        trials = min(trials, memory_limit_mib)
    return BuildMemory(_LIBRARIES_MIB[package], _COPIES * onnx_bytes >> 20, trials)


def free_memory_mib(meminfo: Path = _MEMINFO) -> int | None:
    """What the system could give without swapping: `MemAvailable` of /proc/meminfo; `None` where that does not tell.

    On a Jetson CPU and GPU share it.
    """
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return int(found[1]) >> 10 if found else None


def require_memory(needed: BuildMemory, free_mib: int | None, what: str) -> None:
    """Refuse a build that would run out.

    Raises:
        EnvironmentFault: less is free than is needed.
    """
    if free_mib is None or free_mib >= needed.total:
        return
    raise EnvironmentFault(
        f"{free_mib} MiB of memory are free, and building {what} is estimated to take {needed.describe()}",
        needed=f"{needed.total} MiB free",
        do="Close other programs (on a Jetson the desktop), add swap, or lower --workspace and --memory-limit",
    )
