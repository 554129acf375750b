"""Memory and disk: what is free against what a build and a run are estimated to take."""

from __future__ import annotations

from collections.abc import Iterator

from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.doctor.machine import Machine
from swin_deploy.doctor.memory_estimate import Estimate

__all__ = ["disk_line", "memory_lines"]

# Below this much more than the estimate, which is rough, a success is not certain.
_CERTAIN = 1.5
# A set-up of its own takes 6 GB, and a build of a usual model up to 2.
_USUAL_DISK_MIB = 2048


def memory_lines(machine: Machine, needed: Estimate) -> Iterator[Line]:
    """One line for the build and one for the run."""
    yield _compared(
        "memory to build",
        machine.free_mib,
        needed.build.total,
        f"about {needed.build.describe()}",
        "Close other programs (on a Jetson the desktop), add swap, or lower the largest batch with --batch",
    )
    free = machine.free_mib if machine.is_jetson else machine.gpu_free_mib
    yield _compared(
        "memory to run",
        free,
        needed.run,
        f"about {needed.run} MiB on the GPU in FP16 (activations {needed.activations} at batch {needed.largest_batch})",
        "Lower the largest batch with --batch, or stop what else uses the GPU",
    )


def _compared(check: str, free_mib: int | None, needed_mib: int, seen: str, do: str) -> Line:
    if free_mib is None:
        return Line(
            "machine", check, Verdict.WARN, f"{seen}; what is free is not known here", "Compare with the device"
        )
    seen = f"{seen}; {free_mib} MiB free"
    if free_mib < needed_mib:
        return Line("machine", check, Verdict.FAIL, seen, do)
    if free_mib < _CERTAIN * needed_mib:
        return Line("machine", check, Verdict.WARN, f"{seen}, which is close for an estimate", do)
    return Line("machine", check, Verdict.OK, seen)


def disk_line(machine: Machine, needed: Estimate | None) -> Line:
    """Free disk where a run would be written, against the estimate or what usual models take."""
    free = machine.disk_free_mib
    if free is None:
        return Line("machine", "disk", Verdict.WARN, "free space is not known here", "Look before you build")
    needed_mib = _USUAL_DISK_MIB if needed is None else needed.disk
    seen = f"{free} MiB free; a build leaves about {needed_mib} MiB"
    if free < needed_mib:
        verdict = Verdict.WARN if needed is None else Verdict.FAIL
        return Line("machine", "disk", verdict, seen, "Free space, or write elsewhere with --out")
    return Line("machine", "disk", Verdict.OK, seen)
