"""Installed versions against the support matrix, and JetPack's against the TensorRT beside it."""

from __future__ import annotations

from collections.abc import Iterator

from swin_deploy.device.tensorrt_versions import FLAVORS
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.doctor.machine import Machine
from swin_deploy.doctor.support_matrix import MATRIX, jetpack_of, row_of

__all__ = ["package_lines"]

_REQUIRED = ("torch", "onnx", "onnxruntime")


def package_lines(machine: Machine) -> Iterator[Line]:
    """Python, each package that is installed or needed, and JetPack."""
    for package in dict.fromkeys(row.package for row in MATRIX):
        version = machine.packages.get(package)
        if version is not None:
            yield _installed(package, version, machine.broken.get(package))
        elif package in _REQUIRED:
            yield Line("machine", package, Verdict.FAIL, "not installed", f"pip install {package}")
    if not any(flavor in machine.packages for flavor in FLAVORS):
        yield Line(
            "machine",
            "TensorRT",
            Verdict.WARN,
            "neither tensorrt_rtx nor tensorrt is installed: no engine can be built",
            "pip install 'swin-deploy[rtx]' for desktop GPUs; on a Jetson use JetPack's own, in an environment made "
            "with --system-site-packages",
        )
    if machine.jetson_linux:
        yield _jetpack(machine)


def _installed(package: str, version: str, broken: str | None) -> Line:
    if broken is not None:
        return Line("machine", package, Verdict.FAIL, f"{version}, and it cannot be used: {broken}", "Install it again")
    row = row_of(package, version)
    if row is None:
        known = ", ".join(row.versions for row in MATRIX if row.package == package and row.standing != "refused")
        return Line(
            "machine",
            package,
            Verdict.WARN,
            f"{version}, a version that nothing is known of",
            f"Known are {known}; trust what the gates of a build say, or install one of these",
        )
    if row.standing == "refused":
        known = ", ".join(row.versions for row in MATRIX if row.package == package and row.standing != "refused")
        return Line("machine", package, Verdict.FAIL, f"{version}: {row.note}", f"Install {known}")
    if row.standing == "expected":
        return Line(
            "machine",
            package,
            Verdict.WARN,
            f"{version}, expected to work ({row.note})",
            "Nothing, as long as the gates of a build, and of finish on the device, pass",
        )
    return Line("machine", package, Verdict.OK, f"{version}, executed ({row.note})")


def _jetpack(machine: Machine) -> Line:
    found = jetpack_of(machine.jetson_linux)
    seen = f"{machine.board or 'a Jetson'} with Jetson Linux {machine.jetson_linux}"
    if found is None:
        return Line(
            "machine",
            "JetPack",
            Verdict.WARN,
            f"{seen}, a release that nothing is known of",
            "See `tensorrt` above for what matters: the version of TensorRT",
        )
    seen = f"{seen}, JetPack {found.name}"
    shipped, installed = ".".join(map(str, found.tensorrt)), machine.packages.get("tensorrt")
    if installed is not None and not f"{installed}.".startswith(f"{shipped}."):
        return Line(
            "machine",
            "JetPack",
            Verdict.WARN,
            f"{seen}, which ships TensorRT {shipped}; installed is {installed}",
            "Make sure that the fleet has the same: a plan loads in the version that built it only",
        )
    return Line("machine", "JetPack", Verdict.OK, f"{seen}, which ships TensorRT {shipped}")
