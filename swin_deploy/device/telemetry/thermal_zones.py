"""The kernel's thermal zones: temperatures, and the trip points at which clocks are cut.

Linux, Documentation/driver-api/thermal/sysfs-api.rst: a `passive` trip slows something down, `hot` warns, `critical`
shuts the machine down, `active` turns a fan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from swin_deploy.device.telemetry.small_file import number_in, text_in

__all__ = ["Zone", "find_zones"]

_SLOWING = ("passive", "hot", "critical")
# An Orin's passive trip at 70 C has this as its only cooling device: a warning to who touches it, which cuts no clock.
_WARNING_ONLY = "hot-surface-alert"
# A sensor of a part that is switched off; see tegrastats.py.
_NO_TEMPERATURE = -256_000


@dataclass(frozen=True)
class Zone:
    """One thermal zone.

    Attributes:
        sensor: Its type without the ending that says that it is one, e.g. `gpu`.
        folder: Where its files lie.
        slows_at_c: The lowest trip point that costs speed, degrees Celsius; `None` where there is none.
    """

    sensor: str
    folder: Path
    slows_at_c: float | None

    def degrees(self) -> float | None:
        """Degrees Celsius, or `None` while the sensor is off."""
        reading = number_in(self.folder / "temp")
        return None if reading is None or reading <= _NO_TEMPERATURE else reading / 1000


def find_zones(root: Path) -> tuple[Zone, ...]:
    """Every zone below `root` that has a name."""
    found = []
    for folder in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        kind = text_in(folder / "type")
        if kind and not kind.startswith("PMIC"):  # which has no sensor behind it
            found.append(Zone(_short(kind), folder, _slows_at(folder)))
    return tuple(found)


def _short(kind: str) -> str:
    for ending in ("-thermal", "-therm", "_thermal"):
        if kind.endswith(ending):
            return kind[: -len(ending)]
    return kind


def _slows_at(folder: Path) -> float | None:
    points, warning_only = [], _warning_trips(folder)
    for kind in folder.glob("trip_point_*_type"):
        degrees = number_in(kind.with_name(kind.name.replace("_type", "_temp")))
        number = int(kind.name[len("trip_point_") : -len("_type")])
        if degrees is None or degrees <= 0 or number in warning_only:  # zero and below: switched off
            continue
        if text_in(kind) in _SLOWING:
            points.append(degrees / 1000)
    return min(points, default=None)


def _warning_trips(folder: Path) -> Collection[int]:
    """The trip points at which nothing but a warning is bound: `cdevN` is the device, `cdevN_trip_point` its trip."""
    bound: dict[int, set[str]] = {}
    for link in folder.glob("cdev*_trip_point"):
        number = number_in(link)
        device = text_in(link.with_name(link.name[: -len("_trip_point")]) / "type")
        if number is not None and device is not None:
            bound.setdefault(number, set()).add(device)
    return [number for number, devices in bound.items() if devices == {_WARNING_ONLY}]
