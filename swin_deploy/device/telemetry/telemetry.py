"""The frozen result of watching a board: power, energy, temperatures, clocks, and whether clocks were held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from swin_deploy.device.telemetry.energy import energy_joules
from swin_deploy.device.telemetry.power_rails import total_rails
from swin_deploy.device.telemetry.sample import Sample

__all__ = ["Spread", "Telemetry", "energy_per_image", "summarised"]


@dataclass(frozen=True)
class Spread:
    """One sensor's readings: their mean, the least and the most."""

    mean: float
    min: float
    max: float

    def __post_init__(self) -> None:
        assert self.min <= self.mean <= self.max, "a mean outside its readings"


@dataclass(frozen=True)
class Telemetry:
    """What the sensors said while something ran.

    Attributes:
        source: `jetson-stats`, `sysfs`, `tegrastats`, `nvidia-smi`, or `none` where nothing can be read.
        board: The board's own name, or the card's; empty where unknown.
        power_mode: nvpmodel's mode; empty where there is none.
        seconds: How long was watched.
        samples: How many readings that gave.
        power_w: Watts by rail.
        energy_rails: The rails whose sum is the board's power; empty where unknown.
        energy_j: Joules of these rails over `seconds`; `None` where they are unknown or fewer than two samples came.
        temperatures_c: Degrees Celsius by sensor.
        clocks_mhz: MHz by unit.
        throttled: Sentences on what held clocks back; empty where nothing was seen to.
        notes: What could not be read, and why.
    """

    source: str
    board: str = ""
    power_mode: str = ""
    seconds: float = 0.0
    samples: int = 0
    power_w: Mapping[str, Spread] = field(default_factory=dict)
    energy_rails: tuple[str, ...] = ()
    energy_j: float | None = None
    temperatures_c: Mapping[str, Spread] = field(default_factory=dict)
    clocks_mhz: Mapping[str, Spread] = field(default_factory=dict)
    throttled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def facts(self) -> Mapping[str, Any]:
        """JSON-ready, under the names of the fields."""
        lists = {"energy_rails": list(self.energy_rails), "throttled": list(self.throttled), "notes": list(self.notes)}
        return {**asdict(self), **lists}


def energy_per_image(telemetry: Telemetry, images: int) -> float | None:
    """Joules an image, of a telemetry that watched nothing but `images` images; `None` where energy is unknown."""
    assert images >= 1, "energy of no images"
    return None if telemetry.energy_j is None else telemetry.energy_j / images


def summarised(
    source: str,
    seconds: Sequence[float],
    samples: Sequence[Sample],
    begin: float,
    end: float,
    *,
    board: str = "",
    power_mode: str = "",
    throttled: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Telemetry:
    """Make the result out of samples.

    Args:
        source: Where they come from.
        seconds: When each was taken, rising, seconds of any clock.
        samples: One a time stamp.
        begin: When watching began, on that clock.
        end: When it ended.
        board: The board's name.
        power_mode: nvpmodel's mode.
        throttled: Sentences besides those of the samples.
        notes: What could not be read.
    """
    assert len(seconds) == len(samples), "a time stamp a sample"
    powers = _by_name([(moment, sample.power_w) for moment, sample in zip(seconds, samples)])
    rails = total_rails(powers)
    energy = None
    if rails and all(len(powers[rail][0]) >= 2 for rail in rails):
        energy = sum(energy_joules(*powers[rail], begin, end) for rail in rails)
    sentences = [*throttled, *(sentence for sample in samples for sentence in sample.throttled)]
    return Telemetry(
        source=source,
        board=board,
        power_mode=power_mode,
        seconds=end - begin,
        samples=len(samples),
        power_w=_spreads(powers),
        energy_rails=rails,
        energy_j=energy,
        temperatures_c=_spreads(_by_name([(0.0, sample.temperatures_c) for sample in samples])),
        clocks_mhz=_spreads(_by_name([(0.0, sample.clocks_mhz) for sample in samples])),
        throttled=tuple(dict.fromkeys(sentences)),
        notes=tuple(notes),
    )


def _by_name(
    readings: Sequence[tuple[float, Mapping[str, float]]],
) -> Mapping[str, tuple[Sequence[float], Sequence[float]]]:
    """Each sensor's time stamps and values; one that answered now and then only has fewer."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for moment, values in readings:
        for name, value in values.items():
            times, numbers = found.setdefault(name, ([], []))
            times.append(moment)
            numbers.append(value)
    return found


def _spreads(found: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Mapping[str, Spread]:
    spreads = {}
    for name, (_, values) in found.items():
        least, most = min(values), max(values)
        # Rounding can put a sum's share outside what was summed.
        spreads[name] = Spread(min(max(sum(values) / len(values), least), most), least, most)
    return spreads
