"""Stand-ins for the TensorRT package of a given version and for the CUDA driver, to run our control flow with neither.

What an imitation has is not up to it: every class, member, keyword and enum value comes from `bindings/*.json`, which
was read from that version's real Python bindings. Asking for one that the version lacks is an AttributeError or a
TypeError here as there, and so is leaving out an argument that it wants. What a member *does* is written below.

Python 3.8 and NumPy suffice, so that a board's side of a test can use them too.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

RECORDS = Path(__file__).resolve().parent / "bindings"
LISTING = "Layers:\nName: m, LayerType: gemm, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: "


def record_of(version: str) -> dict[str, Any]:
    """The record whose major and minor are those of `version`; versions that start with 1 are TensorRT for RTX."""
    package = "tensorrt_rtx" if version.startswith("1.") else "tensorrt"
    start = "-".join([package, ".".join(version.split(".")[:2])]) + "."
    (path,) = [path for path in RECORDS.glob("*.json") if path.name.startswith(start)]
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


class Strict:
    """An object that has what the record says of its class, and does what `acting` does.

    Args:
        version: For messages.
        kind: Name of the class.
        record: What it has.
        acting: A plain object with the members that are acted out.
    """

    def __init__(self, version: str, kind: str, record: dict[str, Any], acting: Any) -> None:
        for name, value in (("_version", version), ("_kind", kind), ("_record", record), ("_acting", acting)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name in self._record["methods"]:
            act = getattr(self._acting, name, None)
            return checked(f"{self._kind}.{name}", self._record["methods"][name], act)
        if name in self._record["properties"]:
            return getattr(self._acting, name)
        raise AttributeError(f"{self._kind} of TensorRT {self._version} has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if self._record["properties"].get(name) != "rw":
            raise AttributeError(f"{self._kind} of TensorRT {self._version} has no {name!r} that can be set")
        setattr(self._acting, name, value)


def checked(name: str, overloads: list[list[str]], act: Any) -> Callable[..., Any]:
    """`act`, called only with arguments that one of the recorded signatures takes."""
    if act is None:
        raise NotImplementedError(f"the version has {name}, and the imitation does not act it out")

    def call(*arguments: Any, **keywords: Any) -> Any:
        if not any(_fits(one, arguments, keywords) for one in overloads):
            raise TypeError(f"{name}{overloads} does not take {len(arguments)} arguments and {sorted(keywords)}")
        return act(*arguments, **keywords)

    return call


def _fits(signature: list[str], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    names = [name for name in signature if name != "self"]
    if len(arguments) > len(names):
        return False
    left = names[len(arguments) :]
    wanted = {name for name in left if not name.endswith("=")}
    return wanted <= set(keywords) <= {name.rstrip("=") for name in left}


class StrictModule:
    """The package of one version: the names that it has, of which those that are acted out can be used."""

    def __init__(self, record: dict[str, Any], version: str, asked: dict[str, Any], acted: dict[str, Any]) -> None:
        self._record, self._acted = record, acted
        self.__version__, self.asked = version, asked

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._record["names"]:
            raise AttributeError(f"TensorRT {self.__version__} has no {name!r}")
        if name in self._acted:
            return self._acted[name]
        described = self._record["classes"].get(name, {})
        if "values" not in described:
            raise NotImplementedError(f"the version has {name}, and the imitation does not act it out")
        return self._acted.setdefault(name, _enum(name, described["values"]))


def fake_tensorrt(version: str, **behaviour: Any) -> Any:
    """A module that has what the bindings of `version` have, with a builder and an engine that are acted out.

    What was asked of it is in `module.asked`, a dict. Keyword arguments choose what it does:

    Building: `input_shape` of the parsed network; `layers` of it, (name, type of its output) each; `parser_errors`
    (descriptions); `refuses` (an error message instead of a plan) and `warns` before that; `plan` (bytes); `times`
    (the timing cache afterwards) and `takes_cache` (whether it takes one that is not empty).
    Running: `dtype` of the engine's edges; `outputs` (their names); `computes` (images to a mapping of outputs, else
    sums and maxima); `accepts_shape`, `executes`, `has_runtime`, `has_context` (False: it refuses); `context_bytes`;
    `inspector` (text); `driver` (a `FakeDriver`: work is captured while its stream is).
    """
    record = record_of(version)
    classes = record["classes"]
    input_shape = behaviour.get("input_shape", (-1, 3, 4, 4))
    parser_errors = behaviour.get("parser_errors", ())
    dtype_name = behaviour.get("dtype", "FLOAT")
    outputs = tuple(behaviour.get("outputs", ("logits",)))
    computes = behaviour.get("computes")
    driver = behaviour.get("driver")
    asked: dict[str, Any] = {
        "flags": set(), "cleared": set(), "targets": [], "shapes": {}, "pools": {}, "held": {}, "caches": [],
    }  # fmt: skip
    acted: dict[str, Any] = {}
    module = StrictModule(record, version, asked, acted)
    severity: Any = _enum("Severity", classes["ILogger"]["classes"]["Severity"]["values"])

    def wrap(kind: str, acting: Any) -> Strict:
        return Strict(version, kind, classes[kind], acting)

    def constructor(kind: str, acting: Any) -> Any:
        return checked(kind, classes[kind]["methods"]["__init__"], lambda *given: wrap(kind, acting(*given)))

    class ILogger:
        Severity = severity

        def __init__(self) -> None:
            pass

    class Cache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> bytes:
            return bytes(behaviour.get("times", b"times"))

    class Config:
        profiling_verbosity: Any = None
        num_compute_capabilities = 0
        builder_optimization_level = 3
        cache: Any = None

        def set_flag(self, flag: Any) -> None:
            asked["flags"].add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            asked["cleared"].add(flag.name)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            asked["pools"][pool.name] = pool_size

        def get_tactic_sources(self) -> int:
            return 0b11111

        def set_tactic_sources(self, tactic_sources: int) -> bool:
            asked["tactics"] = tactic_sources
            return True

        def add_optimization_profile(self, profile: Any) -> int:
            return 0

        def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
            assert self.num_compute_capabilities > index
            asked["targets"].append(compute_capability.name)
            return True

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Strict:
            return wrap("ITimingCache", Cache(bytes(serialized_timing_cache)))

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            content = cache._acting.content
            if content and not behaviour.get("takes_cache", True):
                return False
            asked["caches"].append((content, ignore_mismatch))
            self.cache = cache
            return True

        def get_timing_cache(self) -> Any:
            return self.cache

    class Profile:
        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            asked["shapes"][input] = (min, opt, max)

    class Layer:
        num_outputs = 1

        def __init__(self, name: str, kind: str) -> None:
            self.name, self.tensor = name, SimpleNamespace(dtype=module.DataType[kind])

        def get_output(self, index: int) -> Any:
            return wrap("ITensor", self.tensor)

        @property
        def precision(self) -> Any:
            return None

        @precision.setter
        def precision(self, dtype: Any) -> None:
            asked["held"].setdefault(self.name, []).append(dtype.name)

        def set_output_type(self, index: int, dtype: Any) -> None:
            asked["held"].setdefault(self.name, []).append((index, dtype.name))

    class Network:
        num_inputs = 1

        def __init__(self) -> None:
            self.layers = [wrap("ILayer", Layer(*layer)) for layer in behaviour.get("layers", ())]
            self.num_layers = len(self.layers)

        def get_input(self, index: int) -> Any:
            return wrap("ITensor", SimpleNamespace(name="images", shape=input_shape))

        def get_layer(self, index: int) -> Any:
            return self.layers[index]

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.log = logger

        def create_network(self, flags: int = 0) -> Any:
            asked["network_flags"] = flags
            return wrap("INetworkDefinition", Network())

        def create_builder_config(self) -> Any:
            return wrap("IBuilderConfig", Config())

        def create_optimization_profile(self) -> Any:
            return wrap("IOptimizationProfile", Profile())

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            asked["verbosity"] = config.profiling_verbosity
            asked["level"] = config._acting.builder_optimization_level
            for warning in behaviour.get("warns", ("a warning",)):
                self.log.log(severity.WARNING, warning)
            if "refuses" in behaviour:
                self.log.log(severity.ERROR, behaviour["refuses"])
                return None
            self.log.log(severity.VERBOSE, LISTING)
            return bytes(behaviour.get("plan", b"plan"))

    class OnnxParser:
        num_errors = len(parser_errors)

        def __init__(self, network: Any, logger: Any) -> None:
            pass

        def parse_from_file(self, model: str) -> bool:
            asked["parsed"] = model
            return not parser_errors

        def get_error(self, index: int) -> Any:
            said = SimpleNamespace(
                node=lambda: index, desc=lambda: parser_errors[index], node_name=lambda: "a", node_operator=lambda: "Op"
            )
            return wrap("ParserError", said)

    class Context:
        def __init__(self) -> None:
            self.shape: tuple[int, ...] = ()
            self.addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            self.shape = tuple(shape)
            return bool(behaviour.get("accepts_shape", True))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            if name == "images":
                return self.shape
            if computes is not None:
                return tuple(computes(np.zeros(self.shape, np.float32))[name].shape)
            return (self.shape[0], 2, *(1,) * outputs.index(name))  # no two outputs of one shape

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self.addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            """Sum and maximum of each image, read and written through the fake device's addresses.

            Output n, from 0, has n + 1 times these.
            """
            asked["stream"] = stream_handle
            if driver is not None and driver.capturing is not None:
                driver.capturing.append(self.work)
            else:
                self.work()
            return bool(behaviour.get("executes", True))

        def work(self) -> None:
            numpy_type = {"FLOAT": np.float32, "HALF": np.float16}[dtype_name]
            images = _at(self.addresses["images"], self.shape, numpy_type)
            if computes is not None:
                for name, value in computes(images.astype(np.float32)).items():
                    _at(self.addresses[name], value.shape, numpy_type)[...] = value
                return
            flat = images.reshape(self.shape[0], -1)
            for place, name in enumerate(outputs):
                out = _at(self.addresses[name], (self.shape[0], 2), numpy_type)
                out[:, 0], out[:, 1] = (place + 1) * flat.sum(axis=1), (place + 1) * flat.max(axis=1)

    class Inspector:
        def get_engine_information(self, format: Any) -> str:
            asked["inspected"] = format.name
            return str(behaviour.get("inspector", '{"Layers": []}'))

    class Engine:
        num_io_tensors = 1 + len(outputs)
        device_memory_size = device_memory_size_v2 = behaviour.get("context_bytes", 1000)

        def __init__(self, log: Any) -> None:
            self.log = log

        def __del__(self) -> None:
            asked["held_at_the_engine_s_end"] = [] if driver is None else list(driver.held)

        def get_tensor_name(self, index: int) -> str:
            return (outputs[0], "images", *outputs[1:])[index]  # outputs need not come last

        def get_tensor_mode(self, name: str) -> Any:
            return module.TensorIOMode["INPUT" if name == "images" else "OUTPUT"]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return input_shape if name == "images" else (-1, 2)

        def get_tensor_dtype(self, name: str) -> Any:
            return module.DataType[dtype_name]

        def create_runtime_config(self) -> Any:
            return wrap("IRuntimeConfig", SimpleNamespace())

        def create_execution_context(self, runtime_config: Any = None) -> Any:
            if runtime_config is not None:
                asked["shape_kernels"] = runtime_config.dynamic_shapes_kernel_specialization_strategy.name
            if not behaviour.get("has_context", True):
                self.log.log(severity.ERROR, "Error Code 2: OutOfMemory")
                return None
            return wrap("IExecutionContext", Context())

        def create_engine_inspector(self) -> Any:
            return wrap("EngineInspector", Inspector())

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.log = logger
            if not behaviour.get("has_runtime", True):
                self.log.log(severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            said = {b"damaged": "magic tag mismatch", b"too large": "Cuda Runtime (out of memory)"}
            if bytes(serialized_engine) in said:
                self.log.log(severity.ERROR, said[bytes(serialized_engine)])
                return None
            return wrap("ICudaEngine", Engine(self.log))

    acted["ILogger"] = ILogger
    for kind, acting in (("Builder", Builder), ("OnnxParser", OnnxParser), ("Runtime", Runtime)):
        acted[kind] = constructor(kind, acting)
    return module


def _enum(name: str, values: dict[str, int]) -> Any:
    return enum.IntEnum(name, values)  # type: ignore[misc]


def _at(address: int, shape: tuple[int, ...], numpy_type: Any) -> Any:
    size = int(np.prod(shape)) * np.dtype(numpy_type).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), numpy_type).reshape(shape)


class FakeTorch:
    """PyTorch's `cuda` with an allocator that keeps count."""

    class OutOfMemoryError(RuntimeError):
        pass

    def __init__(self, *, available: bool = True, largest: int = 1 << 20) -> None:
        self.held: dict[int, tuple[int, int, int]] = {}
        self.available, self.largest = available, largest
        self.cuda: Any = SimpleNamespace(
            is_available=lambda: self.available,
            OutOfMemoryError=self.OutOfMemoryError,
            caching_allocator_alloc=self.allocate,
            caching_allocator_delete=lambda address: self.held.pop(address),
        )

    def allocate(self, size: int, device: int, stream: int) -> int:
        if size > self.largest:
            raise self.OutOfMemoryError("CUDA out of memory")
        address = 1000 + len(self.held)
        self.held[address] = size, device, stream
        return address


