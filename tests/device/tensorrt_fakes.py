"""Stand-ins for the TensorRT package of a given version and for the CUDA driver, to run our control flow with neither.

Each fake has the members that the real bindings of that version have, and lacks those they lack, so that asking for
one too many is an AttributeError. Values of enums differ between versions here as they do there.
"""

from __future__ import annotations

import ctypes
import enum
from types import SimpleNamespace
from typing import Any

import numpy as np

_MEMBERS: dict[str, dict[str, dict[str, int]]] = {
    "8.6.0": {
        "BuilderFlag": {"FP16": 0, "INT8": 1, "TF32": 7},
        "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1},
        "TacticSource": {"CUBLAS": 0, "CUBLAS_LT": 1, "CUDNN": 2, "EDGE_MASK_CONVOLUTIONS": 3, "JIT_CONVOLUTIONS": 4},
    },
    "10.3.0": {
        "BuilderFlag": {"FP16": 0, "INT8": 1, "TF32": 6, "BF16": 17},
        "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1},
        "TacticSource": {"CUBLAS": 0, "CUBLAS_LT": 1, "CUDNN": 2, "EDGE_MASK_CONVOLUTIONS": 3, "JIT_CONVOLUTIONS": 4},
    },
    "11.4.0.106": {
        "BuilderFlag": {"TF32": 6},
        "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED": 0},
        "TacticSource": {"EDGE_MASK_CONVOLUTIONS": 0, "JIT_CONVOLUTIONS": 1},
    },
}
_MEMBERS["1.7.1.116"] = {**_MEMBERS["11.4.0.106"], "ComputeCapability": {"SM75": 75, "SM86": 86, "SM120": 120}}

LISTING = "Layers:\nName: m, LayerType: gemm, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: "


