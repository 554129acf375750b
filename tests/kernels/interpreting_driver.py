"""A CUDA driver whose launches are carried out by Triton's interpreter, for cubins of `imitation_cubin`."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from launching_driver import LaunchingDriver
from torch import Tensor

from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.triton_run import jit_kernel
from tests.kernels.imitation_cubin import source_of
from tests.kernels.program_replay import TYPES

__all__ = ["interpreting_driver"]


def interpreting_driver(capability: str) -> LaunchingDriver:
    """With one GPU of `capability`."""
    return LaunchingDriver(capability, carry_out=_carry_out)


def _carry_out(driver: Any, text: str, grid: tuple[int, int, int], read: Any) -> None:
    source = source_of(text.encode())
    names = jit_kernel(source.kernel).arg_names
    places = {name: place for place, name in enumerate(name for name in names if name in source.types)}
    given: dict[str, Tensor | int | None] = dict.fromkeys(
        name for name in names if name not in places and name not in source.constants
    )
    for name, place in places.items():
        kind = source.types[name]
        given[name] = _seen(driver, read(place, "pointer"), kind) if kind.startswith("*") else read(place, kind)
    InterpretedRun().launch(Launch(source.kernel, grid, given, source.constants, source.warps, source.stages))


def _seen(driver: Any, address: int, kind: str) -> Tensor:
    """Device memory from `address` to the end of what was allocated there."""
    dtype = TYPES[kind]
    count = driver.span(address) // dtype.itemsize
    return torch.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype=dtype)
