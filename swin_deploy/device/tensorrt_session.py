"""Run a plan with TensorRT for RTX or TensorRT: one runner, since all versions from 8.5 on share the calls it needs.

It needs the TensorRT package, NumPy and the NVIDIA driver, and nothing else. Opening a plan runs native code from it;
see `plan_sidecar` for what is checked first and what no check can promise.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from swin_deploy.device.cuda_graph import CudaGraph
from swin_deploy.device.cuda_memory import Buffer, Device
from swin_deploy.device.phase_times import PhaseTimes
from swin_deploy.device.plan_check import check_plan
from swin_deploy.device.plan_sidecar import PlanSidecar
from swin_deploy.device.tensorrt_log import captured_log, tells_of_exhausted_memory
from swin_deploy.device.tensorrt_versions import ApiTraits, import_flavor
from swin_deploy.device.torch_memory import loaded_torch_memory
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError, Unavailable

if TYPE_CHECKING:
    import numpy.typing as npt  # not in the NumPy that Ubuntu 20.04, and so JetPack 5, brings

__all__ = ["TensorRTSession", "open_plan"]

# By the members' names: their values differ between versions. TensorRT's own `nptype` fails on NumPy >= 1.24 in 8.6.
_NUMPY_TYPES: dict[str, type[np.floating[Any]]] = {"FLOAT": np.float32, "HALF": np.float16}


@dataclass(frozen=True)
class _Port:
    """The memory of one input or output.

    Attributes:
        device: What the engine reads or writes.
        host: Pinned memory of the same size.
        array: `host` seen as the shape that is bound now; it may be smaller.
    """

    device: Buffer
    host: Buffer
    array: npt.NDArray[Any]


def open_plan(path: Path, *, flavor: str, device: int = 0, cuda_graph: bool = False) -> TensorRTSession:
    """Check the side-car of the plan at `path` against this machine, then load it.

    Args:
        path: The plan; its side-car lies beside it.
        flavor: `tensorrt_rtx` or `tensorrt`.
        device: Which GPU, in the driver's numbering.
        cuda_graph: Start the engine through a CUDA graph, captured after the first call of each batch size.

    Raises:
        Unavailable: the package or a GPU is missing, or the plan was built for another GPU.
        BadInput: the plan or its side-car is damaged or missing, or another package or version built it.
        EnvironmentFault: the GPU is out of memory or faulted.
    """
    sidecar = check_plan(path, flavor=flavor, device=device)
    trt, traits = import_flavor(flavor)
    gpu = Device(device, memory=loaded_torch_memory(device))
    return TensorRTSession(trt, traits, path, sidecar, gpu, cuda_graph=cuda_graph)


class TensorRTSession:
    """An opened plan. Use it as a context manager, from one thread at a time.

    Args:
        trt: The imported package.
        traits: Its row of the version table.
        plan: The plan file, already checked.
        sidecar: Its side-car.
        device: The GPU; the session closes it.
        cuda_graph: See `open_plan`.
    """

    def __init__(
        self,
        trt: Any,
        traits: ApiTraits,
        plan: Path,
        sidecar: PlanSidecar,
        device: Device,
        *,
        cuda_graph: bool = False,
    ) -> None:
        self._trt, self._traits, self._device, self._sidecar = trt, traits, device, sidecar
        self._log = captured_log(trt)
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._ports: dict[str, _Port] = {}
        self._bound: tuple[int, ...] | None = None  # the images' shape that context and memory are set for
        self._graph_wanted = cuda_graph
        self._graph: CudaGraph | None = None
        try:
            self._load(plan)
        except BaseException:
            self.close()
            raise

    def _load(self, plan: Path) -> None:
        trt, device = self._trt, self._device
        self._runtime = self._made_runtime()
        content = plan.read_bytes()
        self._plan_bytes = len(content)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise self._refused(plan)
        self._context = self._made_context()
        if self._context is None:
            raise EnvironmentFault(
                f"{plan.name} got no execution context: {self._log.errors() or 'no reason given'}",
                needed="enough GPU memory for the plan's largest batch",
                do="Close what else uses the GPU, or build with a smaller largest batch",
            )
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if len(inputs) != 1:
            raise BadInput(f"{plan.name} has the inputs {inputs}", needed="one input, the images")
        self._input = inputs[0]
        self._types = {name: self._numpy_type(plan, name) for name in names}
        self._marks = tuple(device.event() for _ in range(4))  # before and after each of the three phases

    def _made_runtime(self) -> Any:
        try:
            return self._trt.Runtime(self._log)
        except (TypeError, RuntimeError) as error:  # pybind11 words a null runtime as a TypeError
            reason = self._log.errors() or error
            raise Unavailable(
                f"{self._sidecar.package} cannot make a runtime here: {reason}", needed="a driver that it supports"
            ) from error

    def _made_context(self) -> Any:
        if not self._traits.shape_kernels:
            return self._engine.create_execution_context()
        # At once and not in the background: what is checked, timed and captured is then what runs ever after.
        config = self._engine.create_runtime_config()
        config.dynamic_shapes_kernel_specialization_strategy = self._trt.DynamicShapesKernelSpecializationStrategy.EAGER
        return self._engine.create_execution_context(runtime_config=config)

    def infer(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Run preprocessed `images` [B, channels, H, W] in FP32; outputs come back as FP32.

        Raises:
            BadInput: the batch or image size is outside the plan's profile.
            Unavailable: a CUDA graph was asked for, and this engine cannot be captured.
            EnvironmentFault: the GPU faulted or is out of memory.
        """
        device = self._device
        assert self._context is not None, "the session is closed"
        self._check_shape(images.shape)
        device.make_current()
        self._bind(images.shape)
        port = self._ports[self._input]
        np.copyto(port.array, images, casting="same_kind")  # also rounds to the engine's type
        before, copied, computed, after = self._marks
        device.record(before)
        device.copy_in(port.device, port.host.address, port.array.nbytes)
        device.record(copied)
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        device.record(computed)
        outputs = [(name, out) for name, out in self._ports.items() if name != self._input]
        for _, out in outputs:
            device.copy_out(out.host.address, out.device, out.array.nbytes)
        device.record(after)
        device.synchronize()
        if self._graph_wanted and self._graph is None:
            # Only now: the first run of a shape does what may not happen while a stream is captured.
            self._graph = CudaGraph(device, self._enqueue)
        return {name: np.array(out.array, np.float32) for name, out in outputs}

    def timed(self, images: npt.NDArray[np.float32]) -> tuple[Mapping[str, npt.NDArray[np.float32]], PhaseTimes]:
        """`infer` with the GPU time of its three phases; the first calls are warm-up, which is the caller's to drop."""
        outputs = self.infer(images)
        starts, ends = self._marks[:-1], self._marks[1:]
        return outputs, PhaseTimes(*(self._device.elapsed_ms(*pair) for pair in zip(starts, ends)))

    def device_bytes(self) -> int | None:
        """Device memory of the engine, its context and the buffers bound so far.

        The engine counts as large as its plan, whose weights are nearly all of it; what the driver and the package
        keep for themselves is not in it. `None` once it is closed.
        """
        if self._engine is None:
            return None
        context = int(getattr(self._engine, self._traits.context_memory))
        return self._plan_bytes + context + self._device.allocated

    def inspector(self) -> str:
        """What the engine says of its layers, as JSON text."""
        assert self._engine is not None, "the session is closed"
        form = self._trt.LayerInformationFormat.JSON
        return str(self._engine.create_engine_inspector().get_engine_information(form))

    def _bind(self, shape: tuple[int, ...]) -> None:
        """Set context and memory for images of `shape`, unless they are."""
        if shape == self._bound:
            return
        self._bound = None
        self._drop_graph()  # it holds the addresses and shapes of the last one
        if not self._context.set_input_shape(self._input, shape):
            raise self._fault(f"the shape {shape} was refused")
        for name in self._types:
            port = self._provided(name, tuple(int(length) for length in self._context.get_tensor_shape(name)))
            if not self._context.set_tensor_address(name, port.device.address):
                raise self._fault(f"the memory of {name!r} was refused")
        self._bound = shape

    def _provided(self, name: str, shape: tuple[int, ...]) -> _Port:
        """Memory of `name` for `shape`; what it had is kept where it is large enough."""
        size = int(np.prod(shape)) * np.dtype(self._types[name]).itemsize
        held = self._ports.pop(name, None)
        if held is not None and held.host.size >= size:
            device, host = held.device, held.host
        else:
            if held is not None:
                self._device.free(held.device)
                self._device.free_pinned(held.host)
            device, host = self._device.allocate(size), self._device.pinned(size)
        memory = memoryview((ctypes.c_char * size).from_address(host.address))
        port = self._ports[name] = _Port(device, host, np.frombuffer(memory, self._types[name]).reshape(shape))
        return port

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise self._fault("the engine was not started")

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        declared = tuple(int(size) for size in self._engine.get_tensor_shape(self._input))  # -1 where dynamic
        low, _, high = self._sidecar.batch
        same = len(shape) == len(declared) and all(b in (-1, a) for a, b in zip(shape[1:], declared[1:]))
        if not same or not low <= shape[0] <= high:
            raise BadInput(
                f"images of shape {list(shape)} were given",
                needed=f"a batch of {low} to {high} and the shape {list(declared)}",
                do="Split larger batches, or build with another --batch",
            )

    def _numpy_type(self, plan: Path, name: str) -> type[np.floating[Any]]:
        found = self._engine.get_tensor_dtype(name)
        for member, numpy_type in _NUMPY_TYPES.items():
            if found == getattr(self._trt.DataType, member):
                return numpy_type
        raise BadInput(f"tensor {name!r} of {plan.name} has the type {found}", needed="FP32 or FP16 there")

    def _refused(self, plan: Path) -> ExplainedError:
        reason = self._log.errors() or "no reason given"
        if tells_of_exhausted_memory(reason):
            return EnvironmentFault(
                f"{plan.name} does not fit the GPU's memory: {reason}", do="Close what else uses the GPU"
            )
        return BadInput(
            f"{self._sidecar.package} {self._trt.__version__} does not load {plan}: {reason}",
            do="Build it again on this machine",
        )

    def _fault(self, seen: str) -> EnvironmentFault:
        return EnvironmentFault(f"{self._sidecar.package}: {seen}: {self._log.errors() or 'no reason given'}")

    def close(self) -> None:
        """Give back the GPU memory. A second call does nothing."""
        # TensorRT's objects must go before the context that they live in, children first.
        with suppress(ExplainedError):  # after a fault every call fails, and the first error is the one to report
            if self._runtime is not None:
                self._device.make_current()  # the thread that closes need not be the one that ran
            self._drop_graph()
        self._context = None
        self._engine = None
        self._runtime = None
        self._ports.clear()
        self._device.close()

    def __enter__(self) -> TensorRTSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
