"""Run a kernel program on a GPU: the driver, NumPy and nothing else.

All memory is taken when the program is opened, for its largest batch, so that the addresses in the launches never
change, and each batch size keeps the CUDA graph of its launches.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device import cuda_memory
from swin_deploy.device.cuda_graph import CudaGraph
from swin_deploy.device.cuda_memory import Buffer, Device
from swin_deploy.device.cuda_module import CudaKernel, PreparedLaunch
from swin_deploy.device.kernel_program import Argument, KernelProgram, checked_content, read_program
from swin_deploy.device.phase_times import PhaseTimes
from swin_deploy.device.torch_memory import loaded_torch_memory
from swin_deploy.errors import BadInput, ExplainedError, Unavailable

if TYPE_CHECKING:
    import numpy.typing as npt  # not in the NumPy that Ubuntu 20.04, and so JetPack 5, brings

__all__ = ["KernelSession", "open_program", "why_not"]

# NumPy has no BF16: its bits are the upper half of FP32's.
_OUTPUT_TYPES: dict[str, type[Any]] = {"fp32": np.float32, "fp16": np.float16, "bf16": np.uint16}
_INTEGERS: dict[str, type[Any]] = {"i32": ctypes.c_int32, "i64": ctypes.c_int64}


def open_program(folder: Path, *, device: int = 0, cuda_graph: bool = True) -> KernelSession:
    """Load the kernel program in `folder` onto a GPU.

    Args:
        folder: Where `program.json` lies.
        device: Which GPU, in the driver's numbering.
        cuda_graph: Start a batch's launches through a CUDA graph, captured at the first call of each batch size.

    Raises:
        Unavailable: no GPU, or none that the program was compiled for.
        BadInput: a file of the program is missing or damaged.
        EnvironmentFault: the GPU is out of memory or faulted.
    """
    program = read_program(folder)
    reason = why_not(program, device=device)
    if reason is not None:
        raise Unavailable(reason)
    return KernelSession(folder, program, Device(device, memory=loaded_torch_memory(device)), cuda_graph=cuda_graph)


def why_not(program: KernelProgram, *, device: int = 0, library: Any = None) -> str | None:
    """Why `program` cannot run on this machine's GPU `device`, or `None`."""
    reason = cuda_memory.unavailable(device, library=library)
    if reason is not None:
        return reason
    capability = cuda_memory.compute_capability(device, library=library)
    if capability in program.capabilities:
        return None
    held = ", ".join(program.capabilities) or "none"
    return f"the GPU here has compute capability {capability}, and the kernels were compiled for {held}"


