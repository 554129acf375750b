"""Carry a kernel program out from its files alone, in Triton's interpreter: one arena, one file of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from swin_deploy.device.kernel_program import Argument, checked_content, read_program
from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.triton_run import jit_kernel
from tests.kernels.imitation_cubin import source_of

__all__ = ["replay_program"]

TYPES = {
    "*fp32": torch.float32, "*fp16": torch.float16, "*bf16": torch.bfloat16, "*i32": torch.int32, "*i64": torch.int64,
    "*i8": torch.int8, "*fp8e4nv": torch.float8_e4m3fn,
}  # fmt: skip
OUTPUTS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def replay_program(folder: Path, images: Tensor, architecture: str) -> Tensor:
    """The output for `images` [B, c, H, W], B one of the recorded batches; all memory is poisoned before."""
    program = read_program(folder)
    batch = program.programs[len(images)]
    memory = {
        "arena": torch.full((batch.arena_bytes,), 0xFF, dtype=torch.uint8),  # NaN in every type of floating point
        "weights": torch.frombuffer(bytearray(checked_content(folder, program.weights)), dtype=torch.uint8),
        "images": images.contiguous().flatten().view(torch.uint8),
    }
    output = torch.full((len(images), *program.output.shape), float("nan"), dtype=OUTPUTS[program.output.type])
    memory["output"] = output.flatten().view(torch.uint8)
    for launch in batch.launches:
        compiled = program.kernels[launch.kernel]
        source = source_of(checked_content(folder, compiled.modules[architecture]))
        names = [name for name in jit_kernel(source.kernel).arg_names if name in source.types]
        given = {
            name: _value(argument, source.types[name], memory)
            for name, argument in zip(names, launch.arguments, strict=True)
        }
        absent = {
            name: None
            for name in jit_kernel(source.kernel).arg_names
            if name not in source.types and name not in source.constants
        }
        InterpretedRun().launch(
            Launch(source.kernel, launch.grid, {**absent, **given}, source.constants, source.warps, source.stages)
        )
    return output


def _value(argument: Argument, kind: str, memory: dict[str, Tensor]) -> Tensor | int:
    if argument.kind in ("i32", "i64"):
        return argument.value
    block = memory[argument.kind][argument.value :]
    size = TYPES[kind].itemsize
    return block[: len(block) // size * size].view(TYPES[kind])
