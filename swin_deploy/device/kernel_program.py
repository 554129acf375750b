"""A kernel program: a network as a list of launches of kernels that were compiled ahead of time.

A folder with `program.json`, the weights in one file and a cubin a kernel and architecture. For each batch size it
has the launches in their order; everything between them lives in one arena at offsets that were planned when the
program was made, so that running it takes the driver and nothing else.

Trust boundary: as with a bundle, the hashes catch damage and mix-ups; they are no signature. A cubin is native code.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.atomic import write_text
from swin_deploy.device.inner_names import plain_name, refuse_outside
from swin_deploy.errors import BadInput, ExplainedError

__all__ = [
    "ALIGNMENT",
    "KIND",
    "PROGRAM_FILE",
    "SCHEMA_VERSION",
    "Argument",
    "BatchProgram",
    "CompiledKernel",
    "CompiledModule",
    "KernelLaunch",
    "KernelProgram",
    "ProgramOutput",
    "ProgramWeights",
    "checked_content",
    "read_program",
    "write_program",
]

PROGRAM_FILE = "program.json"
KIND = "kernel-program"
SCHEMA_VERSION = 1
ALIGNMENT = 256  # bytes, of every offset: what the driver's own allocations have, and more than any load asks for
_WHOLE = "the kernel program as swin-deploy wrote it"
_INTEGERS = {"i32": 1 << 31, "i64": 1 << 63}
_WHERE = ("arena", "weights")
_WHOLE_TENSORS = ("images", "output", "null")
_GRID_LIMITS = ((1 << 31) - 1, 65535, 65535)  # CUDA's own, for every architecture
# No network comes near these; beyond them sizes in bytes would wrap around where the driver is given them.
_MOST_VALUES, _MOST_BATCH, _MOST_SHARED, _MOST_SCRATCH = 1 << 36, 1 << 16, 1 << 20, 16
_MOST_BYTES = 1 << 48


@dataclass(frozen=True)
class Argument:
    """What a parameter of a launch is given.

    Attributes:
        kind: `arena` and `weights`: the address at byte `value` of them; `images`, `output`: their address; `i32`,
            `i64`: the number `value`; `null`: no tensor.
        value: See `kind`; 0 where it has none.
    """

    kind: str
    value: int = 0

    def __post_init__(self) -> None:
        """Refuse what no launch can be given."""
        if self.kind in _INTEGERS:
            fine = -_INTEGERS[self.kind] <= _integer(self.value) < _INTEGERS[self.kind]
        elif self.kind in _WHERE:
            fine = _integer(self.value) >= 0 and self.value % ALIGNMENT == 0
        else:
            fine = self.kind in _WHOLE_TENSORS and self.value == 0
        if not fine:
            raise BadInput(f"the program has the argument {self.kind!r} {self.value!r}", needed=_WHOLE)

    def facts(self) -> list[Any]:
        """As it stands in the file."""
        return [self.kind] if self.kind in _WHOLE_TENSORS else [self.kind, self.value]


@dataclass(frozen=True)
class KernelLaunch:
    """One launch.

    Attributes:
        kernel: Its key in `KernelProgram.kernels`.
        grid: Programs on each axis.
        arguments: One for each of the kernel's parameters.
    """

    kernel: str
    grid: tuple[int, int, int]
    arguments: tuple[Argument, ...]

    def __post_init__(self) -> None:
        """Refuse a grid that no GPU takes."""
        if len(self.grid) != 3 or not all(1 <= _integer(n) <= top for n, top in zip(self.grid, _GRID_LIMITS)):
            raise BadInput(f"the program has the grid {list(self.grid)}", needed=_WHOLE)

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        arguments = [argument.facts() for argument in self.arguments]
        return {"kernel": self.kernel, "grid": list(self.grid), "arguments": arguments}


@dataclass(frozen=True)
class BatchProgram:
    """The launches of one batch size.

    Attributes:
        arena_bytes: What they need for the tensors between them.
        launches: In their order.
    """

    arena_bytes: int
    launches: tuple[KernelLaunch, ...]

    def __post_init__(self) -> None:
        """Refuse what is no size and an empty list."""
        if not 0 <= _integer(self.arena_bytes) <= _MOST_BYTES or not self.launches:
            raise BadInput("the program has a batch without launches, or with an arena of no size", needed=_WHOLE)

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"arena_bytes": self.arena_bytes, "launches": [launch.facts() for launch in self.launches]}


@dataclass(frozen=True)
class CompiledModule:
    """A kernel for one architecture.

    Attributes:
        file: The cubin, relative to the program's folder.
        sha256: Of its content.
        shared: Dynamic shared memory of a block, in bytes.
        registers: Of a thread, for a reader.
        scratch_parameters: Pointers that the compiler added behind the kernel's own parameters; they are given null.
    """

    file: str
    sha256: str
    shared: int
    registers: int
    scratch_parameters: int

    def __post_init__(self) -> None:
        """Refuse a file outside the folder and sizes that are none."""
        refuse_outside(self.file, source=PROGRAM_FILE)
        sizes = (
            (self.shared, _MOST_SHARED),
            (self.registers, _MOST_SHARED),
            (self.scratch_parameters, _MOST_SCRATCH),
        )
        if not all(0 <= _integer(size) <= top for size, top in sizes):
            raise BadInput(f"the program has the sizes {[size for size, _ in sizes]} for {self.file}", needed=_WHOLE)


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel in its compiled forms.

    Attributes:
        entry: Name of the function in the modules.
        warps: Of a block; a warp is 32 threads.
        parameters: The type of each: `pointer`, `i32` or `i64`.
        modules: By compute capability, e.g. `8.7`. A cubin is used on exactly that one: from 9.0 on Triton compiles
            for what only that architecture has, and Tegra's run on no other GPU.
    """

    entry: str
    warps: int
    parameters: tuple[str, ...]
    modules: Mapping[str, CompiledModule]

    def __post_init__(self) -> None:
        """Refuse types that no launch can give, and names that are none."""
        wrong = [name for name in self.modules if not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", name)]
        if wrong or not (self.entry.isidentifier() and self.entry.isascii()):
            raise BadInput(f"the program has the kernel {self.entry!r} for {list(self.modules)}", needed=_WHOLE)
        unknown = [kind for kind in self.parameters if kind != "pointer" and kind not in _INTEGERS]
        if unknown or not 1 <= _integer(self.warps) <= 32:
            raise BadInput(f"the kernel {self.entry!r} has {self.warps} warps and parameters {unknown}", needed=_WHOLE)

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        modules = {name: dict(module.__dict__) for name, module in sorted(self.modules.items())}
        return {"entry": self.entry, "warps": self.warps, "parameters": list(self.parameters), "modules": modules}


@dataclass(frozen=True)
class ProgramOutput:
    """What leaves the program.

    Attributes:
        name: E.g. `logits`.
        shape: Of one image's, without the batch.
        type: `fp32`, `fp16` or `bf16`.
    """

    name: str
    shape: tuple[int, ...]
    type: str

    def __post_init__(self) -> None:
        """Refuse an empty shape and an unknown type."""
        if not self.name or not _is_shape(self.shape) or self.type not in ("fp32", "fp16", "bf16"):
            raise BadInput(f"the program has the output {self.facts()}", needed=_WHOLE)

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"name": self.name, "shape": list(self.shape), "type": self.type}


