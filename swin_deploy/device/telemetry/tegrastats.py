"""NVIDIA's `tegrastats`: one line a look, in spellings that changed with every generation of Jetson.

Each part is looked for by itself, so that a line without it, or with parts not known here, still gives the rest. The
spellings were taken from published lines of Xavier (JetPack 4), Orin (JetPack 5, 6 and 7) and Thor (JetPack 7), which
the tests hold with their addresses. What the parts mean: Jetson Linux Developer Guide, "Tegrastats Utility".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from swin_deploy.device.telemetry.child_lines import ChildLines
from swin_deploy.device.telemetry.sample import Sample

__all__ = ["Tegrastats", "TegrastatsLine", "parse_line"]

# A sensor of a part that is switched off answers -256; jetson_stats' issue 350 saw it for the GPU below 45 C, too.
_NO_TEMPERATURE = -256.0
# Not connected.
_NO_RAIL = "NC"
# NVIDIA's Xavier guide: the PMIC's zone has no sensor behind it and always shows one number.
_NO_SENSOR = "PMIC"

_RAM = re.compile(r"\bRAM (\d+)/(\d+)MB")
_SWAP = re.compile(r"\bSWAP (\d+)/(\d+)MB")
_CPU = re.compile(r"\bCPU \[([^\]]*)\]", re.IGNORECASE)
_CORE = re.compile(r"(\d+)%(?:@(\d+))?")
# 12%   12%@1300   12%@[1300,1300]   @[314,314,314]   @2133
_UNIT = r"\b{name} (?:(\d+)%)?(?:@\[?([\d,]+)\]?)?"
_GPU = re.compile(_UNIT.format(name="GR3D(?:_FREQ)?"))
_MEMORY = re.compile(_UNIT.format(name="EMC(?:_FREQ)?"))
# CPU@42.593C   cpu@52.968C/52.968C   GPU@-256C
_TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C\b")
# VDD_IN 4190mW/4180mW   VIN 87426mW/43713mW/87426mW   GPU 463/463   VDD_CPU_CV 567mW   VDD_CPU_CV -398mW/-398mW
_RAIL = re.compile(r"\b([A-Za-z]\w*) (?:(-?\d+)mW(?:/-?\d+mW)*|(-?\d+)(?:/-?\d+)+)(?=\s|$)")


@dataclass(frozen=True)
class TegrastatsLine:
    """One line; what it does not say is `None` or not in the mappings.

    Attributes:
        ram_used_mb: MiB of memory in use (CPU and GPU share it).
        ram_total_mb: MiB of memory.
        swap_used_mb: MiB of swap in use.
        swap_total_mb: MiB of swap.
        cpu_percent: Load a core; `None` for one that is off.
        cpu_mhz: Clock a core; `None` for one that is off.
        gpu_percent: Load of the GPU.
        gpu_mhz: Its clock; of several clusters the slowest.
        memory_percent: Share of the memory's bandwidth in use.
        memory_mhz: The memory controller's clock.
        temperatures_c: Degrees Celsius by sensor, in the line's own spelling.
        power_w: Watts by rail at this moment: the first of a rail's numbers, of which the others are averages or peaks
            since tegrastats started.
    """

    ram_used_mb: int | None = None
    ram_total_mb: int | None = None
    swap_used_mb: int | None = None
    swap_total_mb: int | None = None
    cpu_percent: tuple[int | None, ...] = ()
    cpu_mhz: tuple[int | None, ...] = ()
    gpu_percent: int | None = None
    gpu_mhz: int | None = None
    memory_percent: int | None = None
    memory_mhz: int | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    power_w: Mapping[str, float] = field(default_factory=dict)

    def sample(self) -> Sample:
        """As a sample."""
        running = [mhz for mhz in self.cpu_mhz if mhz is not None]
        clocks = {
            "gpu": self.gpu_mhz,
            "cpu": sum(running) / len(running) if running else None,
            "memory": self.memory_mhz,
        }
        # A GPU that is switched off shows 0.
        return Sample(self.power_w, self.temperatures_c, {name: float(mhz) for name, mhz in clocks.items() if mhz})


def parse_line(line: str) -> TegrastatsLine:
    """Read one line, whatever board and release it is from; a line of something else gives an empty result."""
    ram, swap = _pair(_RAM, line), _pair(_SWAP, line)
    cores = _cores(line)
    gpu, memory = _unit(_GPU, line), _unit(_MEMORY, line)
    return TegrastatsLine(
        ram_used_mb=ram[0],
        ram_total_mb=ram[1],
        swap_used_mb=swap[0],
        swap_total_mb=swap[1],
        cpu_percent=tuple(percent for percent, _ in cores),
        cpu_mhz=tuple(mhz for _, mhz in cores),
        gpu_percent=gpu[0],
        gpu_mhz=gpu[1],
        memory_percent=memory[0],
        memory_mhz=memory[1],
        temperatures_c={
            name: float(degrees)
            for name, degrees in _TEMPERATURE.findall(line)
            if float(degrees) > _NO_TEMPERATURE and name != _NO_SENSOR
        },
        power_w={
            name: int(with_unit or without) / 1000
            for name, with_unit, without in _RAIL.findall(line)
            if name != _NO_RAIL
        },
    )


def _pair(pattern: re.Pattern[str], line: str) -> tuple[int | None, int | None]:
    found = pattern.search(line)
    return (int(found[1]), int(found[2])) if found else (None, None)


def _unit(pattern: re.Pattern[str], line: str) -> tuple[int | None, int | None]:
    """Load in percent and clock in MHz of a unit."""
    found = pattern.search(line)
    if found is None:
        return None, None
    clocks = [int(mhz) for mhz in (found[2] or "").split(",") if mhz]
    return int(found[1]) if found[1] else None, min(clocks) if clocks else None


def _cores(line: str) -> tuple[tuple[int | None, int | None], ...]:
    found = _CPU.search(line)
    if found is None:
        return ()
    cores = [_CORE.fullmatch(part.strip()) for part in found[1].split(",")]
    return tuple((int(core[1]), int(core[2]) if core[2] else None) if core else (None, None) for core in cores)


class Tegrastats:
    """A running `tegrastats` as a source of samples.

    Args:
        command: Where the program lies.
        interval_s: Seconds between lines.
    """

    def __init__(self, command: str, interval_s: float) -> None:
        self._lines = ChildLines((command, "--interval", str(max(1, round(interval_s * 1000)))))

    @property
    def name(self) -> str:
        """How the telemetry names it."""
        return "tegrastats"

    @property
    def paces_itself(self) -> bool:
        """It prints at its own pace."""
        return True

    def read(self) -> Sample | None:
        """The next line's sample, or `None` once the program has ended."""
        line = self._lines.next_line()
        return None if line is None else parse_line(line).sample()

    def close(self) -> None:
        """End the program."""
        self._lines.close()
