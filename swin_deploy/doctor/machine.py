"""What the doctor knows of a machine: gathered once, so that every check is a function of plain data."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from swin_deploy.device import cuda_memory
from swin_deploy.device.build_memory import free_memory_mib
from swin_deploy.device.telemetry.board import board_name, jetson_linux
from swin_deploy.device.telemetry.gpu_clock import find_gpu_clock
from swin_deploy.device.telemetry.nvidia_smi import SmiLine, query_once
from swin_deploy.device.telemetry.nvpmodel import ask_nvpmodel, power_mode, power_modes
from swin_deploy.device.telemetry.throttling import ThrottleWatch
from swin_deploy.device.tensorrt_versions import FLAVORS, package_unavailable

__all__ = ["Machine", "look_at"]

# The module's name, and what it may be installed as.
_DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt_rtx": ("tensorrt_rtx",),
    "tensorrt": ("tensorrt",),
    "torch_tensorrt": ("torch-tensorrt-rtx", "torch-tensorrt"),
}


@dataclass(frozen=True)
class Machine:
    """One machine.

    Attributes:
        packages: The version of each package by the name it is imported by, `python` included; what is not installed
            is not in here.
        broken: Why an installed TensorRT does not import, by its name.
        gpu: The GPU's name; empty where there is none.
        gpu_problem: Why there is none.
        capability: Its compute capability, e.g. `8.7`.
        driver: The driver's version, where nvidia-smi tells it.
        board: The Jetson's name; empty on another machine.
        jetson_linux: Its release of Jetson Linux, likewise.
        power_mode: nvpmodel's mode, likewise.
        power_modes: Every mode's name, likewise.
        gpu_bound_mhz: The highest GPU clock that the power mode allows.
        gpu_highest_mhz: The highest that the GPU has.
        throttled: What holds clocks back at this moment, in sentences.
        free_mib: MiB of memory that can be had without swapping; on a Jetson the GPU's too.
        gpu_free_mib: MiB of the GPU's own memory that are free.
        disk_free_mib: MiB of disk that are free where a run would be written.
    """

    packages: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    gpu: str = ""
    gpu_problem: str = ""
    capability: str = ""
    driver: str = ""
    board: str = ""
    jetson_linux: str = ""
    power_mode: str = ""
    power_modes: Mapping[int, str] = field(default_factory=dict)
    gpu_bound_mhz: float | None = None
    gpu_highest_mhz: float | None = None
    throttled: tuple[str, ...] = ()
    free_mib: int | None = None
    gpu_free_mib: int | None = None
    disk_free_mib: int | None = None

    @property
    def is_jetson(self) -> bool:
        """Whether CPU and GPU share one memory; a container may have the board's name alone."""
        return bool(self.jetson_linux) or "Jetson" in self.board


def look_at(
    root: Path = Path("/"),
    *,
    folder: Path | None = None,
    find: Callable[[str], str | None] = shutil.which,
) -> Machine:
    """Look at this machine.

    Args:
        root: Where the kernel's and NVIDIA's files lie.
        folder: Where a run would be written; `None` for the current folder.
        find: Where a program lies.
    """
    problem = cuda_memory.unavailable()
    smi = find("nvidia-smi")
    card = (query_once(smi) if smi else None) or SmiLine()
    clock = find_gpu_clock(root)
    watch = ThrottleWatch(root)
    watch.look()
    packages = _installed()
    broken = {name: package_unavailable(name) for name in FLAVORS if name in packages}
    free = card.facts.get("free_mib")
    return Machine(
        packages=packages,
        broken={name: reason for name, reason in broken.items() if reason is not None},
        gpu="" if problem else cuda_memory.device_name(),
        gpu_problem=problem or "",
        capability="" if problem else cuda_memory.compute_capability(),
        driver=card.driver,
        board=board_name(root),
        jetson_linux=jetson_linux(root),
        power_mode=power_mode(root, ask_nvpmodel if find("nvpmodel") else None),
        power_modes=power_modes(root),
        gpu_bound_mhz=clock.bound_mhz() if clock else None,
        gpu_highest_mhz=clock.highest_mhz() if clock else None,
        throttled=(*watch.sentences(), *card.sample.throttled),
        free_mib=free_memory_mib(root / "proc/meminfo"),
        gpu_free_mib=None if free is None else int(free),
        disk_free_mib=shutil.disk_usage(folder or Path.cwd()).free >> 20,
    )


def _installed() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name, distributions in _DISTRIBUTIONS.items():
        for distribution in distributions:
            try:
                found.setdefault(name, metadata.version(distribution))
            except metadata.PackageNotFoundError:
                continue
    return found