def fake_tensorrt(version: str, **behaviour: Any) -> Any:
    """A module of the shape of `version`.

    Keyword arguments choose what it does: `input_shape` of the parsed network, `parser_errors` (descriptions),
    `refuses` (an error message instead of a plan), `plan` (bytes), `dtype` of the engine's tensors, `outputs` of the
    engine. What was asked of it is in `module.asked`, a dict.
    """
    input_shape = behaviour.get("input_shape", (-1, 3, 4, 4))
    parser_errors = behaviour.get("parser_errors", ())
    dtype_name = behaviour.get("dtype", "FLOAT")
    outputs = behaviour.get("outputs", ("logits",))
    asked: dict[str, Any] = {"flags": set(), "cleared": set(), "targets": [], "shapes": {}}
    enums = {name: enum.IntEnum(name, members) for name, members in _MEMBERS[version].items()}
    severity = enum.Enum("severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})
    data_type = enum.Enum("data_type", {"FLOAT": 0, "HALF": 1, "INT32": 3})
    mode = enum.Enum("mode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})

    class ILogger:
        def __init__(self) -> None:
            pass

    class Config:
        profiling_verbosity: Any = None
        num_compute_capabilities = 0

        def set_flag(self, flag: Any) -> None:
            asked["flags"].add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            asked["cleared"].add(flag.name)

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            asked["workspace"] = (pool, size)

        def get_tactic_sources(self) -> int:
            return 0b11111

        def set_tactic_sources(self, mask: int) -> bool:
            asked["tactics"] = mask
            return True

        def add_optimization_profile(self, profile: Any) -> int:
            return 0

    if "ComputeCapability" in enums:

        def set_compute_capability(self: Config, capability: Any, index: int) -> bool:
            assert self.num_compute_capabilities > index
            asked["targets"].append(capability.name)
            return True

        Config.set_compute_capability = set_compute_capability  # type: ignore[attr-defined]

    class Profile:
        def set_shape(self, name: str, low: Any, usual: Any, high: Any) -> None:
            asked["shapes"][name] = (low, usual, high)

    class Builder:
        def __init__(self, log: Any) -> None:
            self.log = log

        def create_network(self, flags: int) -> Any:
            asked["network_flags"] = flags
            tensor = SimpleNamespace(name="images", shape=input_shape)
            return SimpleNamespace(num_inputs=1, get_input=lambda index: tensor)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            asked["verbosity"] = config.profiling_verbosity
            if "refuses" in behaviour:
                self.log.log(severity.ERROR, behaviour["refuses"])
                return None
            self.log.log(severity.WARNING, "a warning")
            self.log.log(severity.VERBOSE, LISTING)
            return bytes(behaviour.get("plan", b"plan"))

    class OnnxParser:
        num_errors = len(parser_errors)

        def __init__(self, network: Any, log: Any) -> None:
            pass

        def parse_from_file(self, path: str) -> bool:
            asked["parsed"] = path
            return not parser_errors

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(node=lambda: index, desc=lambda: parser_errors[index])

    class Context:
        def __init__(self) -> None:
            self.shape: tuple[int, ...] = ()
            self.addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.shape = tuple(shape)
            return bool(behaviour.get("accepts_shape", True))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return (self.shape[0], 2, *(1,) * outputs.index(name))  # no two outputs of one shape

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            """Sum and maximum of each image, read and written through the fake device's addresses.

            Output n, from 0, has n + 1 times these.
            """
            asked["stream"] = stream
            numpy_type = {"FLOAT": np.float32, "HALF": np.float16}[dtype_name]
            images = _at(self.addresses["images"], self.shape, numpy_type).reshape(self.shape[0], -1)
            for place, name in enumerate(outputs):
                out = _at(self.addresses[name], (self.shape[0], 2), numpy_type)
                out[:, 0], out[:, 1] = (place + 1) * images.sum(axis=1), (place + 1) * images.max(axis=1)
            return bool(behaviour.get("executes", True))

    class Engine:
        num_io_tensors = 1 + len(outputs)

        def get_tensor_name(self, index: int) -> str:
            return (outputs[0], "images", *outputs[1:])[index]  # outputs need not come last

        def get_tensor_mode(self, name: str) -> Any:
            return mode["INPUT" if name == "images" else "OUTPUT"]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return input_shape if name == "images" else (-1, 2)

        def get_tensor_dtype(self, name: str) -> Any:
            return data_type[dtype_name]

        def create_execution_context(self) -> Context:
            return Context()

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if plan == b"damaged":
                self.log.log(severity.ERROR, "magic tag mismatch")
                return None
            return Engine()

    return SimpleNamespace(
        __version__=version,
        asked=asked,
        ILogger=ILogger,
        Builder=Builder,
        OnnxParser=OnnxParser,
        Runtime=Runtime,
        DataType=data_type,
        TensorIOMode=mode,
        ProfilingVerbosity=enum.Enum("ProfilingVerbosity", {"DETAILED": 2}),
        MemoryPoolType=enum.Enum("MemoryPoolType", {"WORKSPACE": 0}),
        **enums,
    )


def _at(address: int, shape: tuple[int, ...], numpy_type: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(numpy_type).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), numpy_type).reshape(shape)


class FakeDriver:
    """A CUDA driver whose device memory is host memory; keeps what is held, and fails where told to.

    Args:
        capability: Major and minor of the one device.
        devices: How many devices it reports.
        fails: Function name to status.
    """

    def __init__(self, capability: str = "8.6", *, devices: int = 1, fails: dict[str, int] | None = None) -> None:
        self.capability, self.devices, self.fails = capability, devices, fails or {}
        self.memory: dict[int, Any] = {}
        self.held: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        # On the instance, so that a call is a plain lookup; anything not imitated below succeeds and does nothing.
        return lambda *arguments: self.fails.get(name) or (getattr(self, "_" + name, None) or _nothing)(*arguments)

    def _cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.devices
        return 0

    def _cuDeviceGetName(self, text: Any, size: int, device: Any) -> int:
        text.value = b"Imaginary GPU"
        return 0

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = int(self.capability.split(".")[{75: 0, 76: 1}[attribute]])
        return 0

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        self.held.append("context")
        return 0

    def _cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:
        self.held.remove("context")
        return 0

    def _cuStreamCreate(self, stream: Any, flags: Any) -> int:
        stream._obj.value = 77
        self.held.append("stream")
        return 0

    def _cuStreamDestroy_v2(self, stream: Any) -> int:
        self.held.remove("stream")
        return 0

    def _cuEventCreate(self, event: Any, flags: Any) -> int:
        event._obj.value = 5
        self.held.append("event")
        return 0

    def _cuEventDestroy_v2(self, event: Any) -> int:
        self.held.remove("event")
        return 0

    def _cuEventElapsedTime(self, milliseconds: Any, start: Any, end: Any) -> int:
        milliseconds._obj.value = 1.5
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.memory[address._obj.value] = block
        return 0

    def _cuMemFree_v2(self, address: Any) -> int:
        del self.memory[address.value]
        return 0

    def _cuMemcpyHtoDAsync_v2(self, device: Any, host: Any, size: Any, stream: Any) -> int:
        ctypes.memmove(device.value, host.value, size.value)
        return 0

    def _cuMemcpyDtoHAsync_v2(self, host: Any, device: Any, size: Any, stream: Any) -> int:
        ctypes.memmove(host.value, device.value, size.value)
        return 0

    def _cuGetErrorString(self, status: int, text: Any) -> int:
        text._obj.value = {2: b"out of memory", 100: b"no CUDA-capable device is detected"}.get(status, b"unknown")
        return 0


def _nothing(*_: Any) -> int:
    return 0
