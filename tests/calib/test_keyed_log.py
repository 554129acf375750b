"""A log of JSON lines: gone on with under the same key, started afresh under another, whole wherever it was cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calib.errors import BadData
from calib.keyed_log import KeyedLog


def entries(log: KeyedLog) -> list[int]:
    return [json.loads(line)["number"] for _, line in log.lines]


def written(path: Path, key: str, numbers: range) -> None:
    log = KeyedLog(path, "things seen", key)
    for number in numbers:
        log.append({"number": number})


def test_entries_are_found_again_under_the_same_key_and_dropped_under_another(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written(path, "one", range(3))
    written(path, "one", range(3, 5))
    assert entries(KeyedLog(path, "things seen", "one")) == [0, 1, 2, 3, 4]
    assert entries(KeyedLog(path, "things seen", "two")) == []
    assert entries(KeyedLog(path, "things seen", "one")) == []


def test_wherever_it_is_cut_off_whole_lines_are_kept_and_the_next_is_whole_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written(path, "key", range(3))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        whole = max(content[:length].count(b"\n") - 1, 0)
        written(path, "key", range(9, 10))
        assert entries(KeyedLog(path, "things seen", "key")) == [*range(whole), 9], length


def test_another_kind_of_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written(path, "key", range(1))
    before = path.read_bytes()
    with pytest.raises(BadData, match="no log of other things"):
        KeyedLog(path, "other things", "key")
    assert path.read_bytes() == before


def test_a_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written(path, "key", range(2))
    assert [where for where, _ in KeyedLog(path, "things seen", "key").lines] == [f"{path}, line 2", f"{path}, line 3"]
