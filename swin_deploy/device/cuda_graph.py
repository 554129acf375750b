"""A CUDA graph: what was queued on a device's stream once, started again with a single call.

A Swin at batch 1 is some hundred kernels of a few microseconds each, so that the calls that start them can take longer
than the kernels. Through the driver's library, like `cuda_memory`; `cuGraphInstantiateWithFlags` came with CUDA 11.4,
the one of JetPack 5.1.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from swin_deploy.device.cuda_memory import Device
from swin_deploy.errors import EnvironmentFault, Unavailable

__all__ = ["CudaGraph"]

# Value of CUstreamCaptureMode: other threads (telemetry, another session) may go on using the GPU meanwhile.
_CAPTURE_THREAD_LOCAL = 1


class CudaGraph:
    """What `enqueue` puts on the stream of `device`. Its memory addresses are fixed: keep the buffers.

    Args:
        device: The GPU whose stream is captured, with nothing queued on it.
        enqueue: Queues the work; it is called once, and nothing runs during that call.

    Raises:
        Unavailable: the work cannot be captured, since it waits for the GPU or allocates on the way.
    """

    def __init__(self, device: Device, enqueue: Callable[[], None]) -> None:
        self._device, self._executable = device, ctypes.c_void_p()
        stream, graph = ctypes.c_void_p(device.stream), ctypes.c_void_p()
        try:
            device.call("cuStreamBeginCapture_v2", stream, ctypes.c_int(_CAPTURE_THREAD_LOCAL))
            try:
                enqueue()
            finally:  # also after an error: the stream stays in capture until it is ended
                device.call("cuStreamEndCapture", stream, ctypes.byref(graph))
            device.call("cuGraphInstantiateWithFlags", ctypes.byref(self._executable), graph, ctypes.c_ulonglong(0))
        except EnvironmentFault as error:
            raise Unavailable(
                f"the work cannot be captured into a CUDA graph: {error.seen}", do="Run it without a CUDA graph"
            ) from error
        finally:
            if graph.value:
                device.call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Queue the captured work again."""
        self._device.call("cuGraphLaunch", self._executable, ctypes.c_void_p(self._device.stream))

    def close(self) -> None:
        """Give the graph back, before its device is closed. A second call does nothing."""
        if self._executable.value:
            self._device.call("cuGraphExecDestroy", self._executable)
            self._executable = ctypes.c_void_p()
