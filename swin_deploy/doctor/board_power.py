"""A Jetson's power mode and clocks, and what holds any GPU back at this moment."""

from __future__ import annotations

from collections.abc import Iterator

from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.doctor.machine import Machine

__all__ = ["power_lines"]

# Every Jetson calls its unbounded mode so, MAXN_SUPER and MAXN included.
_UNBOUNDED = "MAXN"


def power_lines(machine: Machine) -> Iterator[Line]:
    """The mode, the clock it allows, and throttling."""
    if machine.power_mode:
        yield _mode(machine)
    bound, highest = machine.gpu_bound_mhz, machine.gpu_highest_mhz
    if bound is not None and highest is not None:
        if bound < highest:
            yield Line(
                "machine",
                "GPU clock",
                Verdict.WARN,
                f"bounded to {bound:.0f} of {highest:.0f} MHz",
                "Figures hold for this mode: `sudo nvpmodel -m N` changes it, `sudo jetson_clocks` stays at the bound",
            )
        else:
            yield Line("machine", "GPU clock", Verdict.OK, f"up to {highest:.0f} MHz")
    for sentence in machine.throttled:
        yield Line("machine", "throttling", Verdict.WARN, sentence, "Wait, cool or lower the mode before you measure")


def _mode(machine: Machine) -> Line:
    best = [f"{name} (-m {number})" for number, name in machine.power_modes.items() if name.startswith(_UNBOUNDED)]
    if machine.power_mode.startswith(_UNBOUNDED) or not best:
        return Line("machine", "power mode", Verdict.OK, machine.power_mode)
    return Line(
        "machine",
        "power mode",
        Verdict.WARN,
        f"{machine.power_mode}; the board also has {', '.join(best)}",
        "Measure in the mode that you will deploy in, and say it with every figure",
    )
