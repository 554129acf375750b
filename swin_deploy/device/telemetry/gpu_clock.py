"""The clock of a Jetson's GPU through the kernel's devfreq files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swin_deploy.device.telemetry.small_file import number_in, text_in

__all__ = ["GpuClock", "find_gpu_clock"]

# 17000000.gpu (Orin, Xavier on JetPack 5), 17000000.ga10b and .gv11b (by the GPU's own name), gpu-gpc-0 (Thor).
_PATTERNS = ("*.gpu", "*.ga10b", "*.gv11b", "gpu-gpc-*", "*nvgpu*")
# A clock this far below its bound under load is held back; devfreq's steps are finer.
_NEAR = 0.97
_BUSY_PERCENT = 90.0


@dataclass(frozen=True)
class GpuClock:
    """The GPU's devfreq folder."""

    folder: Path

    def current_mhz(self) -> float | None:
        """The clock at this moment."""
        return _mhz(number_in(self.folder / "cur_freq"))

    def bound_mhz(self) -> float | None:
        """The highest clock that the power mode allows."""
        return _mhz(number_in(self.folder / "max_freq"))

    def highest_mhz(self) -> float | None:
        """The highest clock that the GPU has."""
        text = text_in(self.folder / "available_frequencies") or ""
        return _mhz(max((int(word) for word in text.split() if word.isdecimal()), default=None))

    def load_percent(self) -> float | None:
        """How busy the GPU is."""
        per_mille = number_in(self.folder / "device" / "load")
        return None if per_mille is None else per_mille / 10

    def held_back(self) -> str | None:
        """A sentence if the GPU is busy and yet slower than the power mode allows."""
        current, bound, load = self.current_mhz(), self.bound_mhz(), self.load_percent()
        if current is None or bound is None or load is None or load < _BUSY_PERCENT or current >= _NEAR * bound:
            return None
        return (
            f"The GPU was busy and ran below the {bound:.0f} MHz that the power mode allows: heat, a current limit or "
            "a slow governor holds it back; `sudo jetson_clocks` rules the governor out."
        )


def find_gpu_clock(root: Path) -> GpuClock | None:
    """The GPU's clock below `root`, or `None` where there is none."""
    for pattern in _PATTERNS:
        for folder in sorted(root.glob(f"sys/class/devfreq/{pattern}")):
            if (folder / "cur_freq").exists():
                return GpuClock(folder)
    return None


def _mhz(hertz: int | None) -> float | None:
    return None if hertz is None else hertz / 1e6
