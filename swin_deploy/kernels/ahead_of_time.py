"""Compile kernels for GPUs that are not here: Triton needs none to make a cubin.

Compilation happens in child processes. A process that interprets kernels cannot compile them; ptxas and LLVM are large
native programs that may crash; and two children use two cores. Triton's own cache on disk, by the content of source,
types, constants, target and compiler, makes a repeated call fast.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from swin_deploy.device.child_process import start_code
from swin_deploy.errors import EnvironmentFault
from swin_deploy.kernels.launch import Launch

__all__ = [
    "ARCHITECTURES",
    "Compiled",
    "Compiler",
    "Cubin",
    "KernelSource",
    "compile_kernels",
    "integer_type",
    "sm",
    "unavailable",
]

# Compute capabilities that Triton's compiler makes good code for, with the shared memory that a block may have there,
# in KiB. It takes 7.5 too, and multiplies FP16 without tensor cores there: 7 KiB of a thread's registers spill (3.8.0).
# Source: CUDA C++ Programming Guide, technical specifications per compute capability, "maximum amount of shared memory
# per thread block".
ARCHITECTURES: Mapping[str, int] = MappingProxyType(
    {
        "8.0": 163,
        "8.6": 99,
        "8.7": 163,
        "8.9": 99,
        "9.0": 227,
        "10.0": 227,
        "11.0": 227,
        "12.0": 99,
    }
)
_TYPES: Mapping[torch.dtype, str] = MappingProxyType(
    {
        torch.float32: "*fp32",
        torch.float16: "*fp16",
        torch.bfloat16: "*bf16",
        torch.float8_e4m3fn: "*fp8e4nv",
        torch.int8: "*i8",
        torch.int32: "*i32",
        torch.int64: "*i64",
    }
)
_START = start_code("swin_deploy.kernels.cubin_child")
_SECONDS_A_KERNEL = 120.0  # a cubin takes about one
_CHILDREN = 2


@dataclass(frozen=True)
class KernelSource:
    """What a cubin is made of, but for the architecture.

    Attributes:
        kernel: See `Launch.kernel`.
        types: By parameter name, in Triton's spelling: `*fp16` for a pointer, `i32`; a tensor that is not there has
            none. Pointers are to addresses divisible by 16.
        constants: See `Launch.constants`.
        warps: Of a block.
        stages: Of the software pipeline.
    """

    kernel: str
    types: Mapping[str, str]
    constants: Mapping[str, int | float | bool]
    warps: int
    stages: int

    @classmethod
    def of(cls, launch: Launch) -> KernelSource:
        """What `launch` needs compiled."""
        types = {name: _type(value) for name, value in launch.arguments.items() if value is not None}
        return cls(launch.kernel, types, dict(launch.constants), launch.warps, launch.stages)

    @property
    def id(self) -> str:
        """The kernel's name with a digest of all the rest, which files are named after."""
        content = json.dumps(asdict(self), sort_keys=True)
        return f"{self.kernel}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Cubin:
    """A kernel for one architecture.

    Attributes:
        code: The file's content.
        entry: The function in it.
        parameters: Names of its parameters in their order, those of `KernelSource.types`.
        warps: Of a block, as the compiler has decided.
        registers: Of a thread.
        stack: Local memory of a thread in bytes: what did not find room in registers. 0 without spills.
        shared: Dynamic shared memory of a block, in bytes.
        scratch_parameters: Pointers behind the parameters that the compiler added and this kernel does not use.
    """

    code: bytes
    entry: str
    parameters: tuple[str, ...]
    warps: int
    registers: int
    stack: int
    shared: int
    scratch_parameters: int


@dataclass(frozen=True)
class Compiled:
    """What became of a set of kernels on a set of architectures.

    Attributes:
        cubins: By `KernelSource.id` and architecture.
        refused: Why there is none, by the same.
    """

    cubins: Mapping[tuple[str, str], Cubin]
    refused: Mapping[tuple[str, str], str]


class Compiler(Protocol):
    """Who compiles; `compile_kernels` in earnest."""

    def __call__(self, sources: Iterable[KernelSource], architectures: Sequence[str]) -> Compiled:
        """See `compile_kernels`."""
        ...


