"""Memory, one stream and timing events through the CUDA driver's own library, with no other package.

Only `libcuda.so.1` is used, which every machine with an NVIDIA driver has. A missing library or GPU is an answer
(`unavailable`), never an exception at import. The device's primary context is used, the one that TensorRT and PyTorch
use too, so device memory may come from either: see `DeviceMemory` and `torch_memory`.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from swin_deploy.errors import EnvironmentFault, ExplainedError, Unavailable

__all__ = [
    "Buffer",
    "Device",
    "DeviceMemory",
    "Event",
    "compute_capability",
    "device_name",
    "gpu_model",
    "unavailable",
]

_LIBRARY = "libcuda.so.1"
# CUdevice_attribute and CUresult values: part of the driver's binary interface, so they do not move.
_MULTIPROCESSORS, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 16, 75, 76
_OUT_OF_MEMORY = 2
_EVENT_DEFAULT = 0
_STREAM_NON_BLOCKING = 1  # it does not wait for the default stream, whose use elsewhere would end a graph's capture


def unavailable(device: int = 0, *, library: Any = None) -> str | None:
    """Why no CUDA device can be used here, or `None` when `device` can."""
    try:
        _device_handle(_initialised(library), device)
    except (Unavailable, EnvironmentFault) as error:
        return str(error)
    return None


def device_name(device: int = 0, *, library: Any = None) -> str:
    """The GPU's marketing name, e.g. `NVIDIA GeForce RTX 3060`."""
    driver = _initialised(library)
    text = ctypes.create_string_buffer(256)
    _check(driver, driver.cuDeviceGetName(text, len(text), _device_handle(driver, device)), "reading the device's name")
    return text.value.decode("utf-8", errors="replace")


def compute_capability(device: int = 0, *, library: Any = None) -> str:
    """The GPU's compute capability, e.g. `8.6`."""
    driver = _initialised(library)
    return _capability(driver, _device_handle(driver, device))


def gpu_model(device: int = 0, *, library: Any = None) -> str:
    """Name and size of the GPU, e.g. `Orin (16 multiprocessors)`: every Orin module has the same name."""
    driver = _initialised(library)
    count = _attribute(driver, _device_handle(driver, device), _MULTIPROCESSORS)
    return f"{device_name(device, library=driver)} ({count} multiprocessors)"


def _capability(driver: Any, handle: ctypes.c_int) -> str:
    return f"{_attribute(driver, handle, _CAPABILITY_MAJOR)}.{_attribute(driver, handle, _CAPABILITY_MINOR)}"


def _attribute(driver: Any, handle: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    _check(driver, driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle), "reading the device's facts")
    return value.value


@dataclass
class Buffer:
    """A piece of memory.

    Attributes:
        address: Where it starts, on the device or, from `Device.pinned`, on the host.
        size: Bytes.
    """

    address: int
    size: int


@dataclass(frozen=True)
class Event:
    """A mark on the stream whose time can be read."""

    handle: ctypes.c_void_p


class DeviceMemory(Protocol):
    """Who hands out device memory."""

    def allocate(self, size: int, stream: int) -> int:
        """The address of `size` new bytes, for use on `stream`."""
        ...

    def free(self, address: int) -> None:
        """Take the memory at `address` back; nothing queued uses it any more."""
        ...


