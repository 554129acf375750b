"""What a device wrote of itself: the `finish.json` of a bundle, read with suspicion.

The file was carried from another machine by hand. Whatever it does not hold as it should makes it unusable as a whole:
a report that shows half of it would be believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.errors import BadInput
from swin_deploy.report.latency_line import LatencyLine, line_of

__all__ = ["SCHEMA_VERSION", "Finish", "FinishedEngine", "read_finish"]

SCHEMA_VERSION = 1
_NEEDED = "the finish.json that a bundle's runner.py left on the device"
_NAMED_BY = ("name", "board", "gpu", "processor", "system")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class FinishedEngine:
    """One engine that was built, or refused, on a device.

    Attributes:
        name: Of the ONNX graph it was built from.
        precision: What it was asked for.
        profile: Export profile of the graph.
        file: Its name on the device; empty where there is none.
        verdict: PASS, FAIL, INCONCLUSIVE or SKIPPED.
        reason: Why it was skipped or what stopped it, or empty.
        checks: Each with `check`, `verdict` and `detail`.
        batches: Batch size to `sqnr_db`, `agreement` and `images` of the fixtures.
        latency: What was timed.
        audit: Counts of its kernels, where they were listed.
        telemetry: Power, temperatures and clocks while it was timed, where something could be read.
    """

    name: str
    precision: str
    profile: str
    file: str
    verdict: str
    reason: str
    checks: tuple[Json, ...]
    batches: Json
    latency: tuple[LatencyLine, ...]
    audit: Json | None
    telemetry: Json | None


@dataclass(frozen=True)
class Finish:
    """One bundle on one device.

    Attributes:
        bundle: `name`, `target` and `sha256`.
        device: What the device is, by names of its own.
        tool: `package` and `version` of what built the engines.
        engines: In the order they were built.
        remarks: Sentences of the device on the whole.
        status: Exit status it ended with.
        verdict: One line that says how.
    """

    bundle: Json
    device: Json
    tool: Json
    engines: tuple[FinishedEngine, ...]
    remarks: tuple[str, ...]
    status: int
    verdict: str

    @property
    def name(self) -> str:
        """The device in a word or two, and that no engine ran there if none did."""
        return _name(self.device) + ("" if self.engine_built else ", ONNX Runtime")

    @property
    def engine_built(self) -> bool:
        """Whether engines were finished, and not a bundle's graphs proven on a CPU."""
        return bool(self.tool.get("package") != "onnxruntime")


def read_finish(path: Path) -> Finish:
    """Read what `runner.py finish` wrote.

    Raises:
        BadInput: no such file, no JSON, of another kind or version, or without what it has to hold.
    """
    try:
        return _finish(path, json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse))
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist", needed=_NEEDED) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} cannot be read as a device's result: {type(error).__name__}: {error}",
            needed=_NEEDED,
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _finish(path: Path, raw: Json) -> Finish:
    kind, version = raw.get("kind"), raw.get("schema_version")
    if kind != "finish":
        raise BadInput(f"{path} is no device's result", needed=_NEEDED)
    if version != SCHEMA_VERSION:
        raise BadInput(f"{path} has schema version {version!r}", needed=f"version {SCHEMA_VERSION}")
    if raw["status"] is None:
        raise BadInput(
            f"the finish of {path} was interrupted, or still goes on",
            needed="a finished one",
            do="Run runner.py finish again",
        )
    device = _object(raw["device"])
    return Finish(
        bundle=_object(raw["bundle"]),
        device=device,
        tool=_object(raw["tool"]),
        engines=tuple(_engine(_object(engine), _name(device)) for engine in _list(raw["engines"])),
        remarks=tuple(map(str, _list(raw.get("remarks", [])))),
        status=int(raw["status"]),
        verdict=str(raw["verdict"]),
    )


def _name(device: Json) -> str:
    return next((str(device[key]) for key in _NAMED_BY if device.get(key)), "a device without a name")


def _engine(raw: Json, device: str) -> FinishedEngine:
    precision, error = str(raw["precision"]), raw.get("error")
    return FinishedEngine(
        name=str(raw["name"]),
        precision=precision,
        profile=str(raw["profile"]),
        file=str(raw["file"] or ""),
        verdict=str(raw["verdict"]),
        reason=str(_object(error)["message"] if error else raw.get("reason", "")),
        checks=tuple(_check(_object(check)) for check in _list(raw["checks"])),
        batches={str(int(size)): _fixtures(_object(found)) for size, found in _object(raw["batches"] or {}).items()},
        latency=tuple(
            line_of(device, {"precision": precision, "artifact": raw["name"], **_object(line)})
            for line in _list(raw["latency"] or [])
        ),
        audit=None if raw["audit"] is None else _object(raw["audit"]),
        telemetry=None if raw["telemetry"] is None else _object(raw["telemetry"]),
    )


def _check(raw: Json) -> Json:
    return {key: str(raw[key]) for key in ("check", "verdict", "detail")}


def _fixtures(raw: Json) -> Json:
    agreement = raw.get("agreement")
    return {
        "sqnr_db": float(raw["sqnr_db"]),
        "agreement": None if agreement is None else float(agreement),
        "images": int(raw["images"]),
    }


def _object(value: object) -> Json:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no JSON object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no JSON list")
    return value