class KernelSession:
    """An opened program. Use it as a context manager, from one thread at a time.

    Args:
        folder: Where the program's files are.
        program: Already read.
        device: The GPU, of a compute capability that the program has; the session closes it.
        cuda_graph: See `open_program`.
    """

    def __init__(self, folder: Path, program: KernelProgram, device: Device, *, cuda_graph: bool = True) -> None:
        self._program, self._device, self._graph_wanted = program, device, cuda_graph
        self._kernels: dict[str, CudaKernel] = {}
        self._launches: dict[int, tuple[PreparedLaunch, ...]] = {}
        self._graphs: dict[int, CudaGraph] = {}
        try:
            self._load(folder)
        except BaseException:
            self.close()
            raise

    @property
    def cuda_graph(self) -> bool:
        """Whether launches are started through CUDA graphs."""
        return self._graph_wanted

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that have launches of their own, ascending."""
        return self._program.batches

    def _load(self, folder: Path) -> None:
        program, device, largest = self._program, self._device, self._program.batches[-1]
        capability = device.compute_capability
        scratch = {}
        for name, kernel in program.kernels.items():
            module = kernel.modules[capability]
            scratch[name] = module.scratch_parameters
            self._kernels[name] = CudaKernel(
                device,
                checked_content(folder, module),
                entry=kernel.entry,
                warps=kernel.warps,
                shared=module.shared,
            )
        image_bytes = 4 * math.prod(program.image)
        answer = np.dtype(_OUTPUT_TYPES[program.output.type])
        answer_bytes = answer.itemsize * math.prod(program.output.shape)
        places = {
            "weights": device.allocate(program.weights.bytes),
            "arena": device.allocate(max(made.arena_bytes for made in program.programs.values())),
            "images": device.allocate(largest * image_bytes),
            "output": device.allocate(largest * answer_bytes),
        }
        self._images, self._output = places["images"], places["output"]
        self._host_images, self._host_output = device.pinned(self._images.size), device.pinned(self._output.size)
        self._given = _seen(self._host_images, np.dtype(np.float32), (largest, *program.image))
        self._got = _seen(self._host_output, answer, (largest, *program.output.shape))
        self._given[...] = 0  # slots that no image has filled yet are computed like others
        device.copy_in(self._images, self._host_images.address, self._images.size)
        weights = np.frombuffer(checked_content(folder, program.weights), np.uint8)
        device.copy_in(places["weights"], weights.ctypes.data, weights.nbytes)
        device.synchronize()  # until here `weights` must live
        for batch, made in program.programs.items():
            self._launches[batch] = tuple(
                self._kernels[launch.kernel].prepared(
                    launch.grid,
                    [_value(argument, places) for argument in launch.arguments]
                    + [ctypes.c_void_p() for _ in range(scratch[launch.kernel])],
                )
                for launch in made.launches
            )
        self._marks = tuple(device.event() for _ in range(4))  # before and after each of the three phases

    def infer(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Run preprocessed `images` [B, channels, H, W] in FP32; the output comes back as FP32.

        Raises:
            BadInput: the batch or image size is not the program's.
            Unavailable: the launches cannot be captured into a CUDA graph.
            EnvironmentFault: the GPU faulted or is out of memory.
        """
        assert self._launches, "the session is closed"
        device, count = self._device, len(images)
        recorded = self._recorded(images.shape)
        device.make_current()
        if self._graph_wanted and recorded not in self._graphs:
            self._graphs[recorded] = self._captured(recorded)
        np.copyto(self._given[:count], images, casting="same_kind")
        before, copied, computed, after = self._marks
        device.record(before)
        device.copy_in(self._images, self._host_images.address, self._given[:count].nbytes)
        device.record(copied)
        if self._graph_wanted:
            self._graphs[recorded].launch()
        else:
            self._enqueue(recorded)
        device.record(computed)
        device.copy_out(self._host_output.address, self._output, self._got[:count].nbytes)
        device.record(after)
        device.synchronize()
        return {self._program.output.name: _as_float32(self._got[:count])}

    def timed(self, images: npt.NDArray[np.float32]) -> tuple[Mapping[str, npt.NDArray[np.float32]], PhaseTimes]:
        """`infer` with the GPU time of its three phases; the first calls are warm-up, which is the caller's to drop."""
        outputs = self.infer(images)
        starts, ends = self._marks[:-1], self._marks[1:]
        return outputs, PhaseTimes(*(self._device.elapsed_ms(*pair) for pair in zip(starts, ends)))

    def device_bytes(self) -> int | None:
        """Device memory of the weights, the arena and the buffers; the driver's own is not in it."""
        return self._device.allocated if self._launches else None

    def _recorded(self, shape: tuple[int, ...]) -> int:
        """The smallest recorded batch that holds `shape`."""
        batches = self._program.batches
        if len(shape) != 4 or shape[1:] != self._program.image or not 1 <= shape[0] <= batches[-1]:
            raise BadInput(
                f"images of shape {list(shape)} were given",
                needed=f"a batch of 1 to {batches[-1]} and the shape {list(self._program.image)}",
                do="Split larger batches, or make the program with a larger --batch",
            )
        return next(batch for batch in batches if batch >= shape[0])

    def _enqueue(self, recorded: int) -> None:
        for launch in self._launches[recorded]:
            launch.enqueue()

    def _captured(self, recorded: int) -> CudaGraph:
        # Once without: the driver may load a kernel at its first launch only, which a capture does not allow.
        self._enqueue(recorded)
        self._device.synchronize()
        return CudaGraph(self._device, lambda: self._enqueue(recorded))

    def close(self) -> None:
        """Give back the GPU memory. A second call does nothing."""
        with suppress(ExplainedError):  # after a fault every call fails, and the first error is the one to report
            if self._kernels:
                self._device.make_current()  # the thread that closes need not be the one that ran
            for graph in self._graphs.values():
                graph.close()
        for kernel in self._kernels.values():
            kernel.close()
        self._graphs.clear()
        self._launches.clear()
        self._kernels.clear()
        self._device.close()

    def __enter__(self) -> KernelSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _value(argument: Argument, places: Mapping[str, Buffer]) -> ctypes._SimpleCData[Any]:
    """As a launch takes it."""
    if argument.kind in _INTEGERS:
        value: ctypes._SimpleCData[Any] = _INTEGERS[argument.kind](argument.value)
        return value
    if argument.kind == "null":
        return ctypes.c_void_p()
    return ctypes.c_void_p(places[argument.kind].address + argument.value)


def _seen(buffer: Buffer, kind: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Host memory as an array."""
    memory = memoryview((ctypes.c_char * buffer.size).from_address(buffer.address))
    return np.frombuffer(memory, kind).reshape(shape)


def _as_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A copy in FP32; whole numbers are the bits of BF16."""
    if values.dtype != np.uint16:
        return np.array(values, np.float32)
    return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