class Device:
    """One GPU's primary context with one stream. Use it as a context manager; buffers and events die with it.

    Args:
        index: Which GPU, in the driver's numbering.
        library: The loaded driver library; `None` loads it.
        memory: Where device memory comes from; `None` is the driver itself.

    Raises:
        Unavailable: no driver, or no such device.
        EnvironmentFault: the driver refuses.
    """

    def __init__(self, index: int = 0, *, library: Any = None, memory: DeviceMemory | None = None) -> None:
        self._driver = _initialised(library)
        self._memory: DeviceMemory = _DriverMemory(self._driver) if memory is None else memory
        self._handle = _device_handle(self._driver, index)
        self._context, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._buffers: dict[int, Buffer] = {}
        self._pinned: dict[int, Buffer] = {}
        self._events: list[Event] = []
        self._open = False
        status = self._driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), self._handle)
        _check(self._driver, status, "taking the device's context")
        self._open = True
        try:
            self.make_current()
            self.call("cuStreamCreate", ctypes.byref(self._stream), ctypes.c_uint(_STREAM_NON_BLOCKING))
        except BaseException:
            self.close()
            raise

    @property
    def stream(self) -> int:
        """The stream as the number that TensorRT takes."""
        return self._stream.value or 0

    @property
    def compute_capability(self) -> str:
        """Of this GPU, e.g. `8.6`."""
        return _capability(self._driver, self._handle)

    def make_current(self) -> None:
        """Bind the context to the calling thread: the driver keeps that per thread."""
        self.call("cuCtxSetCurrent", self._context)

    @property
    def allocated(self) -> int:
        """Bytes of device memory held here."""
        return sum(buffer.size for buffer in self._buffers.values())

    def allocate(self, size: int) -> Buffer:
        """New device memory of `size` bytes, at least one."""
        buffer = Buffer(self._memory.allocate(max(size, 1), self.stream), max(size, 1))
        self._buffers[buffer.address] = buffer
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give `buffer` back before the device is closed."""
        del self._buffers[buffer.address]
        self._memory.free(buffer.address)

    def pinned(self, size: int) -> Buffer:
        """New host memory that the device copies from and to without a detour, of `size` bytes, at least one."""
        address = ctypes.c_void_p()
        self.call("cuMemAllocHost_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        buffer = Buffer(address.value or 0, max(size, 1))
        self._pinned[buffer.address] = buffer
        return buffer

    def free_pinned(self, buffer: Buffer) -> None:
        """Give host memory back before the device is closed."""
        del self._pinned[buffer.address]
        self.call("cuMemFreeHost", ctypes.c_void_p(buffer.address))

    def copy_in(self, buffer: Buffer, host: int, size: int) -> None:
        """Queue a copy of `size` bytes from the host address `host`, which must stay valid until `synchronize`."""
        self._fits(buffer, size)
        self.call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(buffer.address),
            ctypes.c_void_p(host),
            ctypes.c_size_t(size),
            self._stream,
        )

    def copy_out(self, host: int, buffer: Buffer, size: int) -> None:
        """Queue a copy of `size` bytes to the host address `host`, which is filled after `synchronize`."""
        self._fits(buffer, size)
        self.call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(host),
            ctypes.c_uint64(buffer.address),
            ctypes.c_size_t(size),
            self._stream,
        )

    def synchronize(self) -> None:
        """Wait for everything queued; a fault of an earlier kernel surfaces here."""
        self.call("cuStreamSynchronize", self._stream)

    def event(self) -> Event:
        """A new event, not yet recorded."""
        event = Event(ctypes.c_void_p())
        self.call("cuEventCreate", ctypes.byref(event.handle), ctypes.c_uint(_EVENT_DEFAULT))
        self._events.append(event)
        return event

    def record(self, event: Event) -> None:
        """Put `event` behind what is queued."""
        self.call("cuEventRecord", event.handle, self._stream)

    def elapsed_ms(self, start: Event, end: Event) -> float:
        """Milliseconds between two recorded events; waits for `end`."""
        self.call("cuEventSynchronize", end.handle)
        milliseconds = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(milliseconds), start.handle, end.handle)
        return milliseconds.value

    def close(self) -> None:
        """Free everything and release the context. A second call does nothing."""
        if not self._open:
            return
        self._open = False
        driver = self._driver
        # Statuses are not checked: after a device fault every call fails, and the first error is the one to report.
        driver.cuCtxSetCurrent(self._context)
        for event in self._events:
            driver.cuEventDestroy_v2(event.handle)
        for buffer in self._buffers.values():
            with suppress(ExplainedError):
                self._memory.free(buffer.address)
        for buffer in self._pinned.values():
            driver.cuMemFreeHost(ctypes.c_void_p(buffer.address))
        if self._stream.value:
            driver.cuStreamDestroy_v2(self._stream)
        self._events.clear()
        self._buffers.clear()
        self._pinned.clear()
        driver.cuDevicePrimaryCtxRelease_v2(self._handle)

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, name: str, *arguments: Any) -> None:
        """Call the driver's function `name`; its stream and context are this device's to name.

        Raises:
            EnvironmentFault: it reports an error.
        """
        self.check(self.attempt(name, *arguments), name)

    def attempt(self, name: str, *arguments: Any) -> int:
        """`call` for who has a word of its own for some errors; the status, 0 for none."""
        status: int = getattr(self._driver, name)(*arguments)
        return status

    def check(self, status: int, doing: str) -> None:
        """Raise `EnvironmentFault` if `status` is an error; `doing` is what was tried."""
        _check(self._driver, status, doing)

    def _fits(self, buffer: Buffer, size: int) -> None:
        assert size <= buffer.size, f"a copy of {size} bytes does not fit a buffer of {buffer.size}"


class _DriverMemory:
    """Each piece by a call of the driver's own."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def allocate(self, size: int, stream: int) -> int:
        address = ctypes.c_uint64()
        status = self._driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
        _check(self._driver, status, f"taking {size >> 20} MiB of device memory")
        return address.value

    def free(self, address: int) -> None:
        _check(self._driver, self._driver.cuMemFree_v2(ctypes.c_uint64(address)), "giving device memory back")


def _initialised(library: Any) -> Any:
    if library is None:
        try:
            library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise Unavailable(
                f"no NVIDIA driver is here: {_LIBRARY} does not load", needed="an NVIDIA GPU with its driver"
            ) from error
    status = library.cuInit(0)
    if status != 0:
        reason = _explained(library, status)
        raise Unavailable(f"the NVIDIA driver finds no usable GPU: {reason}", needed="an NVIDIA GPU with its driver")
    return library


def _device_handle(driver: Any, index: int) -> ctypes.c_int:
    count, handle = ctypes.c_int(), ctypes.c_int()
    _check(driver, driver.cuDeviceGetCount(ctypes.byref(count)), "counting the devices")
    if not 0 <= index < count.value:
        raise Unavailable(f"the NVIDIA driver reports {count.value} GPUs", needed=f"GPU number {index}")
    _check(driver, driver.cuDeviceGet(ctypes.byref(handle), index), "opening the device")
    return handle


def _check(driver: Any, status: int, doing: str) -> None:
    if status == 0:
        return
    reason = _explained(driver, status)
    if status == _OUT_OF_MEMORY:
        raise EnvironmentFault(
            f"the GPU is out of memory ({doing}: {reason})", do="Close what else uses the GPU, or use a smaller batch"
        )
    raise EnvironmentFault(f"the GPU reports an error ({doing}: {reason})")


def _explained(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorString(status, ctypes.byref(text)) != 0 or text.value is None:
        return f"CUDA error {status}"
    return f"CUDA error {status}, {text.value.decode('utf-8', errors='replace')}"
