"""Run a plan with TensorRT for RTX or TensorRT: one runner, since all versions share the calls it needs.

It needs the TensorRT package, NumPy and the NVIDIA driver, and nothing else. Opening a plan runs native code from it;
see `plan_sidecar` for what is checked first and what no check can promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from swin_deploy.device import cuda_memory
from swin_deploy.device.plan_sidecar import PlanSidecar
from swin_deploy.device.tensorrt_log import captured_log
from swin_deploy.errors import BadInput, EnvironmentFault

__all__ = ["PhaseTimes", "TensorRTSession"]

# By the members' names: their values differ between versions. TensorRT's own `nptype` fails on NumPy >= 1.24 in 8.6.
_NUMPY_TYPES: dict[str, type[np.floating[Any]]] = {"FLOAT": np.float32, "HALF": np.float16}


@dataclass(frozen=True)
class PhaseTimes:
    """GPU time of one batch in milliseconds, by CUDA events.

    Attributes:
        copy_in: Images from host memory to the device; pageable host memory.
        compute: The engine alone.
        copy_out: Outputs back to the host.
    """

    copy_in: float
    compute: float
    copy_out: float


class TensorRTSession:
    """An opened plan. Use it as a context manager, from one thread at a time.

    Args:
        trt: The imported package.
        plan: The plan file, already checked.
        sidecar: Its side-car.
        device: The GPU; the session closes it.
    """

    def __init__(self, trt: Any, plan: Path, sidecar: PlanSidecar, device: cuda_memory.Device) -> None:
        self._trt, self._device, self._sidecar = trt, device, sidecar
        self._log = captured_log(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise BadInput(
                f"{sidecar.package} {trt.__version__} does not load {plan}: {self._log.errors() or 'no reason given'}",
                do="Build it again on this machine",
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EnvironmentFault(
                f"{plan.name} got no execution context: {self._log.errors() or 'no reason given'}",
                needed="enough GPU memory for the plan's largest batch",
            )
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if len(inputs) != 1:
            raise BadInput(f"{plan.name} has the inputs {inputs}", needed="one input, the images")
        self._input = inputs[0]
        self._outputs = [name for name in names if name != self._input]
        self._types = {name: self._numpy_type(plan, name) for name in names}
        self._buffers: dict[str, cuda_memory.Buffer] = {}
        self._marks = tuple(device.event() for _ in range(4))  # before and after each of the three phases

    def infer(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        """Run preprocessed `images` [B, channels, H, W] in FP32; outputs come back as FP32.

        Raises:
            BadInput: the batch or image size is outside the plan's profile.
            EnvironmentFault: the GPU faulted.
        """
        return self._run(images)

    def timed(self, images: npt.NDArray[np.float32]) -> tuple[Mapping[str, npt.NDArray[np.float32]], PhaseTimes]:
        """`infer` with the GPU time of its three phases; the first calls are warm-up, which is the caller's to drop."""
        outputs = self._run(images)
        starts, ends = self._marks[:-1], self._marks[1:]
        return outputs, PhaseTimes(*(self._device.elapsed_ms(*pair) for pair in zip(starts, ends)))

    def _run(self, images: npt.NDArray[np.float32]) -> Mapping[str, npt.NDArray[np.float32]]:
        device, context = self._device, self._context
        assert context is not None, "the session is closed"
        self._check_shape(images.shape)
        device.make_current()
        host = np.ascontiguousarray(images, dtype=self._types[self._input])
        if not context.set_input_shape(self._input, host.shape):
            raise self._fault(f"the shape {host.shape} was refused")
        results = {
            name: np.empty(tuple(int(size) for size in context.get_tensor_shape(name)), self._types[name])
            for name in self._outputs
        }
        for name, array in ((self._input, host), *results.items()):
            context.set_tensor_address(name, self._buffer(name, array.nbytes).address)
        before, copied, computed, after = self._marks
        device.record(before)
        device.copy_in(self._buffers[self._input], host.ctypes.data, host.nbytes)
        device.record(copied)
        if not context.execute_async_v3(device.stream):
            raise self._fault("the engine was not started")
        device.record(computed)
        for name, array in results.items():
            device.copy_out(array.ctypes.data, self._buffers[name], array.nbytes)
        device.record(after)
        device.synchronize()
        return {name: array.astype(np.float32, copy=False) for name, array in results.items()}

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

    def _buffer(self, name: str, size: int) -> cuda_memory.Buffer:
        """Device memory for `name`, at least `size` bytes, kept between calls."""
        held = self._buffers.get(name)
        if held is None or held.size < size:
            if held is not None:
                self._device.free(self._buffers.pop(name))
            held = self._buffers[name] = self._device.allocate(size)
        return held

    def _numpy_type(self, plan: Path, name: str) -> type[np.floating[Any]]:
        found = self._engine.get_tensor_dtype(name)
        for member, numpy_type in _NUMPY_TYPES.items():
            if found == getattr(self._trt.DataType, member):
                return numpy_type
        raise BadInput(f"tensor {name!r} of {plan.name} has the type {found}", needed="FP32 or FP16 there")

    def _fault(self, seen: str) -> EnvironmentFault:
        return EnvironmentFault(f"{self._sidecar.package}: {seen}: {self._log.errors() or 'no reason given'}")

    def close(self) -> None:
        """Give back the GPU memory. A second call does nothing."""
        # TensorRT's objects must go before the context that they live in, children first.
        self._context = self._engine = self._runtime = None
        self._device.close()

    def __enter__(self) -> TensorRTSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
