"""Strict reading of JSON records: each way in which one can be unfit, and the one in which it is not."""

from __future__ import annotations

import pytest

from calib.errors import BadData
from calib.strict_json import json_copy, parse_json, require_record

KEYS = ("schema_version", "name")


def test_a_fit_record_passes() -> None:
    assert require_record(parse_json('{"schema_version": 1, "name": "x"}', "it"), "it", KEYS, 1)["name"] == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it: not readable as JSON"),
        ("[" * 100_000, "it: not readable as JSON"),
        ('{"name": 1, "name": 1}', "it: the key name appears twice"),
        ("[]", "it: not a JSON object"),
        ('{"name": 1}', "it: schema_version is None"),
        ('{"name": 1, "schema_version": true}', "it: schema_version is True"),
        ('{"schema_version": 1}', "it: missing name"),
        ('{"schema_version": 1, "nam": 1}', "it: missing name and unknown nam"),
    ],
)
def test_an_unfit_record_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        require_record(parse_json(text, "it"), "it", KEYS, 1)


def test_a_copy_shares_nothing_and_is_what_reading_back_gives() -> None:
    source = {"list": [1, 2.5], "tuple": (None, True), "deep": {"text": "x"}}
    copy = json_copy(source, "it")
    source["deep"]["text"] = "y"
    assert copy == {"list": [1, 2.5], "tuple": [None, True], "deep": {"text": "x"}}


@pytest.mark.parametrize(
    ("value", "place"), [({"a": [0, float("inf")]}, r"it\.a\[1\] is inf"), ({"a": {1: 2}}, r"it\.a is")]
)
def test_what_json_cannot_hold_is_refused_naming_its_place(value: object, place: str) -> None:
    with pytest.raises(BadData, match=place):
        json_copy(value, "it")
