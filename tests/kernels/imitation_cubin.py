"""A compiler whose cubins are the sources themselves, as JSON, so that an interpreter can carry them out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from swin_deploy.kernels.ahead_of_time import Compiled, Cubin, KernelSource
from swin_deploy.kernels.triton_run import jit_kernel

__all__ = ["imitated", "source_of"]


def imitated(sources: Iterable[KernelSource], architectures: Sequence[str]) -> Compiled:
    """See `ahead_of_time.compile_kernels`."""
    return Compiled({(source.id, name): _cubin(source) for source in sources for name in architectures}, {})


def source_of(code: bytes) -> KernelSource:
    """What such a cubin is of."""
    return KernelSource(**json.loads(code))


def _cubin(source: KernelSource) -> Cubin:
    names = tuple(name for name in jit_kernel(source.kernel).arg_names if name in source.types)
    code = json.dumps(asdict(source), sort_keys=True).encode()
    return Cubin(code, f"{source.kernel}_kernel", names, source.warps, 32, 0, 512, 2)