@dataclass(frozen=True)
class ProgramWeights:
    """The file of the weights, constants and tables.

    Attributes:
        file: Relative to the program's folder.
        bytes: Its size.
        sha256: Of its content.
    """

    file: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse a file outside the folder and what is no size."""
        refuse_outside(self.file, source=PROGRAM_FILE)
        if not 0 <= _integer(self.bytes) <= _MOST_BYTES:
            raise BadInput(f"the program has weights of {self.bytes} bytes", needed=_WHOLE)


@dataclass(frozen=True)
class KernelProgram:
    """What `program.json` says.

    Attributes:
        precision: What the network computes in.
        image: Shape of one image [channels, H, W]; images arrive in FP32.
        output: What leaves.
        weights: The weights' file.
        kernels: By a name that is unique in the program.
        programs: By batch size; any batch up to the largest runs in the smallest one that holds it.
    """

    precision: Precision
    image: tuple[int, int, int]
    output: ProgramOutput
    weights: ProgramWeights
    kernels: Mapping[str, CompiledKernel]
    programs: Mapping[int, BatchProgram]

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, so that no launch is given an address outside its memory."""
        if len(self.image) != 3 or not _is_shape(self.image):
            raise BadInput(f"the program has images of {list(self.image)}", needed=_WHOLE)
        if not self.programs or not all(1 <= _integer(batch) <= _MOST_BATCH for batch in self.programs):
            raise BadInput(f"the program has the batches {sorted(self.programs)}", needed=_WHOLE)
        for name in self.kernels:
            plain_name(name, source=PROGRAM_FILE)
        for program in self.programs.values():
            tops = {"arena": program.arena_bytes, "weights": self.weights.bytes}
            for launch in program.launches:
                self._check_launch(launch, tops)

    def _check_launch(self, launch: KernelLaunch, tops: Mapping[str, int]) -> None:
        kernel = self.kernels.get(launch.kernel)
        given = tuple(argument.kind if argument.kind in _INTEGERS else "pointer" for argument in launch.arguments)
        if kernel is None or given != kernel.parameters:
            raise BadInput(f"the program gives {launch.kernel!r} the arguments {list(given)}", needed=_WHOLE)
        for argument in launch.arguments:
            if argument.kind in tops and argument.value >= tops[argument.kind]:
                seen = f"the program gives {launch.kernel!r} byte {argument.value} of {tops[argument.kind]}"
                raise BadInput(f"{seen} bytes of {argument.kind}", needed=_WHOLE)

    @property
    def batches(self) -> tuple[int, ...]:
        """The recorded batch sizes, ascending."""
        return tuple(sorted(self.programs))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The compute capabilities for which every kernel is there, ascending."""
        sets = [set(kernel.modules) for kernel in self.kernels.values()]
        return tuple(sorted(set.intersection(*sets), key=lambda name: [int(part) for part in name.split(".")]))

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "precision": self.precision.value,
            "image": list(self.image),
            "output": self.output.facts(),
            "weights": dict(self.weights.__dict__),
            "kernels": {name: kernel.facts() for name, kernel in sorted(self.kernels.items())},
            "programs": {str(batch): self.programs[batch].facts() for batch in self.batches},
        }

    @classmethod
    def from_facts(cls, raw: Mapping[str, Any]) -> KernelProgram:
        """Read `facts` back."""
        channels, rows, columns = raw["image"]
        output = raw["output"]
        return cls(
            precision=Precision(raw["precision"]),
            image=(channels, rows, columns),
            output=ProgramOutput(output["name"], tuple(output["shape"]), output["type"]),
            weights=ProgramWeights(**raw["weights"]),
            kernels={name: _kernel(kernel) for name, kernel in raw["kernels"].items()},
            programs={int(batch): _batch(program) for batch, program in raw["programs"].items()},
        )


def write_program(folder: Path, program: KernelProgram) -> Path:
    """Write `program.json` into `folder`, beside the files that it names; its path."""
    path = folder / PROGRAM_FILE
    write_text(path, json.dumps(program.facts(), separators=(",", ":")) + "\n")
    return path


def read_program(folder: Path) -> KernelProgram:
    """Read `program.json` in `folder`; the files it names are checked when they are used (`checked_content`).

    Raises:
        BadInput: there is none, it is damaged, of another schema, or names a file outside the folder.
    """
    path = folder / PROGRAM_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["schema_version"]
        if (raw["kind"], version) == (KIND, SCHEMA_VERSION):
            return KernelProgram.from_facts(raw)
    except ExplainedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        seen = f"{path} cannot be read as a kernel program: {type(error).__name__}: {error}"
        raise BadInput(seen, needed=_WHOLE) from error
    raise BadInput(
        f"{path} has kind {raw['kind']!r} and schema version {version!r}",
        needed=f"{KIND!r} and {SCHEMA_VERSION}",
        do="Make the program again with this version of swin-deploy",
    )


def checked_content(folder: Path, facts: CompiledModule | ProgramWeights) -> bytes:
    """The content of the file that `facts` name in `folder`.

    Raises:
        BadInput: it is missing, or its content is not what it was.
    """
    path = folder / facts.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", needed=_WHOLE) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != facts.sha256:
        raise BadInput(
            f"{path} has SHA-256 {digest[:12]}..., {PROGRAM_FILE} says {facts.sha256[:12]}...",
            needed=_WHOLE,
            do="It was changed or damaged: copy the program again",
        )
    if isinstance(facts, ProgramWeights) and len(content) != facts.bytes:
        # By this number the launches' addresses were checked.
        raise BadInput(f"{path} has {len(content)} bytes, {PROGRAM_FILE} says {facts.bytes}", needed=_WHOLE)
    return content


def _kernel(raw: Mapping[str, Any]) -> CompiledKernel:
    modules = {name: CompiledModule(**module) for name, module in raw["modules"].items()}
    return CompiledKernel(raw["entry"], raw["warps"], tuple(raw["parameters"]), modules)


def _batch(raw: Mapping[str, Any]) -> BatchProgram:
    launches = tuple(
        KernelLaunch(
            launch["kernel"],
            tuple(launch["grid"]),
            tuple(Argument(*argument) for argument in launch["arguments"]),
        )
        for launch in raw["launches"]
    )
    return BatchProgram(raw["arena_bytes"], launches)


def _integer(value: Any) -> int:
    """A whole number: JSON has none of its own, and `True` counts as one in Python."""
    if type(value) is not int:
        raise BadInput(f"the program holds {value!r} for a whole number", needed=_WHOLE)
    return value


def _is_shape(shape: tuple[int, ...]) -> bool:
    return bool(shape) and all(_integer(size) >= 1 for size in shape) and math.prod(shape) <= _MOST_VALUES
