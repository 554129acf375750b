"""Make a kernel program: record the fused form at each batch, compile what it launches, lay out memory, write files.

Needs no GPU. What the device reads is `device/kernel_program.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from swin_deploy.artifact import Precision
from swin_deploy.atomic import write_bytes
from swin_deploy.device.kernel_program import (
    ALIGNMENT,
    Argument,
    BatchProgram,
    CompiledKernel,
    CompiledModule,
    KernelLaunch,
    KernelProgram,
    ProgramOutput,
    ProgramWeights,
    write_program,
)
from swin_deploy.errors import BadInput
from swin_deploy.kernels.ahead_of_time import Compiled, Compiler, KernelSource, compile_kernels, integer_type, sm
from swin_deploy.kernels.arena import Life, plan_arena
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.recorded_run import RecordedRun, Recording, record, storage

__all__ = ["MadeProgram", "ProgramRequest", "make_program"]

_PRECISIONS: Mapping[torch.dtype, Precision] = MappingProxyType(
    {torch.float32: Precision.FP32, torch.float16: Precision.FP16, torch.bfloat16: Precision.BF16}
)
_WEIGHTS = "weights.bin"


@dataclass(frozen=True)
class ProgramRequest:
    """What a program is to hold.

    Attributes:
        image: Shape of one image, [channels, H, W].
        output: Name of the network's output.
        batches: Batch sizes to record.
        architectures: Compute capabilities, such as `8.7`.
    """

    image: tuple[int, int, int]
    output: str
    batches: tuple[int, ...]
    architectures: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse an empty request."""
        assert self.batches and min(self.batches) >= 1 and self.architectures, f"{self}"


@dataclass(frozen=True)
class MadeProgram:
    """A program that was written, and what it lacks.

    Attributes:
        program: What its file says.
        left_out: Why an architecture is not in it, by its compute capability.
    """

    program: KernelProgram
    left_out: Mapping[str, str]


def make_program(
    network: nn.Module, run: RecordedRun, request: ProgramRequest, folder: Path, compiler: Compiler = compile_kernels
) -> MadeProgram:
    """Write the kernel program of `network` into `folder`.

    Args:
        network: A fused form whose operators launch on `run`.
        run: Where they do.
        request: What the program is to hold.
        folder: Where `program.json` and the files that it names go.
        compiler: Who compiles.

    Raises:
        BadInput: PyTorch computes a part of the network itself, or no architecture takes all kernels.
        EnvironmentFault: compilation crashed or took too long, or the disk refuses.
    """
    recordings = {size: record(network, run, (size, *request.image)) for size in sorted(set(request.batches))}
    sources = {
        source.id: source for recording in recordings.values() for source in map(KernelSource.of, recording.launches)
    }
    compiled = compiler(sources.values(), request.architectures)
    left_out = _left_out(compiled, request.architectures)
    architectures = [name for name in request.architectures if name not in left_out]
    if not architectures:
        name, reason = next(iter(left_out.items()))
        raise BadInput(f"no kernel program: for compute capability {name} {reason}", needed="kernels that compile")
    weights = _Weights()
    kernels = {name: _kernel(name, compiled, architectures, sources[name], folder) for name in sources}
    parameters = {name: compiled.cubins[name, architectures[0]].parameters for name in sources}
    programs = {size: _batch(recording, parameters, weights) for size, recording in recordings.items()}
    output = recordings[max(recordings)].output
    precision = _PRECISIONS[output.dtype]
    program = KernelProgram(
        precision=precision,
        image=request.image,
        output=ProgramOutput(request.output, tuple(output.shape[1:]), precision.value),
        weights=weights.write(folder / _WEIGHTS),
        kernels=kernels,
        programs=programs,
    )
    write_program(folder, program)
    return MadeProgram(program, left_out)


def _left_out(compiled: Compiled, architectures: Sequence[str]) -> dict[str, str]:
    """Architectures that lack a kernel, with the first refusal: a program without one of its kernels is none."""
    found: dict[str, str] = {}
    for (name, architecture), reason in compiled.refused.items():
        if architecture in architectures:
            found.setdefault(architecture, f"{name} does not compile: {reason}")
    return found


