"""What differs between the TensorRT APIs this project drives, in one table keyed by package and version.

Presence by version was read from the vendor's own Python bindings (`tests/device/bindings` holds what they have, and a
test drives the builder and the runner against it). Nothing here holds an enum's value: those move between versions
(`STRONGLY_TYPED` is bit 1 in TensorRT 10 and bit 0 in 11), so the code names the member and asks the module.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from swin_deploy.errors import Unavailable, UsageFault

__all__ = [
    "FLAVORS",
    "FP32_MARK",
    "ApiTraits",
    "import_flavor",
    "package_unavailable",
    "parse_version",
    "refused_family",
    "table",
    "traits_of",
]

FLAVORS = ("tensorrt_rtx", "tensorrt")

# A node whose name contains this is computed and stored in FP32 by the versions that choose types by builder flags
# (export profiles `trt85` and `trt86`), whatever the flags allow elsewhere. The parser keeps a node's name as its
# layer's. A strongly typed graph says the same with its casts.
FP32_MARK = "/fp32/"


@dataclass(frozen=True)
class ApiTraits:
    """How one range of versions of one package wants to be driven.

    Attributes:
        package: The module to import.
        since: First (major, minor) of the range.
        until: First (major, minor) after the range.
        profile: The export profile its ONNX parser and typing rules want: `strong`, `trt86` or `trt85`.
        jetpack: The JetPack releases that ship it, as a reader names them; empty for none.
        bound_to: What a plan of it is bound to, for messages.
        strongly_typed: `create_network` is asked for `STRONGLY_TYPED`: tensor types in the graph are binding. From
            TensorRT 11 on it is implied and still accepted.
        explicit_batch: `create_network` must be asked for `EXPLICIT_BATCH` (ignored in 10, gone in 11).
        precision_flags: Precision is asked for with `BuilderFlag.FP16` and `INT8`, and layers are held to FP32 by
            constraints; elsewhere the graph's types decide.
        capability_targets: The builder takes compute capabilities to build for, and needs no GPU.
        timing_cache: The builder times kernels and keeps the times; TensorRT for RTX chooses without timing.
        tactic_memory: Kernels are tried, and `MemoryPoolType.TACTIC_DRAM` bounds what that may take. On a board whose
            CPU and GPU share memory it counts the builder's host memory too.
        optimization_level: `builder_optimization_level` exists.
        node_names: Parser errors know the node's name and operator, not its number alone.
        shape_kernels: Kernels for a shape are compiled when it is first met, by default behind other kernels that run
            until then, and which a CUDA graph would keep for good: see `IRuntimeConfig` of TensorRT for RTX.
        context_memory: The engine's property that holds the bytes of an execution context.
        tactics_off: Members of `TacticSource` to switch off.
        refused_capabilities: GPUs that its runtime does not load a plan on, with the family's name.
        extra: The optional dependency of this project that installs it.
    """

    package: str
    since: tuple[int, int]
    until: tuple[int, int]
    profile: str
    jetpack: str
    bound_to: str
    strongly_typed: bool
    explicit_batch: bool
    precision_flags: bool
    capability_targets: bool
    timing_cache: bool
    tactic_memory: bool
    optimization_level: bool
    node_names: bool
    shape_kernels: bool
    context_memory: str
    tactics_off: tuple[str, ...]
    refused_capabilities: tuple[tuple[str, str], ...]
    extra: str

    @property
    def versions(self) -> str:
        """The range in words, e.g. `tensorrt 8.5 to below 8.6`."""
        return f"{self.package} {self.since[0]}.{self.since[1]} to below {self.until[0]}.{self.until[1]}"


_ONE_GPU = "the version that built it and the GPU model that it was built on"

_RTX = ApiTraits(
    package="tensorrt_rtx",
    since=(1, 0),
    until=(2, 0),
    profile="strong",
    jetpack="",
    bound_to="the version that built it and the compute capabilities that it was built for",
    strongly_typed=True,
    explicit_batch=False,
    precision_flags=False,
    capability_targets=True,
    timing_cache=False,
    tactic_memory=False,
    optimization_level=True,
    node_names=True,
    shape_kernels=True,
    context_memory="device_memory_size_v2",
    tactics_off=(),
    refused_capabilities=(("8.7", "Jetson Orin"), ("9.0", "Hopper")),
    extra="swin-deploy[rtx]",
)
_8_5 = ApiTraits(
    package="tensorrt",
    since=(8, 5),
    until=(8, 6),
    profile="trt85",
    jetpack="5.1",
    bound_to=_ONE_GPU,
    strongly_typed=False,
    explicit_batch=True,
    precision_flags=True,
    capability_targets=False,
    timing_cache=True,
    tactic_memory=False,
    optimization_level=False,
    node_names=False,
    shape_kernels=False,
    context_memory="device_memory_size",
    # cuBLAS and cuDNN stay on: JetPack 5.1 has both, and doing without them became NVIDIA's default in 8.6 only.
    tactics_off=(),
    refused_capabilities=(),
    extra="swin-deploy[tensorrt]",
)
_8_6 = replace(
    _8_5,
    since=(8, 6),
    until=(9, 0),
    profile="trt86",
    jetpack="6.0",
    tactic_memory=True,
    optimization_level=True,
    # 8.6 can still call them, and a machine with only TensorRT lacks them; its own kernels cover what a Swin needs.
    tactics_off=("CUBLAS", "CUBLAS_LT", "CUDNN"),
)
_10 = replace(
    _8_6,
    since=(10, 0),
    until=(10, 13),
    profile="strong",
    jetpack="6.1 and 6.2",
    strongly_typed=True,
    explicit_batch=False,
    precision_flags=False,
    node_names=True,
    tactics_off=(),
)
_10_13 = replace(_10, since=(10, 13), until=(11, 0), jetpack="7.0 and 7.1")
_11 = replace(_10_13, since=(11, 0), until=(12, 0), jetpack="7.2.2 and later", context_memory="device_memory_size_v2")
_TABLE = (_RTX, _8_5, _8_6, _10, _10_13, _11)


def table() -> tuple[ApiTraits, ...]:
    """Every row, TensorRT for RTX first and then TensorRT from old to new."""
    return _TABLE


def parse_version(version: str) -> tuple[int, int]:
    """The (major, minor) of a version such as `10.13.3.9` or `8.6.1.post1`."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise Unavailable(f"the version {version!r} of TensorRT cannot be read", needed="a version such as 10.13.3.9")
    return int(found[1]), int(found[2])


