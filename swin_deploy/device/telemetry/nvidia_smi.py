"""A desktop GPU through the `nvidia-smi` that comes with its driver."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from swin_deploy.device.telemetry.child_lines import ChildLines
from swin_deploy.device.telemetry.sample import Sample

__all__ = ["NvidiaSmi", "SmiLine", "open_nvidia_smi", "parse_line", "query_once"]

_FIELDS = (
    "name",
    "driver_version",
    "power.draw",
    "temperature.gpu",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "memory.total",
    "memory.free",
)
# The reasons' field was renamed when "throttle" became "event"; an older driver refuses a name it does not know.
_REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
_SECONDS = 10.0
# Bits of the reasons: NVML API reference, "NvmlClocksThrottleReasons". Idle, the user's own settings and the display's
# are not throttling.
_HELD_BACK = (
    (0x04, "by its power limit"),
    (0x20, "by the driver because of heat"),
    (0x40, "by the hardware because of heat"),
    (0x80, "by the power supply's brake signal"),
)
_SLOWDOWN = 0x08  # set together with one of the last two, or alone


@dataclass(frozen=True)
class SmiLine:
    """One line of the query; what the driver does not say is empty, or not in the mappings.

    Attributes:
        gpu: The card's name.
        driver: The driver's version.
        sample: Power, temperature and clocks.
        facts: MHz of the highest clock as `max_mhz`; MiB of memory as `total_mib` and `free_mib`.
    """

    gpu: str = ""
    driver: str = ""
    sample: Sample = field(default_factory=Sample)
    facts: Mapping[str, float] = field(default_factory=dict)


def parse_line(line: str) -> SmiLine:
    """Read one line of `nvidia-smi --query-gpu=... --format=csv,noheader,nounits`."""
    values = [value.strip() for value in next(csv.reader([line]), [])]
    if len(values) != len(_FIELDS) + 1:
        return SmiLine()
    named = dict(zip(_FIELDS, values))
    numbers = {name: number for name, number in ((name, _number(value)) for name, value in named.items()) if number}
    gpu, driver = named["name"], named["driver_version"]
    return SmiLine(
        gpu="" if gpu.startswith("[") else gpu,
        driver="" if driver.startswith("[") else driver,
        sample=Sample(
            _renamed(numbers, {"power.draw": "GPU board"}),
            _renamed(numbers, {"temperature.gpu": "gpu"}),
            _renamed(numbers, {"clocks.sm": "gpu", "clocks.mem": "memory"}),
            _sentences(values[-1]),
        ),
        facts=_renamed(numbers, {"clocks.max.sm": "max_mhz", "memory.total": "total_mib", "memory.free": "free_mib"}),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # [N/A], [Not Supported], and names
        return None


def _renamed(numbers: Mapping[str, float], names: Mapping[str, str]) -> Mapping[str, float]:
    return {ours: numbers[theirs] for theirs, ours in names.items() if theirs in numbers}


def _sentences(reasons: str) -> tuple[str, ...]:
    try:
        bits = int(reasons, 16)
    except ValueError:
        return ()
    found = tuple(f"The GPU's clock was held back {why}." for bit, why in _HELD_BACK if bits & bit)
    if bits & _SLOWDOWN and not bits & 0xC0:
        return (*found, "The GPU's clock was held back by the hardware.")
    return found


def _query(command: str, reasons: str, device: int) -> tuple[str, ...]:
    fields = ",".join((*_FIELDS, reasons))
    return command, f"--id={device}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"


def query_once(command: str, device: int = 0) -> SmiLine | None:
    """What the driver says of a GPU at this moment, or `None` where it says nothing."""
    answered = _answered(command, device)
    return None if answered is None else answered[1]


def _answered(command: str, device: int) -> tuple[str, SmiLine] | None:
    """The name of the reasons' field that this driver knows, and its answer."""
    for reasons in _REASONS:
        try:
            run = subprocess.run(
                _query(command, reasons, device),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        line = parse_line(run.stdout.strip())
        if run.returncode == 0 and line.gpu:
            return reasons, line
    return None


class NvidiaSmi:
    """A running `nvidia-smi` as a source of samples: one process that prints, since each start takes long."""

    def __init__(self, command: str, reasons: str, interval_s: float, device: int, gpu: str) -> None:
        self.gpu = gpu
        query = _query(command, reasons, device)
        self._lines = ChildLines((*query, f"--loop-ms={max(1, round(interval_s * 1000))}"))

    @property
    def name(self) -> str:
        """How the telemetry names it."""
        return "nvidia-smi"

    @property
    def paces_itself(self) -> bool:
        """It prints at its own pace."""
        return True

    def read(self) -> Sample | None:
        """The next line's sample, or `None` once the program has ended."""
        line = self._lines.next_line()
        return None if line is None else parse_line(line).sample

    def close(self) -> None:
        """End the program."""
        self._lines.close()


def open_nvidia_smi(command: str, interval_s: float, device: int = 0) -> NvidiaSmi | None:
    """The source, or `None` where the program finds no GPU.

    Args:
        command: Where the program lies.
        interval_s: Seconds between lines.
        device: Which GPU, in the program's own numbering.
    """
    answered = _answered(command, device)
    if answered is None:
        return None
    reasons, line = answered
    return NvidiaSmi(command, reasons, interval_s, device, line.gpu)
