"""What differs between the TensorRT APIs this project drives, in one table keyed by package and version.

Presence by version was read from the vendor's own Python bindings. Nothing here holds an enum's value: those move
between versions (`STRONGLY_TYPED` is bit 1 in TensorRT 10 and bit 0 in 11), so the code names the member and asks the
module.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from swin_deploy.errors import Unavailable, UsageFault

__all__ = [
    "FLAVORS",
    "ApiTraits",
    "flavor_traits",
    "import_flavor",
    "package_unavailable",
    "parse_version",
    "refused_family",
]

FLAVORS = ("tensorrt_rtx", "tensorrt")


@dataclass(frozen=True)
class ApiTraits:
    """How one range of versions of one package wants to be driven.

    Attributes:
        package: The module to import.
        since: First (major, minor) of the range.
        until: First (major, minor) after the range.
        strongly_typed: `create_network` is asked for `STRONGLY_TYPED`: tensor types in the graph are binding. From
            TensorRT 11 on it is implied and still accepted.
        explicit_batch: `create_network` must be asked for `EXPLICIT_BATCH` (ignored in 10, gone in 11).
        precision_flags: Precision is asked for with `BuilderFlag.FP16` and `INT8`; elsewhere the graph's types decide.
        capability_targets: The builder takes compute capabilities to build for, and needs no GPU.
        profile: The export profile its ONNX parser and typing rules want.
        tactics_off: Members of `TacticSource` to switch off. 8.x can still call cuBLAS and cuDNN, which a machine with
            only TensorRT does not have; its own kernels cover what a Swin needs.
        refused_capabilities: GPUs that its runtime does not load a plan on, with the family's name.
        extra: The optional dependency of this project that installs it.
    """

    package: str
    since: tuple[int, int]
    until: tuple[int, int]
    strongly_typed: bool
    explicit_batch: bool
    precision_flags: bool
    capability_targets: bool
    profile: str
    tactics_off: tuple[str, ...]
    refused_capabilities: tuple[tuple[str, str], ...]
    extra: str


_TABLE = (
    ApiTraits(
        package="tensorrt_rtx",
        since=(1, 0),
        until=(2, 0),
        strongly_typed=True,
        explicit_batch=False,
        precision_flags=False,
        capability_targets=True,
        profile="strong",
        tactics_off=(),
        refused_capabilities=(("8.7", "Jetson Orin"), ("9.0", "Hopper")),
        extra="swin-deploy[rtx]",
    ),
    ApiTraits(
        package="tensorrt",
        since=(8, 6),
        until=(9, 0),
        strongly_typed=False,
        explicit_batch=True,
        precision_flags=True,
        capability_targets=False,
        profile="trt86",
        tactics_off=("CUBLAS", "CUBLAS_LT", "CUDNN"),
        refused_capabilities=(),
        extra="swin-deploy[tensorrt]",
    ),
    ApiTraits(
        package="tensorrt",
        since=(10, 0),
        until=(12, 0),
        strongly_typed=True,
        explicit_batch=False,
        precision_flags=False,
        capability_targets=False,
        profile="strong",
        tactics_off=(),
        refused_capabilities=(),
        extra="swin-deploy[tensorrt]",
    ),
)


def parse_version(version: str) -> tuple[int, int]:
    """The (major, minor) of a version such as `10.13.3.9` or `8.6.1.post1`."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise Unavailable(f"the version {version!r} of TensorRT cannot be read", needed="a version such as 10.13.3.9")
    return int(found[1]), int(found[2])


def flavor_traits(package: str, version: str) -> ApiTraits:
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
    known = ", ".join(f"{row.since[0]}.{row.since[1]} to below {row.until[0]}.{row.until[1]}" for row in rows)
    raise Unavailable(
        f"{package} {version} is installed",
        needed=f"{package} {known}",
        do=f"Install one with pip install '{rows[0].extra}'",
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
    extra = _rows(package)[0].extra
    try:
        module = importlib.import_module(package)
    # Its loader opens shared libraries while it is imported, and reports a missing one as OSError or RuntimeError.
    except (ImportError, OSError, RuntimeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        seen = f"{package} is not installed" if missing else f"{package} does not import ({error})"
        raise Unavailable(seen, do=f"Install it with pip install '{extra}'") from error
    version = getattr(module, "__version__", None)
    if version is None:  # an empty namespace folder of that name, or a stub package
        raise Unavailable(f"the module {package} has no version: it is a stub", do=f"pip install '{extra}'")
    return module, flavor_traits(package, str(version))


def _rows(package: str) -> Sequence[ApiTraits]:
    rows = [row for row in _TABLE if row.package == package]
    if not rows:
        raise UsageFault(f"the flavor {package!r} is unknown", needed=" or ".join(FLAVORS))
    return rows
