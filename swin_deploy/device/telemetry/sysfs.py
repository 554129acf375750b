"""A Jetson's sensors read straight from the kernel: what tegrastats reads, with no program beside and no privilege."""

from __future__ import annotations

from pathlib import Path

from swin_deploy.device.telemetry.gpu_clock import find_gpu_clock
from swin_deploy.device.telemetry.power_monitors import find_monitors
from swin_deploy.device.telemetry.sample import Sample
from swin_deploy.device.telemetry.small_file import number_in
from swin_deploy.device.telemetry.thermal_zones import find_zones

__all__ = ["Sysfs", "open_sysfs"]


class Sysfs:
    """The files below `root` as a source of samples. They are found once, since that takes longer than to read them."""

    def __init__(self, root: Path) -> None:
        self._monitors, self._zones, self._gpu = find_monitors(root), find_zones(root), find_gpu_clock(root)
        self._cores = tuple(sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq")))

    @property
    def name(self) -> str:
        """How the telemetry names it."""
        return "sysfs"

    @property
    def paces_itself(self) -> bool:
        """It looks whenever it is asked."""
        return False

    @property
    def has_rails(self) -> bool:
        """Whether power can be read."""
        return bool(self._monitors)

    @property
    def is_jetson(self) -> bool:
        """Whether there is a power monitor or a GPU's clock: thermal zones alone every computer has."""
        return bool(self._monitors) or self._gpu is not None

    def read(self) -> Sample | None:
        """Read every file."""
        powers = {monitor.rail: monitor.watts() for monitor in self._monitors}
        degrees = {zone.sensor: zone.degrees() for zone in self._zones}
        kilohertz = [number for number in map(number_in, self._cores) if number]
        clocks = {
            "gpu": self._gpu.current_mhz() if self._gpu else None,
            "cpu": sum(kilohertz) / len(kilohertz) / 1000 if kilohertz else None,
        }
        return Sample(
            {rail: watts for rail, watts in powers.items() if watts is not None},
            {sensor: value for sensor, value in degrees.items() if value is not None},
            {unit: mhz for unit, mhz in clocks.items() if mhz},
        )

    def close(self) -> None:
        """Nothing is held open."""


def open_sysfs(root: Path) -> Sysfs | None:
    """The source, or `None` where `root` is not a Jetson's."""
    source = Sysfs(root)
    return source if source.is_jetson else None