def traits_of(package: str, version: str) -> ApiTraits:
    """The row of the table for an installed version.

    Raises:
        UsageFault: `package` is none of `FLAVORS`.
        Unavailable: the version is one this project has no row for.
    """
    rows = _rows(package)
    number = parse_version(version)
    for row in rows:
        if row.since <= number < row.until:
            return row
    raise Unavailable(
        f"{package} {version} is installed",
        needed=" or ".join(row.versions for row in rows),
        do=_how_to_install(package),
    )


def refused_family(package: str, capability: str) -> str | None:
    """The name of the GPUs of `capability` if a version of `package` in the table loads no plan on them."""
    found = (dict(row.refused_capabilities).get(capability) for row in _rows(package))
    return next((family for family in found if family is not None), None)


def package_unavailable(package: str) -> str | None:
    """Why `package` cannot be used here, naming what to install, or `None`."""
    try:
        import_flavor(package)
    except (Unavailable, UsageFault) as error:
        return str(error)
    return None


def import_flavor(package: str) -> tuple[Any, ApiTraits]:
    """Import a TensorRT module and choose its row by the version found.

    Raises:
        Unavailable: it is not installed, its libraries do not load, or the version has no row.
    """
    advice = _how_to_install(package)
    try:
        module = importlib.import_module(package)
    # Its loader opens shared libraries while it is imported, and reports a missing one as OSError or RuntimeError.
    except (ImportError, OSError, RuntimeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        seen = f"{package} is not installed" if missing else f"{package} does not import ({error})"
        raise Unavailable(seen, do=advice) from error
    version = getattr(module, "__version__", None)
    if version is None:  # an empty namespace folder of that name, or a stub package
        raise Unavailable(f"the module {package} has no version: it is a stub", do=advice)
    return module, traits_of(package, str(version))


def _how_to_install(package: str) -> str:
    install = f"Install it with pip install '{_rows(package)[0].extra}'"
    if package != "tensorrt":
        return install
    return (
        f"{install}; on a Jetson it is part of JetPack (sudo apt install python3-libnvinfer), and a virtual"
        " environment must be made with --system-site-packages to see it"
    )


def _rows(package: str) -> Sequence[ApiTraits]:
    rows = [row for row in _TABLE if row.package == package]
    if not rows:
        raise UsageFault(f"the flavor {package!r} is unknown", needed=" or ".join(FLAVORS))
    return rows
