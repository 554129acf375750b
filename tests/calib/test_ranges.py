"""The table of ranges: collected from batches, read and written strictly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from calib.errors import BadData
from calib.histogram import MagnitudeHistogram
from calib.observers import OBSERVERS, Method
from calib.percentile import percentile_magnitude
from calib.ranges import RangesTable, collect_ranges, ranges_from_text, ranges_to_text

TABLE = RangesTable("min-max", 64, "ab" * 32, {"stem": 2.5, "blocks.0.fc1": 0.1 + 0.2})


def batches() -> Iterator[dict[str, np.ndarray]]:
    yield {"a": np.array([[1.0, -4.0]], np.float32), "b": np.array([0.5], np.float32)}
    yield {"a": np.array([[2.0, 3.0]], np.float32), "b": np.array([-0.25], np.float32)}


def collect(source: object = None, method: str = "min-max", **options: object) -> RangesTable:
    chosen = batches() if source is None else source
    return collect_ranges(chosen, [method], images=2, data_fingerprint="f", **options)[method]  # type: ignore[arg-type]


def test_ranges_are_collected_over_all_batches() -> None:
    assert collect() == RangesTable("min-max", 2, "f", {"a": 4.0, "b": 0.5})


def test_the_percentile_method_is_used_when_asked_for() -> None:
    values = np.ones(100_000, np.float32)
    values[:3] = 1.9
    assert collect([{"a": values}], "percentile").amax["a"] == pytest.approx(1, abs=1e-3)
    assert collect([{"a": values}], "min-max").amax["a"] == pytest.approx(1.9)


def test_only_the_wanted_tensors_are_collected() -> None:
    assert dict(collect(tensors=["b"]).amax) == {"b": 0.5}


def test_an_unknown_method_is_refused_naming_the_known_ones() -> None:
    with pytest.raises(
        BadData, match=r"no calibration method guess.*min-max, moving-average, percentile, entropy, mse"
    ):
        collect(method="guess")
    with pytest.raises(BadData, match="no calibration method given"):
        collect_ranges(batches(), [], images=2, data_fingerprint="f")


def test_several_methods_go_through_the_batches_once_and_share_their_histogram() -> None:
    made: list[MagnitudeHistogram] = []

    def watch(name: str) -> MagnitudeHistogram:
        made.append(MagnitudeHistogram(name))
        return made[-1]

    observers = {
        "min-max": OBSERVERS["min-max"],
        "half": Method(watch, partial(percentile_magnitude, percentile=50)),
        "whole": Method(watch, partial(percentile_magnitude, percentile=100)),
    }
    found = collect_ranges(batches(), ["whole", "min-max", "half"], images=2, data_fingerprint="f", observers=observers)
    assert list(found) == ["whole", "min-max", "half"]
    assert {method: table.amax["a"] for method, table in found.items()} == {"whole": 4.0, "min-max": 4.0, "half": 2.0}
    assert [(histogram.name, histogram.seen) for histogram in made] == [("a", 4), ("b", 2)]


def test_each_method_finds_together_what_it_finds_alone() -> None:
    values = np.random.default_rng(0).laplace(size=20_000).astype(np.float32)
    stream = [{"a": part} for part in np.array_split(values, 3)]
    together = collect_ranges(stream, list(OBSERVERS), images=2, data_fingerprint="f")
    assert together == {method: collect(stream, method) for method in OBSERVERS}
    assert len({table.amax["a"] for table in together.values()}) == 5, "the control: they differ"


def test_no_batch_is_refused() -> None:
    with pytest.raises(BadData, match="no calibration batch"):
        collect([])


def test_a_tensor_missing_from_a_batch_is_named() -> None:
    with pytest.raises(BadData, match="batch 1 has no tensor b"):
        collect([{"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}, {"a": np.ones(1, np.float32)}])
    with pytest.raises(BadData, match="batch 0 has no tensor c"):
        collect(tensors=["a", "c"])


@pytest.mark.parametrize("method", sorted(OBSERVERS))
def test_a_tensor_that_is_always_zero_is_named(method: str) -> None:
    with pytest.raises(BadData, match="tensor b is zero in all 2 calibration images"):
        collect([{"a": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}], method)


def test_a_tensor_with_nan_is_named() -> None:
    with pytest.raises(BadData, match="tensor a holds NaN"):
        collect([{"a": np.array([np.nan], np.float32)}])


def test_the_text_reads_back_to_the_very_same_numbers() -> None:
    text = ranges_to_text(TABLE)
    assert text.endswith("\n") and json.loads(text)["schema_version"] == 1
    assert ranges_from_text(text) == TABLE


def test_the_table_cannot_be_changed() -> None:
    source = {"a": 1.0}
    table = RangesTable("min-max", 1, "f", source)
    source["a"] = 2.0
    assert table.amax["a"] == 1.0
    with pytest.raises(TypeError):
        table.amax["a"] = 3.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2"),
        ({"schema_version": True}, "schema_version is True"),
        ({"schema_version": None}, "schema_version is None"),
        ({"note": "x"}, "unknown note"),
        ({"method": ""}, "method is ''"),
        ({"method": 3}, "method is 3"),
        ({"images": 0}, "images is 0"),
        ({"images": 1.5}, "images is 1.5"),
        ({"images": True}, "images is True"),
        ({"data_fingerprint": None}, "data_fingerprint is None"),
        ({"amax": {}}, "holds no tensor"),
        ({"amax": [1.0]}, "holds no tensor"),
        ({"amax": {"stem": 0}}, "tensor stem has magnitude 0"),
        ({"amax": {"stem": -1.0}}, "tensor stem has magnitude -1.0"),
        ({"amax": {"stem": float("inf")}}, "tensor stem has magnitude inf"),
        ({"amax": {"stem": float("nan")}}, "tensor stem has magnitude nan"),
        ({"amax": {"stem": "1"}}, "tensor stem has magnitude '1'"),
        ({"amax": {"stem": True}}, "tensor stem has magnitude True"),
        ({"amax": {"": 1.0}}, "a tensor is named ''"),
    ],
)
def test_an_unfit_record_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadData, match=message):
        ranges_from_text(json.dumps({**TABLE.to_json(), **change}))


@pytest.mark.parametrize("key", ["method", "images", "data_fingerprint", "amax"])
def test_a_missing_key_is_named(key: str) -> None:
    record = TABLE.to_json()
    del record[key]
    with pytest.raises(BadData, match=f"missing {key}"):
        RangesTable.from_json(record)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[1]", "not a JSON object"),
        (ranges_to_text(TABLE).replace('"stem"', '"blocks.0.fc1"'), r"key blocks\.0\.fc1 appears twice"),
    ],
)
def test_an_unfit_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        ranges_from_text(text)