def compile_kernels(sources: Iterable[KernelSource], architectures: Sequence[str]) -> Compiled:
    """Compile each source for each architecture.

    Args:
        sources: Equal ones are compiled once.
        architectures: Some of `ARCHITECTURES`.

    Raises:
        EnvironmentFault: a child crashed, was killed, or took too long.
    """
    jobs = [
        {"id": source.id, "architecture": architecture, "sm": sm(architecture), **asdict(source)}
        for source in {source.id: source for source in sources}.values()
        for architecture in architectures
    ]
    # Neighbours are one kernel for several architectures, of like cost: dealt out in turns.
    parts = [part for part in (jobs[child::_CHILDREN] for child in range(_CHILDREN)) if part]
    with tempfile.TemporaryDirectory(prefix="swin-deploy-cubins-") as scratch, ExitStack() as running:
        places = [(part, Path(scratch, str(index))) for index, part in enumerate(parts)]
        children = [running.enter_context(_compiling(*place)) for place in places]
        answers = [answer for place, child in zip(places, children, strict=True) for answer in _answers(*place, child)]
    cubins: dict[tuple[str, str], Cubin] = {}
    refused: dict[tuple[str, str], str] = {}
    for job, cubin, error in answers:
        key = (job["id"], job["architecture"])
        room = ARCHITECTURES[job["architecture"]] * 1024
        if cubin is None:
            refused[key] = error
        elif cubin.shared > room:
            refused[key] = f"it takes {cubin.shared} bytes of shared memory a block, and there are {room}"
        else:
            cubins[key] = cubin
    return Compiled(cubins, refused)


def unavailable() -> str | None:
    """Why nothing can be compiled here, or `None`."""
    return None if importlib.util.find_spec("triton") else "Triton is not installed"


def sm(architecture: str) -> int:
    """A compute capability as compilers write it: 87 for `8.7`."""
    return int(architecture.replace(".", ""))


@contextmanager
def _compiling(jobs: list[dict[str, Any]], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that compiles `jobs`, which ends with the context however that ends: Ctrl-C reaches only its parent."""
    folder.mkdir()
    request = folder / "request.json"
    request.write_text(json.dumps({"search_path": sys.path, "jobs": jobs}), encoding="utf-8")
    with (folder / "stderr").open("wb") as said:
        child = subprocess.Popen(
            [sys.executable, "-c", _START, str(request), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # Triton prints what it could not compile; the answer has it too
            stderr=said,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)  # with ptxas, a child of the child
            child.wait()


def _answers(
    jobs: list[dict[str, Any]], folder: Path, child: subprocess.Popen[bytes]
) -> list[tuple[dict[str, Any], Cubin | None, str]]:
    """Wait for `child`; each of `jobs` with its cubin, or with why there is none."""
    limit = _SECONDS_A_KERNEL * len(jobs)
    try:
        child.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        raise EnvironmentFault(
            f"compiling {len(jobs)} kernels took more than {limit:g} s and was stopped",
            needed="about a second a kernel and architecture",
            do="Build on an idle machine, or leave the kernels out",
        ) from None
    if child.returncode != 0:
        raise EnvironmentFault(
            f"the process that compiles kernels ended with status {child.returncode}: "
            + " ".join((folder / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]),
            needed="a Triton that compiles on this machine, and memory for it",
            do="Free memory and try again, or leave the kernels out",
        )
    return [(job, *_answer(folder, number)) for number, job in enumerate(jobs)]


def _answer(folder: Path, number: int) -> tuple[Cubin | None, str]:
    facts = json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
    if "error" in facts:
        return None, str(facts["error"])
    code = (folder / f"{number}.cubin").read_bytes()
    return Cubin(code=code, **{**facts, "parameters": tuple(facts["parameters"])}), ""


def integer_type(value: int) -> str:
    """The type that a parameter is compiled with where a launch gives it `value`."""
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def _type(value: Tensor | int) -> str:
    return _TYPES[value.dtype] if isinstance(value, Tensor) else integer_type(value)
