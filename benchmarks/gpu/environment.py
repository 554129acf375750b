"""What a measurement depends on: the device, the versions, and the code that was measured."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from swin_deploy.device.telemetry.nvidia_smi import query_once
from swin_deploy.versions import installed, machine

__all__ = ["code_fingerprint", "environment", "no_gpu"]

_ROOT = Path(__file__).resolve().parents[2]
_MEASURED = ("swin_deploy/kernels", "swin_deploy/model", "benchmarks/gpu")


def environment() -> dict[str, str]:
    """The device and the versions by name."""
    import torch

    cudnn: Any = torch.backends.cudnn  # it has no types
    return {
        **machine(),
        **installed("torch", "triton", "timm", "tensorrt"),
        "cuda": str(torch.version.cuda),
        "cudnn": str(cudnn.version()),
        **_driver(),
    }


def _driver() -> dict[str, str]:
    command = shutil.which("nvidia-smi")
    said = None if command is None else query_once(command)
    return {} if said is None else {"driver": said.driver}


def code_fingerprint() -> str:
    """Of the networks, the kernels and how they are timed: what a change of times or errors would come from."""
    digest = hashlib.sha256()
    for folder in _MEASURED:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(_ROOT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def no_gpu() -> str | None:
    """Why nothing can be measured here, or `None`."""
    import torch

    if not torch.cuda.is_available():
        return "PyTorch sees no GPU here"
    return None
