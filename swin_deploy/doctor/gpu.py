"""The GPU, and whether each installed TensorRT runs on it."""

from __future__ import annotations

from collections.abc import Iterator

from swin_deploy.device.tensorrt_versions import FLAVORS, refused_family
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.doctor.machine import Machine

__all__ = ["gpu_lines"]


def gpu_lines(machine: Machine) -> Iterator[Line]:
    """The GPU with its driver, then a line for each TensorRT."""
    if not machine.gpu:
        yield Line(
            "machine",
            "GPU",
            Verdict.WARN,
            f"none that can be used ({machine.gpu_problem.rstrip('.')})",
            "TensorRT for RTX builds plans here for other machines; they are run, and so proven, where the GPU is",
        )
        return
    driver = f", driver {machine.driver}" if machine.driver else ""
    yield Line("machine", "GPU", Verdict.OK, f"{machine.gpu}, compute capability {machine.capability}{driver}")
    usable = [flavor for flavor in FLAVORS if flavor in machine.packages and flavor not in machine.broken]
    refused = {flavor: refused_family(flavor, machine.capability) for flavor in usable}
    for flavor, family in refused.items():
        if family is None:
            yield Line("machine", f"{flavor} here", Verdict.OK, f"nothing speaks against {machine.capability}")
            continue
        alone = all(refused.values())
        yield Line(
            "machine",
            f"{flavor} here",
            Verdict.FAIL if alone else Verdict.WARN,
            f"its plans do not load on {family} ({machine.capability})",
            "Install full TensorRT"
            + ("" if alone else ", or use it: it is installed")
            + "; --target tensorrt builds for it",
        )
