"""A kernel program of two imitated kernels that computes what `board`'s network does: sum and largest value.

`twice` doubles the images into the arena; `sums` takes sum and largest value and scales them by the weights, 0.5 each.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from launching_driver import SCRATCH, SHARED

from swin_deploy.artifact import Precision
from swin_deploy.device.kernel_program import (
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

IMAGE = (3, 4, 4)
WIDTH = 48
TYPES = {
    "twice": {"x": "*fp32", "out": "*fp32"},
    "sums": {"x": "*fp32", "scale": "*fp32", "out": "*fp32", "rows": "i32"},
}


def write_toy(folder: Path, *, batches: tuple[int, ...] = (1, 4), capability: str = "8.7") -> KernelProgram:
    """The program in `folder`, for a GPU of `capability`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.full(2, 0.5, np.float32).tobytes()
    (folder / "weights.bin").write_bytes(weights)
    program = KernelProgram(
        precision=Precision.FP16,
        image=IMAGE,
        output=ProgramOutput("sums", (2,), "fp32"),
        weights=ProgramWeights("weights.bin", len(weights), hashlib.sha256(weights).hexdigest()),
        kernels={name: _kernel(folder, name, capability) for name in TYPES},
        programs={batch: _launches(batch) for batch in batches},
    )
    write_program(folder, program)
    return program


def change(folder: Path, file: str, content: bytes) -> None:
    """Replace a file and its hash, as whoever makes another program would."""
    (folder / file).write_bytes(content)
    raw: dict[str, Any] = json.loads((folder / "program.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    holders = [raw["weights"]]
    holders += [module for kernel in raw["kernels"].values() for module in kernel["modules"].values()]
    for holder in holders:
        if holder["file"] == file:
            holder["sha256"] = digest
    (folder / "program.json").write_text(json.dumps(raw))


def _kernel(folder: Path, name: str, capability: str) -> CompiledKernel:
    facts = {"kernel": name, "warps": 4, "types": TYPES[name], "width": WIDTH, "architecture": capability}
    code = json.dumps(facts).encode()
    file = f"sm_{capability.replace('.', '')}/{name}.cubin"
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(code)
    kinds = tuple("pointer" if kind.startswith("*") else kind for kind in TYPES[name].values())
    module = CompiledModule(file, hashlib.sha256(code).hexdigest(), SHARED, 32, SCRATCH)
    return CompiledKernel(f"{name}_kernel", 4, kinds, {capability: module})


def _launches(batch: int) -> BatchProgram:
    first = KernelLaunch("twice", (batch, 1, 1), (Argument("images"), Argument("arena")))
    arguments = (Argument("arena"), Argument("weights"), Argument("output"), Argument("i32", batch))
    return BatchProgram(4 * WIDTH * batch, (first, KernelLaunch("sums", (1, 1, 1), arguments)))
