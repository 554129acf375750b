"""What the kernel of a Jetson says of clocks that are held back, watched over a time.

Three signs: the counters of over-current events (`soctherm_oc`, `oc1_event_cnt`...), which only grow, so their growth
counts; the `*-throttle-alert` cooling devices, whose state is above 0 while they act; and temperatures at a trip point.
Source: Jetson Linux Developer Guide, "Platform Power and Performance", over-current throttling and thermal management.
"""

from __future__ import annotations

from pathlib import Path

from swin_deploy.device.telemetry.gpu_clock import find_gpu_clock
from swin_deploy.device.telemetry.power_monitors import find_monitors
from swin_deploy.device.telemetry.small_file import number_in, text_in
from swin_deploy.device.telemetry.thermal_zones import find_zones

__all__ = ["ThrottleWatch"]


class ThrottleWatch:
    """Looks for signs from its making on; `look` now and then, `sentences` at the end.

    Args:
        root: `/` for the machine itself.
    """

    def __init__(self, root: Path) -> None:
        self._zones = [zone for zone in find_zones(root) if zone.slows_at_c is not None]
        self._monitors = find_monitors(root)
        self._gpu = find_gpu_clock(root)
        self._alerts = tuple(
            folder
            for folder in sorted(root.glob("sys/class/thermal/cooling_device*"))
            if (text_in(folder / "type") or "").endswith("-throttle-alert")  # `hot-surface-alert` cuts no clock
        )
        self._counters = tuple(sorted(root.glob("sys/class/hwmon/hwmon*/oc*_event_cnt")))
        self._counts = self._read_counters()
        self._seen: dict[str, None] = {}  # in the order of their first sight

    def look(self) -> None:
        """Note every sign there is at this moment."""
        for zone in self._zones:
            degrees = zone.degrees()
            if degrees is not None and zone.slows_at_c is not None and degrees >= zone.slows_at_c:
                self._note(
                    f"The sensor {zone.sensor} reached {zone.slows_at_c:g} C, at which clocks are cut: cool the board."
                )
        for folder in self._alerts:
            if (number_in(folder / "cur_state") or 0) > 0:
                name = (text_in(folder / "type") or "")[: -len("-alert")]
                self._note(f"The kernel's {name} alert was on: clocks were cut because of heat.")
        for monitor in self._monitors:
            self._note(monitor.alarm())
        self._note(self._gpu.held_back() if self._gpu else None)

    def sentences(self) -> tuple[str, ...]:
        """Everything noted, and how far the over-current counters have grown."""
        grown = [now - before for before, now in zip(self._counts, self._read_counters())]
        events = sum(count for count in grown if count > 0)
        if not events:
            return tuple(self._seen)
        counted = f"{events} over-current event{'s' if events > 1 else ''}"
        advice = "choose a lower power mode or a stronger supply"
        return (*self._seen, f"The board counted {counted}, each of which cuts clocks: {advice}.")

    def _note(self, sentence: str | None) -> None:
        if sentence is not None:
            self._seen[sentence] = None

    def _read_counters(self) -> tuple[int, ...]:
        return tuple(number_in(path) or 0 for path in self._counters)
