"""The INA3221 (and on Thor also INA238) power monitors of a Jetson, through the kernel's hwmon files.

Voltage times current, as `in1_input` (mV) and `curr1_input` (mA) beside `in1_label`: Linux, Documentation/hwmon,
ina3221.rst and ina2xx.rst. Jetson Linux 35 and later have these; JetPack 4 had files of another kind, which are not
read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swin_deploy.device.telemetry.small_file import number_in, text_in

__all__ = ["Monitor", "find_monitors"]

# A channel that is not connected, and the sum of shunt voltages, which is no rail.
_NO_RAILS = ("NC", "sum of shunt voltages")


@dataclass(frozen=True)
class Monitor:
    """One rail.

    Attributes:
        rail: Its label, e.g. `VDD_IN`.
        folder: The hwmon folder.
        channel: Its number there.
    """

    rail: str
    folder: Path
    channel: int

    def watts(self) -> float | None:
        """Power at this moment, or `None` where a file does not answer."""
        millivolts = number_in(self.folder / f"in{self.channel}_input")
        milliamperes = number_in(self.folder / f"curr{self.channel}_input")
        return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1e6

    def alarm(self) -> str | None:
        """A sentence if the rail's current is beyond one of its limits."""
        for kind, limit in (("crit", "critical"), ("max", "warning")):
            if number_in(self.folder / f"curr{self.channel}_{kind}_alarm") == 1:
                most = number_in(self.folder / f"curr{self.channel}_{kind}")
                of = "" if most is None else f" of {most} mA"
                return f"The current of {self.rail} went beyond its {limit} limit{of}, at which clocks are cut."
        return None


def find_monitors(root: Path) -> tuple[Monitor, ...]:
    """Every labelled rail below `root`, `/` for the machine itself."""
    found = []
    for label in sorted(root.glob("sys/bus/i2c/drivers/ina*/*/hwmon/hwmon*/in*_label")):
        name, digits = text_in(label), label.name[len("in") : -len("_label")]
        if not name or name in _NO_RAILS or not digits.isdecimal():
            continue
        if (label.parent / f"curr{digits}_input").exists():
            found.append(Monitor(name, label.parent, int(digits)))
    return tuple(found)
