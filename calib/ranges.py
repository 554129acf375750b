"""The table of ranges: what calibration leaves behind, and all that quantization needs of the data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from calib.errors import BadData
from calib.observers import OBSERVERS, Method, Observer, Statistic
from calib.strict_json import parse_json, require_record

__all__ = ["SCHEMA_VERSION", "RangesTable", "collect_ranges", "ranges_from_text", "ranges_to_text"]

SCHEMA_VERSION = 1
_KEYS = ("schema_version", "method", "images", "data_fingerprint", "amax")


@dataclass(frozen=True)
class RangesTable:
    """The magnitude that INT8 127 stands for, of each tensor, and where it comes from.

    Attributes:
        method: Name of the observer, e.g. `min-max`.
        images: How many calibration images were seen.
        data_fingerprint: `ImageSet.fingerprint` of those images.
        amax: Tensor name to magnitude, in the tensor's own unit; finite and above 0. Read-only.
    """

    method: str
    images: int
    data_fingerprint: str
    amax: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check every field and take a read-only copy of `amax`.

        Raises:
            BadData: a field cannot be; the message names it.
        """
        if not isinstance(self.method, str) or not self.method:
            raise BadData(f"ranges: method is {self.method!r}", needed="the name of a calibration method")
        if isinstance(self.images, bool) or not isinstance(self.images, int) or self.images < 1:
            raise BadData(f"ranges: images is {self.images!r}", needed="a whole number, at least 1")
        if not isinstance(self.data_fingerprint, str) or not self.data_fingerprint:
            raise BadData(f"ranges: data_fingerprint is {self.data_fingerprint!r}", needed="the data's fingerprint")
        if not isinstance(self.amax, Mapping) or not self.amax:
            raise BadData("ranges: amax holds no tensor", needed="a magnitude for each tensor")
        for name, value in self.amax.items():
            if not isinstance(name, str) or not name:
                raise BadData(f"ranges: a tensor is named {name!r}", needed="a name")
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                raise BadData(f"ranges: tensor {name} has magnitude {value!r}", needed="a finite number above 0")
        copy = {name: float(value) for name, value in self.amax.items()}
        object.__setattr__(self, "amax", MappingProxyType(copy))

    def to_json(self) -> dict[str, Any]:
        """All fields and the schema's version as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "method": self.method,
            "images": self.images,
            "data_fingerprint": self.data_fingerprint,
            "amax": dict(self.amax),
        }

    @classmethod
    def from_json(cls, record: object) -> RangesTable:
        """Read what `to_json` wrote.

        Raises:
            BadData: another schema version, a missing or unknown key, or an unfit value.
        """
        found = require_record(record, "ranges", _KEYS, SCHEMA_VERSION)
        return cls(found["method"], found["images"], found["data_fingerprint"], found["amax"])


def ranges_to_text(table: RangesTable) -> str:
    """The table as JSON text. Magnitudes are written with all digits, so reading gives the same floats."""
    return json.dumps(table.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def ranges_from_text(text: str) -> RangesTable:
    """Read what `ranges_to_text` wrote.

    Raises:
        BadData: not JSON, a key twice in one object, or whatever `RangesTable.from_json` refuses.
    """
    return RangesTable.from_json(parse_json(text, "ranges"))


def collect_ranges(
    batches: Iterable[Mapping[str, npt.NDArray[np.float32]]],
    methods: Sequence[str],
    *,
    images: int,
    data_fingerprint: str,
    tensors: Collection[str] | None = None,
    observers: Mapping[str, Method[Any]] = OBSERVERS,
) -> dict[str, RangesTable]:
    """Observe the tensors of all batches and make one table a method.

    The batches are gone through once, one in memory at a time if `batches` is an iterator, and methods that watch the
    same statistic share it.

    Args:
        batches: For each batch of images, tensor name to its values, of any shape.
        methods: Names in `observers`, at least one.
        images: How many images the batches are made from; a tensor's first axis need not be the batch.
        data_fingerprint: `ImageSet.fingerprint` of those images.
        tensors: The tensors to observe; others are passed over. By default those of the first batch.
        observers: The known methods.

    Returns:
        Method to its table, in the order of `methods`.

    Raises:
        BadData: an unknown method or none, no batch, a tensor missing from a batch, a non-finite value, or a tensor
            that was zero throughout (no scale can be made from it).
    """
    chosen = tuple(dict.fromkeys(methods))
    unknown = next((method for method in chosen if method not in observers), None)
    if unknown is not None or not chosen:
        raise BadData(f"no calibration method {unknown or 'given'}", needed=f"one of {', '.join(observers)}")
    watches = tuple(dict.fromkeys(observers[method].watch for method in chosen))
    watched: dict[str, dict[Callable[[str], Statistic], Statistic]] | None = None
    for number, batch in enumerate(batches):
        if watched is None:
            watched = {
                name: {watch: watch(name) for watch in watches} for name in (batch if tensors is None else tensors)
            }
        for name, statistics in watched.items():
            if name not in batch:
                raise BadData(
                    f"calibration batch {number} has no tensor {name}", needed="the same tensors in every batch"
                )
            for statistic in statistics.values():
                statistic.update(batch[name])
    if watched is None:
        raise BadData("there is no calibration batch", needed="at least one image")
    amax = {
        method: {
            name: Observer(statistics[observers[method].watch], observers[method].choose).amax()
            for name, statistics in watched.items()
        }
        for method in chosen
    }
    dead = [name for name, statistics in watched.items() if statistics[watches[0]].largest == 0]
    if dead:
        raise BadData(
            f"tensor {dead[0]} is zero in all {images} calibration images"
            + (f", and so are {len(dead) - 1} more" if len(dead) > 1 else ""),
            needed="a range above 0 for every quantized tensor",
            do="Calibrate on images like those of the task, or leave the tensor unquantized",
        )
    return {method: RangesTable(method, images, data_fingerprint, amax[method]) for method in chosen}
