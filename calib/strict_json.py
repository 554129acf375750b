"""Reading JSON records strictly: no repeated key, no missing or unknown one, no other schema version."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from calib.errors import BadData

__all__ = ["json_copy", "parse_json", "require_record"]


def parse_json(text: str, what: str, needed: str = "the file that calibration wrote") -> object:
    """Parse JSON text.

    Args:
        text: The whole file.
        what: What it should be, which starts every error.
        needed: The same for the end of an error.

    Raises:
        BadData: not JSON, or a key twice in one object.
    """

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            names = [name for name, _ in pairs]
            repeated = next(name for name in names if names.count(name) > 1)
            raise BadData(f"{what}: the key {repeated} appears twice", needed="each key once")
        return record

    try:
        parsed: object = json.loads(text, object_pairs_hook=without_repeats)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadData(f"{what}: not readable as JSON ({error})", needed=needed) from error
    return parsed


def require_record(record: object, what: str, keys: Sequence[str], version: int) -> dict[str, Any]:
    """The record, if it is an object with exactly these keys, among them `schema_version` of this value.

    Raises:
        BadData: it is not.
    """
    if not isinstance(record, dict):
        raise BadData(f"{what}: not a JSON object", needed=f"an object with the keys {', '.join(keys)}")
    found = record.get("schema_version")
    if isinstance(found, bool) or found != version:
        raise BadData(
            f"{what}: schema_version is {found!r}",
            needed=f"version {version}",
            do="Calibrate again with this version of the toolkit",
        )
    missing, unknown = sorted(set(keys) - set(record)), sorted(set(record) - set(keys))
    if missing or unknown:
        seen = [f"missing {', '.join(missing)}"] * bool(missing) + [f"unknown {', '.join(unknown)}"] * bool(unknown)
        raise BadData(f"{what}: {' and '.join(seen)}", needed=f"exactly the keys {', '.join(keys)}")
    return record


def json_copy(value: object, what: str) -> Any:
    """A deep copy that shares nothing with `value`, with tuples as lists, as reading it back from JSON gives them.

    Raises:
        BadData: something in it has no exact form in JSON.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [json_copy(item, f"{what}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: json_copy(item, f"{what}.{key}") for key, item in value.items()}
    raise BadData(
        f"{what} is {value!r}", needed="text, a finite number, true, false, null, or lists and objects of these"
    )
