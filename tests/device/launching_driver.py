"""A CUDA driver that launches: its device memory is host memory, and a kernel is whatever carries its cubin out.

It is as strict as a GPU where our own faults would show: an unknown module or function, more shared memory than was
asked for, a block that is not the kernel's, a stream of another's, an address outside what is allocated. Fresh memory
is poisoned: all its bits are set, which is NaN in every type of floating point.

A cubin here is JSON with `kernel`, `warps` and `types` by parameter name; an `architecture`, where one is named, must
be the device's. Python 3.8 and NumPy suffice, so that a board's side of a test can use it too.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorrt_fakes import FakeDriver

if TYPE_CHECKING:
    Read = Callable[[int, str], int]
    CarryOut = Callable[[Any, str, tuple[int, int, int], Read], None]

SCRATCH = 2  # trailing null pointers, as Triton 3.8 has them
SHARED = 512  # what every kernel here takes
INVALID_VALUE, INVALID_IMAGE, NO_BINARY, INVALID_HANDLE, NOT_FOUND, ILLEGAL_ADDRESS = 1, 200, 209, 400, 500, 700


class LaunchingDriver(FakeDriver):
    """See `FakeDriver`.

    Args:
        capability: Of the one device.
        carry_out: Called with this driver, the cubin's text, the grid, and a function from a parameter's place and its
            type (`pointer`, `i32`, `i64`) to its value.
    """

    def __init__(self, capability: str = "8.6", *, carry_out: CarryOut, **more: Any) -> None:
        super().__init__(capability, **more)
        self.carry_out = carry_out
        self.modules: dict[int, str] = {}
        self.granted: dict[int, int] = {}
        self.notes: list[Any] = []  # for whoever carries out
        self.fault = 0  # an illegal address ends the context: every later wait says so

    def span(self, address: int) -> int:
        """Bytes from `address` to the end of the allocation that holds it.

        Raises:
            IndexError: none does.
        """
        for start, block in self.memory.items():
            if start <= address < start + len(block):
                return start + len(block) - address
        raise IndexError(f"{address:#x} is not allocated")

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        status: int = super()._cuMemAlloc_v2(address, size)
        if status == 0:
            ctypes.memset(address._obj.value, 0xFF, size.value)
        return status

    def _cuModuleLoadData(self, module: Any, image: Any) -> int:
        try:
            facts = json.loads(image.value)
        except ValueError:
            return INVALID_IMAGE
        if facts.get("architecture", self.capability) != self.capability:
            return NO_BINARY
        module._obj.value = 1000 + len(self.held)
        self.modules[module._obj.value] = image.value.decode()
        self.held.append("module")
        return 0

    def _cuModuleUnload(self, module: Any) -> int:
        del self.modules[module.value]
        self.held.remove("module")
        return 0

    def _cuModuleGetFunction(self, function: Any, module: Any, name: Any) -> int:
        if json.loads(self.modules[module.value])["kernel"] + "_kernel" != name.value.decode():
            return NOT_FOUND
        function._obj.value = module.value
        return 0

    def _cuFuncSetAttribute(self, function: Any, attribute: Any, value: Any) -> int:
        if attribute.value != 8 or value.value > 99 << 10:
            return INVALID_VALUE
        self.granted[function.value] = value.value
        return 0

    def _cuLaunchKernel(self, function: Any, *more: Any) -> int:
        sizes, stream, pointers, extra = [entry.value for entry in more[:7]], more[7], more[8], more[9]
        text = self.modules.get(function.value)
        if text is None:
            return INVALID_HANDLE
        facts = json.loads(text)
        count = len(facts["types"])
        right = (
            sizes[3:6] == [32 * facts["warps"], 1, 1]
            and SHARED <= sizes[6] <= self.granted.get(function.value, 48 << 10)
            and (stream.value, extra, len(pointers)) == (77, None, count + SCRATCH)
        )
        if not right:
            return INVALID_VALUE

        # A driver copies the values when a kernel is launched, or captured. ctypes keeps a number in 16 bytes, so that
        # 8 of each can be read.
        raw = [ctypes.string_at(pointer, 8) for pointer in pointers]
        if any(value != bytes(8) for value in raw[count:]):
            return INVALID_VALUE
        kinds = {"pointer": ctypes.c_void_p, "i32": ctypes.c_int32, "i64": ctypes.c_int64}

        def read(place: int, kind: str) -> int:
            return int(kinds[kind].from_buffer_copy(raw[place]).value or 0)

        def work() -> None:
            try:
                self.carry_out(self, text, tuple(sizes[:3]), read)
            except IndexError:
                self.fault = ILLEGAL_ADDRESS

        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)
        return 0

    def _cuStreamSynchronize(self, stream: Any) -> int:
        return self.fault or super()._cuStreamSynchronize(stream)


def numpy_kernels(behaviour: str = "sound") -> CarryOut:
    """What the kernels of `toy_program` do, or not: `swapped`, `astray`, `crashing`, `endless`."""

    def at(driver: Any, address: int, count: int) -> Any:
        size = 4 * count
        if driver.span(address) < size:
            raise IndexError(f"{size} bytes at {address:#x}")
        return np.frombuffer((ctypes.c_char * size).from_address(address), np.float32)

    def carry_out(driver: Any, text: str, grid: tuple[int, int, int], read: Read) -> None:
        facts = json.loads(text)
        if facts["kernel"] == "twice":  # [rows, width] to twice that
            rows, width = grid[0], facts["width"]
            at(driver, read(1, "pointer"), rows * width)[:] = 2 * at(driver, read(0, "pointer"), rows * width)
            return
        rows, width = read(3, "i32"), facts["width"]
        if behaviour == "crashing":
            os.abort()
        if behaviour == "endless":
            while True:
                pass
        x = at(driver, read(0, "pointer") + (1 << 40 if behaviour == "astray" else 0), rows * width)
        scale = at(driver, read(1, "pointer"), 2)
        x = x.reshape(rows, width)
        found = np.stack([x.sum(axis=1), x.max(axis=1)], axis=1) * scale
        at(driver, read(2, "pointer"), rows * 2)[:] = (found[::-1] if behaviour == "swapped" else found).reshape(-1)

    return carry_out
