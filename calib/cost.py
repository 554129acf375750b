"""What quantizing a linear saves: by a model of its arithmetic and traffic, or by what a device measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from calib.errors import BadData
from calib.precision_plan import PrecisionPlan
from calib.strict_json import parse_json
from calib.text_file import read_text

__all__ = [
    "CostModel",
    "LinearCost",
    "MeasuredCost",
    "RooflineCost",
    "Timing",
    "int8_share",
    "quantized_share",
    "read_timings",
    "timings_from_text",
]

SCHEMA_VERSION = 1
MACS_PER_BYTE = 100.0
"""FP16 multiply-accumulates in the time that one byte of memory takes. An A100's data sheet has 312 TFLOPS, which are
156e12 multiply-accumulates, and 1555 GB/s: 100."""

_Known = TypeVar("_Known")
_FILE_KEYS = ("schema_version", "device", "linears")
_FILE = "an object with schema_version, device and linears, and for each linear fp16_ms and int8_ms"


class CostModel(Protocol):
    """What is won by quantizing a linear."""

    def saving(self, module: str) -> float:
        """How much less it costs than in FP16, in the model's own unit; 0 or less where quantizing does not pay.

        Savings of one model add up and are compared with each other, never with those of another model.

        Raises:
            BadData: the model does not know the linear.
        """
        ...


@dataclass(frozen=True)
class LinearCost:
    """What one linear computes and moves, for a batch.

    Attributes:
        macs: Multiply-accumulates.
        weight_bytes: Its weights in FP16.
        activation_bytes: Its inputs in FP16. The outputs are no part of it: they leave the matrix multiplication in
            FP16 either way, and what quantizes them belongs to the next linear.
    """

    macs: float
    weight_bytes: float
    activation_bytes: float

    def __post_init__(self) -> None:
        """Refuse sizes that no linear has.

        Raises:
            BadData: one is not finite or not above 0.
        """
        for value in (self.macs, self.weight_bytes, self.activation_bytes):
            if not (math.isfinite(value) and value > 0):
                raise BadData(f"a linear's cost is {self}", needed="finite numbers above 0")

    @classmethod
    def of_shape(cls, rows: int, inputs: int, outputs: int) -> LinearCost:
        """Of [rows, inputs] times [inputs, outputs], where rows are the tokens of all images of a batch."""
        return cls(rows * inputs * outputs, 2 * inputs * outputs, 2 * rows * inputs)


@dataclass(frozen=True)
class RooflineCost:
    """A model of the saving, not a measurement of it: for where there is no GPU.

    A linear takes as long as the slower of its arithmetic and its memory traffic (Williams, Waterman and Patterson,
    CACM 52(4), 2009). INT8 runs multiply-accumulates twice as fast as FP16 and halves the bytes of weights and inputs,
    so the model saves half of either; FP8 likewise. Launches, fusion with neighbours, the quantization of the inputs
    and small matrices that fill no GPU are not in it.

    Attributes:
        linears: Module to what it computes and moves. Read-only.
        macs_per_byte: The device's balance; see `MACS_PER_BYTE`.
    """

    linears: Mapping[str, LinearCost]
    macs_per_byte: float = MACS_PER_BYTE

    def __post_init__(self) -> None:
        """Check the balance and take a read-only copy.

        Raises:
            BadData: the balance is not finite or not above 0.
        """
        if not (math.isfinite(self.macs_per_byte) and self.macs_per_byte > 0):
            raise BadData(f"{self.macs_per_byte} multiply-accumulates a byte", needed="a finite number above 0")
        object.__setattr__(self, "linears", MappingProxyType(dict(self.linears)))

    def saving(self, module: str) -> float:
        """See `CostModel.saving`; the unit is the time that one byte takes."""
        cost = _of(self.linears, module)
        return max(cost.macs / self.macs_per_byte, cost.weight_bytes + cost.activation_bytes) / 2


@dataclass(frozen=True)
class Timing:
    """How long a linear took on a device, with whatever quantizes its input.

    Attributes:
        fp16_ms: In FP16, milliseconds.
        int8_ms: In INT8, milliseconds.
    """

    fp16_ms: float
    int8_ms: float

    def __post_init__(self) -> None:
        """Refuse what no clock shows.

        Raises:
            BadData: a time is no finite number above 0.
        """
        for value in (self.fp16_ms, self.int8_ms):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value > 0):
                raise BadData(f"a timing of {value!r} ms", needed="a finite number of milliseconds above 0")


@dataclass(frozen=True)
class MeasuredCost:
    """The saving that a device showed.

    Attributes:
        device: What was measured, in words.
        timings: Module to its two times. Read-only.
    """

    device: str
    timings: Mapping[str, Timing]

    def __post_init__(self) -> None:
        """Take a read-only copy of the timings."""
        object.__setattr__(self, "timings", MappingProxyType(dict(self.timings)))

    def saving(self, module: str) -> float:
        """See `CostModel.saving`; in milliseconds, below 0 where INT8 was slower."""
        timing = _of(self.timings, module)
        return timing.fp16_ms - timing.int8_ms

    def to_text(self) -> str:
        """As `timings_from_text` reads it; all digits are kept."""
        linears = {name: {"fp16_ms": t.fp16_ms, "int8_ms": t.int8_ms} for name, t in self.timings.items()}
        record = {"schema_version": SCHEMA_VERSION, "device": self.device, "linears": linears}
        return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def timings_from_text(text: str, names: Iterable[str], source: str = "timings") -> MeasuredCost:
    """Read timings from JSON.

    Args:
        text: For example `{"schema_version": 1, "device": "Orin, 15 W", "linears": {"blocks.0.mlp.0": {"fp16_ms": 0.2,
            "int8_ms": 0.1}}}`.
        names: The linears of the graph: each has to be timed, and no other.
        source: What to call the text in errors.

    Raises:
        BadData: no JSON, a key missing, unknown or there twice, a time that is no number above 0, or other linears.
    """
    record = _exactly(parse_json(text, source, _FILE), _FILE_KEYS, source)
    if isinstance(record["schema_version"], bool) or record["schema_version"] != SCHEMA_VERSION:
        raise BadData(f"{source}: schema_version is {record['schema_version']!r}", needed=str(SCHEMA_VERSION))
    if not isinstance(record["device"], str) or not record["device"]:
        raise BadData(f"{source}: device is {record['device']!r}", needed="what was measured, in words")
    _exactly(record["linears"], tuple(names), f"{source}: linears")
    timings = {}
    for name, times in record["linears"].items():
        _exactly(times, ("fp16_ms", "int8_ms"), f"{source}: {name}")
        try:
            timings[name] = Timing(**times)
        except BadData as error:
            raise BadData(f"{source}: {name} has {error.seen}", needed=error.needed) from error
    return MeasuredCost(record["device"], timings)


def read_timings(path: Path, names: Iterable[str]) -> MeasuredCost:
    """Read a file of timings; see `timings_from_text`.

    Raises:
        BadData: the file cannot be read, or holds no timings of these linears.
    """
    text = read_text(path, "timings", "a JSON file in UTF-8")
    return timings_from_text(text, names, f"timings {path}")


def quantized_share(plan: PrecisionPlan, macs: Mapping[str, float]) -> float:
    """The share, 0 to 1, of the linears' multiply-accumulates that the plan quantizes to INT8 or FP8.

    Args:
        plan: Any.
        macs: Multiply-accumulates of each of its linears.

    Raises:
        BadData: a linear is not in `macs`.
    """
    return _share(plan, macs, ("int8", "fp8"))


def int8_share(plan: PrecisionPlan, macs: Mapping[str, float]) -> float:
    """The share, 0 to 1, that is INT8 alone; see `quantized_share`."""
    return _share(plan, macs, ("int8",))


def _share(plan: PrecisionPlan, macs: Mapping[str, float], precisions: tuple[str, ...]) -> float:
    total = math.fsum(_of(macs, name) for name in plan.precisions)
    return math.fsum(macs[name] for name, own in plan.precisions.items() if own in precisions) / total


def _of(known: Mapping[str, _Known], module: str) -> _Known:
    if module not in known:
        raise BadData(f"the cost of {module} is not known", needed="the cost of every linear of the plan")
    return known[module]


def _exactly(record: object, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise BadData(f"{where}: {record!r} is no JSON object", needed=_FILE)
    missing, unknown = [key for key in keys if key not in record], [key for key in record if key not in keys]
    if missing or unknown:
        seen = [f"{len(missing)} missing, {missing[:1]}"] * bool(missing)
        seen += [f"{len(unknown)} unknown, {unknown[:1]}"] * bool(unknown)
        raise BadData(f"{where}: {' and '.join(seen)}", needed=_FILE)
    return record
