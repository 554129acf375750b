"""What quantizing saves, by model and by measurement."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from calib.cost import LinearCost, MeasuredCost, RooflineCost, Timing, int8_share, quantized_share, read_timings
from calib.cost import timings_from_text as from_text
from calib.errors import BadData
from calib.precision_plan import PrecisionPlan

TIMED = MeasuredCost("a board", {"a": Timing(0.3, 0.1), "b": Timing(0.1, 0.15)})


def test_a_linear_of_many_tokens_saves_half_of_its_arithmetic() -> None:
    # 1000 x 200 x 300 multiply-accumulates at 100 a byte against 2 * 200 * (300 + 1000) bytes
    assert RooflineCost({"a": LinearCost.of_shape(1000, 200, 300)}).saving("a") == pytest.approx(600_000 / 2)


def test_a_linear_of_one_token_saves_half_of_its_traffic() -> None:
    cost = LinearCost.of_shape(1, 200, 300)
    assert (cost.macs, cost.weight_bytes, cost.activation_bytes) == (60_000, 120_000, 400)
    assert RooflineCost({"a": cost}).saving("a") == pytest.approx(120_400 / 2)


def test_the_balance_of_the_device_decides_which() -> None:
    cost = {"a": LinearCost(1000, 10, 10)}
    assert RooflineCost(cost, 10).saving("a") == 50
    assert RooflineCost(cost, 1000).saving("a") == 10


def test_a_measured_saving_is_the_difference_and_may_be_a_loss() -> None:
    assert TIMED.saving("a") == pytest.approx(0.2)
    assert TIMED.saving("b") == pytest.approx(-0.05)


@pytest.mark.parametrize("model", [TIMED, RooflineCost({"a": LinearCost(1, 1, 1)})])
def test_an_unknown_linear_is_refused_by_name(model: Any) -> None:
    with pytest.raises(BadData, match=r"the cost of blocks\.7 is not known"):
        model.saving("blocks.7")


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_costs_that_nothing_has_are_refused(value: float) -> None:
    with pytest.raises(BadData):
        LinearCost(value, 1, 1)
    with pytest.raises(BadData):
        Timing(1.0, value)
    with pytest.raises(BadData):
        RooflineCost({}, value)


def test_the_share_is_of_multiply_accumulates_and_fp8_is_not_int8() -> None:
    plan = PrecisionPlan({"a": "int8", "b": "fp16", "c": "fp8"})
    macs = {"a": 6.0, "b": 3.0, "c": 1.0}
    assert int8_share(plan, macs) == pytest.approx(0.6)
    assert quantized_share(plan, macs) == pytest.approx(0.7)
    with pytest.raises(BadData, match="cost of c"):
        int8_share(plan, {"a": 6.0, "b": 3.0})


def test_timings_read_as_they_were_written(tmp_path: Path) -> None:
    assert from_text(TIMED.to_text(), ["b", "a"]) == TIMED
    path = tmp_path / "timings.json"
    path.write_text(TIMED.to_text())
    assert read_timings(path, ["a", "b"]) == TIMED
    with pytest.raises(BadData, match=r"none\.json cannot be read"):
        read_timings(tmp_path / "none.json", ["a"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda record: record["linears"].pop("a"), r"linears: 1 missing, \['a'\]"),
        (lambda record: record["linears"].update(c=record["linears"]["a"]), r"linears: 1 unknown, \['c'\]"),
        (lambda record: record["linears"]["a"].pop("int8_ms"), r"a: 1 missing, \['int8_ms'\]"),
        (lambda record: record["linears"]["a"].update(int8_ms=0), "a has a timing of 0 ms"),
        (lambda record: record["linears"]["a"].update(int8_ms=True), "a has a timing of True ms"),
        (lambda record: record["linears"]["a"].update(int8_ms="0.1"), "a has a timing of '0.1' ms"),
        (lambda record: record["linears"]["a"].update(int8_ms=math.nan), "a has a timing of nan ms"),
        (lambda record: record["linears"].update(a=0.1), "a: 0.1 is no JSON object"),
        (lambda record: record.update(device=""), "device is ''"),
        (lambda record: record.update(schema_version=2), "schema_version is 2"),
        (lambda record: record.update(schema_version=True), "schema_version is True"),
        (lambda record: record.pop("device"), r"1 missing, \['device'\]"),
    ],
)
def test_timings_with_a_mistake_are_refused(change: Any, complaint: str) -> None:
    record = json.loads(TIMED.to_text())
    change(record)
    with pytest.raises(BadData, match=complaint):
        from_text(json.dumps(record), ["a", "b"])


@pytest.mark.parametrize("text", ["", "[]", '{"device": "a", "device": "b"}'])
def test_what_is_no_object_of_timings_is_refused(text: str) -> None:
    with pytest.raises(BadData):
        from_text(text, ["a"])
