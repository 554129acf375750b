"""A compiled kernel on a GPU: a cubin loaded and launched through the driver's library, like `cuda_memory`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from swin_deploy.device.cuda_memory import Device
from swin_deploy.errors import BadInput, ExplainedError, Unavailable

__all__ = ["CudaKernel", "PreparedLaunch"]

# CUresult and CUfunction_attribute values: part of the driver's binary interface, so they do not move.
_INVALID_IMAGE, _NO_BINARY_FOR_GPU, _INVALID_SOURCE, _NOT_FOUND, _INVALID_VALUE = 200, 209, 300, 500, 1
_MAX_DYNAMIC_SHARED = 8
_PLAIN_SHARED = 48 << 10  # bytes of a block that every GPU gives unasked
_WARP = 32


class CudaKernel:
    """One function of a cubin. Close it before its device.

    Args:
        device: Where it runs.
        image: The cubin's content.
        entry: Name of the function.
        warps: Of a block.
        shared: Dynamic shared memory of a block, in bytes.

    Raises:
        Unavailable: the cubin is for another architecture or a newer driver, or the GPU has too little shared memory.
        BadInput: it has no such function.
        EnvironmentFault: the driver refuses.
    """

    def __init__(self, device: Device, image: bytes, *, entry: str, warps: int, shared: int) -> None:
        self._device, self._warps, self._shared = device, warps, shared
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        status = device.attempt("cuModuleLoadData", ctypes.byref(self._module), ctypes.c_char_p(image))
        if status == _NO_BINARY_FOR_GPU:
            raise Unavailable(f"the compiled kernel {entry} is for another GPU architecture than this one")
        if status in (_INVALID_IMAGE, _INVALID_SOURCE):
            # Of one major version of CUDA a driver takes what any minor version compiled, and nothing of a later one.
            # Source: NVIDIA's CUDA Compatibility, minor version compatibility.
            raise Unavailable(
                f"the driver does not take the compiled kernel {entry} (CUDA error {status})",
                needed="a driver of the CUDA version that compiled it, or later",
                do="Update the driver, or use another engine of the bundle",
            )
        device.check(status, f"loading the kernel {entry}")
        try:
            self._find(entry)
        except BaseException:
            self.close()
            raise

    def _find(self, entry: str) -> None:
        device = self._device
        name = ctypes.c_char_p(entry.encode("ascii"))
        status = device.attempt("cuModuleGetFunction", ctypes.byref(self._function), self._module, name)
        if status == _NOT_FOUND:
            raise BadInput(f"the compiled module has no function {entry}")
        device.check(status, f"finding the kernel {entry}")
        if self._shared <= _PLAIN_SHARED:
            return
        attribute = ctypes.c_int(_MAX_DYNAMIC_SHARED)
        status = device.attempt("cuFuncSetAttribute", self._function, attribute, ctypes.c_int(self._shared))
        if status == _INVALID_VALUE:
            raise Unavailable(
                f"the kernel {entry} takes {self._shared >> 10} KiB of shared memory, more than this GPU gives a block"
            )
        device.check(status, f"asking for {self._shared >> 10} KiB of shared memory for the kernel {entry}")

    def prepared(self, grid: tuple[int, int, int], arguments: Sequence[ctypes._SimpleCData[Any]]) -> PreparedLaunch:
        """A launch on `grid` with these values, one for each parameter, that can be queued again and again."""
        sizes = [ctypes.c_uint(size) for size in (*grid, self._warps * _WARP, 1, 1, self._shared)]
        return PreparedLaunch(self._device, self._function, sizes, arguments)

    def close(self) -> None:
        """Unload it. A second call does nothing."""
        if self._module.value:
            with suppress(ExplainedError):  # after a fault every call fails, and the first error is the one to report
                self._device.call("cuModuleUnload", self._module)
            self._module = ctypes.c_void_p()


class PreparedLaunch:
    """A launch with all its arguments in place: queueing it is one call and makes no object."""

    def __init__(
        self,
        device: Device,
        function: ctypes.c_void_p,
        sizes: Sequence[ctypes.c_uint],
        values: Sequence[ctypes._SimpleCData[Any]],
    ) -> None:
        self._values = tuple(values)  # the driver gets their addresses only
        pointers = (ctypes.c_void_p * len(self._values))(*(ctypes.addressof(value) for value in self._values))
        self._device = device
        self._call = (function, *sizes, ctypes.c_void_p(device.stream), pointers, None)

    def enqueue(self) -> None:
        """Put it on the device's stream; a fault of the kernel itself surfaces when that is waited for."""
        self._device.call("cuLaunchKernel", *self._call)