class FakeDriver:
    """A CUDA driver whose device memory is host memory; keeps what is held, and fails where told to.

    Args:
        capability: Major and minor of the one device.
        devices: How many devices it reports.
        multiprocessors: The device's size.
        fails: Function name to status.
    """

    def __init__(
        self, capability: str = "8.6", *, devices: int = 1, multiprocessors: int = 28, fails: Any = None
    ) -> None:
        self.capability, self.devices, self.multiprocessors = capability, devices, multiprocessors
        self.fails: dict[str, int] = fails or {}
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.held: list[str] = []
        self.capturing: Any = None  # what was queued since a capture began; None outside of one
        self.graph: list[Callable[[], None]] = []
        self.launches = 0

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
        major, minor = self.capability.split(".")
        value._obj.value = {75: int(major), 76: int(minor), 16: self.multiprocessors}[attribute]
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

    def _cuStreamSynchronize(self, stream: Any) -> int:
        return self._refused_while_capturing()

    def _cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:
        self.capturing = []
        return 0

    def _cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        self.graph, self.capturing = self.capturing, None
        graph._obj.value = 11
        self.held.append("graph")
        return 0

    def _cuGraphDestroy(self, graph: Any) -> int:
        self.held.remove("graph")
        return 0

    def _cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        executable._obj.value = 12
        self.held.append("executable graph")
        return 0

    def _cuGraphExecDestroy(self, executable: Any) -> int:
        self.held.remove("executable graph")
        return 0

    def _cuGraphLaunch(self, executable: Any, stream: Any) -> int:
        self.launches += 1
        for work in self.graph:
            work()
        return 0

    def _refused_while_capturing(self) -> int:
        return 0 if self.capturing is None else 900

    def _cuMemAllocHost_v2(self, address: Any, size: Any) -> int:
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.pinned[address._obj.value] = block
        return 0

    def _cuMemFreeHost(self, address: Any) -> int:
        del self.pinned[address.value]
        return 0

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        if self.capturing is not None:
            return self._refused_while_capturing()
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
