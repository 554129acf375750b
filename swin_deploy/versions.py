"""Which versions of which tools are installed, asked of the packages' metadata so that nothing heavy is imported."""

from __future__ import annotations

import platform
from importlib import metadata

import swin_deploy

__all__ = ["installed", "machine"]

_NOT_INSTALLED = "not installed"


def installed(*distributions: str) -> dict[str, str]:
    """The version of each distribution, and of swin-deploy itself."""
    found = {"swin-deploy": swin_deploy.__version__}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = _NOT_INSTALLED
    return found


def machine() -> dict[str, str]:
    """The machine's processor and operating system, and its NVIDIA GPU if the driver shows one."""
    from swin_deploy.device import cuda_memory

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": _processor(),
        "gpu": cuda_memory.unavailable()
        or f"{cuda_memory.device_name()}, compute capability {cuda_memory.compute_capability()}",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a file of ours
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
