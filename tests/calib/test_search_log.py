"""A judge that remembers, in memory and on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calib.errors import BadData
from calib.plan_judge import Choice, Figures, TaskDamage
from calib.search_log import RememberingJudge


class Counting:
    """Says something different of every choice, and how often it was asked."""

    def __init__(self, labels: bool = True) -> None:
        self.asked: list[Choice] = []
        self.labels = labels

    def sqnr_db(self, choice: Choice) -> float:
        self.asked.append(choice)
        return 40.1 - len(choice)

    def task(self, choice: Choice) -> TaskDamage | None:
        return TaskDamage(0.1 * len(choice), 0.1 * len(choice) + 0.2) if self.labels else None


CHOICES: list[dict[str, str]] = [{}, {"a": "x"}, {"a": "y"}, {"a": "x", "b": "x"}]


def test_a_choice_is_measured_once_whatever_the_order_of_its_linears() -> None:
    inner = Counting()
    judge = RememberingJudge(inner)
    first = judge.figures({"a": "x", "b": "y"})
    assert judge.figures({"b": "y", "a": "x"}) == first == Figures(38.1, TaskDamage(0.2, 0.4))
    judge.figures({"a": "x", "b": "x"})  # another variant is another choice
    assert (len(inner.asked), judge.measured, judge.resumed) == (2, 2, 0)


@pytest.mark.parametrize("labels", [True, False])
def test_a_log_with_the_same_key_is_gone_on_with(tmp_path: Path, labels: bool) -> None:
    log = tmp_path / "log.jsonl"
    judge = RememberingJudge(Counting(labels), log, "key")
    first = [judge.figures(choice) for choice in CHOICES[:3]]
    inner = Counting(labels)
    again = RememberingJudge(inner, log, "key")
    assert [again.figures(choice) for choice in CHOICES[:3]] == first and not inner.asked
    again.figures(CHOICES[3])
    assert (again.resumed, again.measured) == (3, 1)
    assert RememberingJudge(inner, log, "key").resumed == 4


def test_every_measurement_is_on_disk_before_the_next_one(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    judge = RememberingJudge(Counting(), log, "key")
    for number, choice in enumerate(CHOICES, 2):
        judge.figures(choice)
        assert len(log.read_text().splitlines()) == number
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["choice"] == {"a": "x", "b": "x"} and last["seconds"] >= 0


def test_a_log_with_another_key_is_started_afresh(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    RememberingJudge(Counting(), log, "one").figures({})
    inner = Counting()
    judge = RememberingJudge(inner, log, "two")
    judge.figures({})
    assert judge.resumed == 0 and len(inner.asked) == 1
    assert RememberingJudge(inner, log, "one").resumed == 0


def test_a_log_that_was_cut_off_anywhere_loses_the_last_line_alone(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    judge = RememberingJudge(Counting(), log, "key")
    for choice in CHOICES:
        judge.figures(choice)
    whole = log.read_bytes()
    for length in range(len(whole)):
        log.write_bytes(whole[:length])
        inner = Counting()
        again = RememberingJudge(inner, log, "key")
        assert again.resumed == max(0, whole[:length].count(b"\n") - 1)
        assert [again.figures(choice) for choice in CHOICES] == [judge.figures(choice) for choice in CHOICES]
        assert RememberingJudge(inner, log, "key").resumed == len(CHOICES)


def test_a_log_damaged_in_the_middle_is_refused_with_its_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    judge = RememberingJudge(Counting(), log, "key")
    for choice in CHOICES:
        judge.figures(choice)
    lines = log.read_text().splitlines(keepends=True)
    for damage in ("\n", "{}\n", "[]\n", '{"choice": {"a": 1}, "sqnr_db": 1, "task": null, "seconds": 0}\n',
                   '{"choice": {}, "sqnr_db": NaN, "task": null, "seconds": 0}\n', "\xff\n"):  # fmt: skip
        log.write_text("".join([*lines[:2], damage, *lines[3:]]), encoding="latin-1")
        with pytest.raises(BadData, match="line 3 is damaged"):
            RememberingJudge(Counting(), log, "key")


@pytest.mark.parametrize("content", [b"my thesis", b"my thesis\n", b'{"log": "mine"}\n', b"\n"])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "thesis.txt"
    other.write_bytes(content)
    with pytest.raises(BadData, match="no log of plans judged"):
        RememberingJudge(Counting(), other, "key")
    assert other.read_bytes() == content


def test_nothing_is_remembered_of_a_measurement_that_failed(tmp_path: Path) -> None:
    class Broken(Counting):
        def task(self, choice: Choice) -> TaskDamage:
            raise KeyboardInterrupt

    log = tmp_path / "log.jsonl"
    with pytest.raises(KeyboardInterrupt):
        RememberingJudge(Broken(), log, "key").figures({})
    assert RememberingJudge(Counting(), log, "key").resumed == 0
