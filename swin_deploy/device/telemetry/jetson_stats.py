"""jetson-stats (`jtop`), where a user has installed it and its service runs.

Only its documented attributes are used: `power`, `temperature`, `gpu` and `cpu` of `jtop.jtop`
(https://rnext.it/jetson_stats/reference/jtop.html).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from swin_deploy.device.telemetry.sample import Sample

__all__ = ["JetsonStats", "open_jetson_stats", "sample_of"]


class JetsonStats:
    """A connected `jtop` as a source of samples."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def name(self) -> str:
        """How the telemetry names it."""
        return "jetson-stats"

    @property
    def paces_itself(self) -> bool:
        """`ok` waits for the service's next reading."""
        return True

    def read(self) -> Sample | None:
        """The service's next reading, or `None` once it is gone."""
        return sample_of(self._connection) if self._connection.ok() else None

    def close(self) -> None:
        """Leave the service."""
        self._connection.close()


def open_jetson_stats(interval_s: float, module: Any = None) -> JetsonStats | None:
    """Connect, or `None` where jetson-stats is not installed, its service does not answer, or it is another version.

    Args:
        interval_s: Seconds between readings; a service that another program uses too keeps its own.
        module: The imported `jtop`; `None` imports it.
    """
    try:
        module = module or importlib.import_module("jtop")
        connection = module.jtop(interval=interval_s)
        connection.start()
    except Exception:  # its own exceptions are no subclasses of anything, and no service is no fault of ours
        return None
    source = JetsonStats(connection)
    try:
        readable = source.read() is not None
    except Exception:  # before version 4 `power` is a tuple; on a new board an attribute may be missing
        readable = False
    if not readable:
        with suppress(Exception):
            source.close()
        return None
    return source


def sample_of(jetson: Any) -> Sample:
    """What a connected `jtop` says at this moment: milliwatts, degrees and kilohertz there, watts and MHz here."""
    power: Mapping[str, Any] = jetson.power
    watts = {rail: reading["power"] / 1000 for rail, reading in power.get("rail", {}).items()}
    total = power.get("tot", {})
    if total.get("name") and "power" in total:  # a board whose input is measured: jtop keeps that rail apart
        watts[total["name"]] = total["power"] / 1000
    temperatures = {
        sensor: float(reading["temp"]) for sensor, reading in jetson.temperature.items() if reading.get("online", True)
    }
    clocks = {}
    for unit in jetson.gpu.values():
        kilohertz = unit.get("freq", {}).get("cur")
        if kilohertz:
            clocks["gpu"] = kilohertz / 1000
    return Sample(watts, temperatures, clocks)