def _kernel(
    name: str, compiled: Compiled, architectures: Sequence[str], source: KernelSource, folder: Path
) -> CompiledKernel:
    """Write a kernel's cubins, and describe them."""
    modules = {}
    for architecture in architectures:
        cubin = compiled.cubins[name, architecture]
        file = f"sm_{sm(architecture)}/{name}.cubin"
        write_bytes(folder / file, cubin.code)
        modules[architecture] = CompiledModule(
            file, hashlib.sha256(cubin.code).hexdigest(), cubin.shared, cubin.registers, cubin.scratch_parameters
        )
    # The same source has one signature and one entry wherever it is compiled for.
    cubin = compiled.cubins[name, architectures[0]]
    types = tuple(
        "pointer" if source.types[parameter].startswith("*") else source.types[parameter]
        for parameter in cubin.parameters
    )
    return CompiledKernel(cubin.entry, cubin.warps, types, modules)


def _batch(recording: Recording, parameters: Mapping[str, tuple[str, ...]], weights: _Weights) -> BatchProgram:
    lives = _lives(recording)
    plan = plan_arena(list(lives.values()), ALIGNMENT)
    offsets = dict(zip(lives, plan.offsets, strict=True))
    launches = []
    for launch in recording.launches:
        name = KernelSource.of(launch).id
        arguments = tuple(
            _argument(launch.arguments[parameter], recording, offsets, weights) for parameter in parameters[name]
        )
        launches.append(KernelLaunch(name, launch.grid, arguments))
    return BatchProgram(plan.bytes, tuple(launches))


def _lives(recording: Recording) -> dict[int, Life]:
    """The tensors between launches, by `storage`, each from the launch that first has it to the last."""
    outside = {storage(recording.images), storage(recording.output)}
    lives: dict[int, Life] = {}
    for index, launch in enumerate(recording.launches):
        for tensor in _between(launch):
            key = storage(tensor)
            if key not in outside:
                first = lives[key].first if key in lives else index
                lives[key] = Life(tensor.untyped_storage().nbytes(), first, index)
    return lives


def _between(launch: Launch) -> list[Tensor]:
    """The tensors of a launch that are no weights."""
    return [value for value in launch.arguments.values() if isinstance(value, Tensor) and value.is_meta]


def _argument(
    value: Tensor | int | None, recording: Recording, offsets: Mapping[int, int], weights: _Weights
) -> Argument:
    if isinstance(value, int):
        return Argument(integer_type(value), value)
    assert value is not None, "a tensor that is not there is no parameter of the compiled kernel"
    assert value.is_contiguous(), f"a kernel was given a tensor of {list(value.shape)} that is not contiguous"
    if not value.is_meta:
        return Argument("weights", weights.offset(value))
    assert value.storage_offset() == 0, "a kernel was given a part of a tensor"
    for kind, tensor in (("images", recording.images), ("output", recording.output)):
        if storage(value) == storage(tensor):
            return Argument(kind)
    return Argument("arena", offsets[storage(value)])


class _Weights:
    """The file of weights, each content once."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._offsets: dict[bytes, int] = {}  # by SHA-256: a table may be made anew for every block and every batch
        self._seen: dict[tuple[int, int], tuple[Tensor, int]] = {}  # by address and size; a tensor kept keeps them

    def offset(self, tensor: Tensor) -> int:
        """Where `tensor` stands, put there when it is new."""
        key = (tensor.data_ptr(), tensor.nbytes)
        if key not in self._seen:
            content = tensor.detach().flatten().view(torch.uint8).numpy().tobytes()
            digest = hashlib.sha256(content).digest()
            if digest not in self._offsets:
                self._content += bytes(-len(self._content) % ALIGNMENT)
                self._offsets[digest] = len(self._content)
                self._content += content
            self._seen[key] = (tensor, self._offsets[digest])
        return self._seen[key][1]

    def write(self, path: Path) -> ProgramWeights:
        """Write all of them."""
        write_bytes(path, bytes(self._content))
        return ProgramWeights(path.name, len(self._content), hashlib.sha256(self._content).hexdigest())
