"""What a bundle can be packed for: which TensorRT is there, and what a build may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from swin_deploy.artifact import Precision
from swin_deploy.device.bundle_file import Limits
from swin_deploy.device.tensorrt_versions import ApiTraits, traits_of
from swin_deploy.errors import UsageFault

__all__ = ["TARGETS", "Target", "releases_of"]


@dataclass(frozen=True)
class Target:
    """One kind of device.

    Attributes:
        name: As given to `--target`.
        devices: What it is, for a reader.
        releases: Package and version of each TensorRT that is found there, the preferred one first; the version table
            has what each reads.
        lacks: Precisions that its GPUs do not have.
        architectures: Compute capabilities of its GPUs, for kernels that are compiled ahead of time; empty where
            Triton's compiler has no code for them.
        limits: What a build may take. A board whose GPU shares 8 GB with everything else is the smallest of `orin` and
            `xavier`; the numbers leave it room and have not been tuned on one.
    """

    name: str
    devices: str
    releases: tuple[tuple[str, str], ...]
    lacks: tuple[Precision, ...]
    architectures: tuple[str, ...]
    limits: Limits

    @property
    def packages(self) -> tuple[str, ...]:
        """The TensorRT packages, the preferred one first."""
        return tuple(dict.fromkeys(package for package, _ in self.releases))


_BOARD = Limits(workspace_mib=512, memory_limit_mib=2048, build_seconds=7200.0)
_LARGE_BOARD = Limits(workspace_mib=2048, memory_limit_mib=8192, build_seconds=3600.0)
_DESKTOP = Limits(workspace_mib=None, memory_limit_mib=None, build_seconds=3600.0)

# TensorRT by JetPack: 5.1 (Xavier, Orin) 8.5, 6.0 8.6, 6.1 and 6.2 10.3, 7.0 and 7.1 (Thor) 10.13, 7.2.2 11.4, as
# NVIDIA's JetPack pages have them. Compute capability 7.2 (Xavier) has FP16 and INT8, 8.7 (Orin) BF16 too; FP8 came
# with 8.9.
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(
                "orin",
                "Jetson Orin",
                (("tensorrt", "10.3"), ("tensorrt", "11.4"), ("tensorrt", "8.6"), ("tensorrt", "8.5")),
                (Precision.FP8,),
                ("8.7",),
                _BOARD,
            ),
            Target("xavier", "Jetson Xavier", (("tensorrt", "8.5"),), (Precision.BF16, Precision.FP8), (), _BOARD),
            Target("thor", "Jetson Thor", (("tensorrt", "10.13"), ("tensorrt", "11.4")), (), ("11.0",), _LARGE_BOARD),
            Target(
                "rtx",
                "GeForce and RTX",
                (("tensorrt_rtx", "1.6"), ("tensorrt", "11.0")),
                (),
                ("8.6", "8.9", "12.0"),
                _DESKTOP,
            ),
            Target(
                "triton",
                "Triton Inference Server",
                (("tensorrt", "10.13"), ("tensorrt", "11.0")),
                (),
                ("8.0", "8.6", "8.9", "9.0", "10.0", "12.0"),
                _DESKTOP,
            ),
        )
    }
)


def releases_of(target: Target, version: str | None) -> tuple[ApiTraits, ...]:
    """The rows of the version table that a bundle is for, the preferred one first; one a profile.

    Args:
        target: Where the engines will be finished.
        version: A TensorRT version such as `10.3`, or `None` for all that the target has.

    Raises:
        UsageFault: no such TensorRT is known, or not there.
    """
    rows = [traits_of(package, number) for package, number in target.releases]
    if version is not None:
        known = {traits_of(package, version) for package in target.packages if _known(package, version)}
        wanted = [row for row in rows if row in known]
        if not wanted:
            raise UsageFault(
                f"--tensorrt {version} with --target {target.name}",
                needed="one of " + ", ".join(f"{row.since[0]}.{row.since[1]}" for row in rows),
            )
        rows = wanted
    first: dict[str, ApiTraits] = {}
    for row in rows:
        first.setdefault(row.profile, row)
    return tuple(first.values())


def _known(package: str, version: str) -> bool:
    from swin_deploy.errors import Unavailable

    try:
        traits_of(package, version)
    except Unavailable:
        return False
    return True
