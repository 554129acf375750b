"""A mixture is measured once, also across interruptions, and never under another key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calib.errors import BadData
from swin_deploy.bisect.smallest_set import Found, smallest_set
from swin_deploy.bisect.trial import Metric, Need, Trial
from swin_deploy.bisect.trial_log import RememberedTrials

BLOCKS = tuple("abcdefgh")
NEED = Need(Metric.FINITE)


class Judge:
    """Needs b and f, and is interrupted at its `stop`-th answer."""

    def __init__(self, stop: int = -1) -> None:
        self.asked, self.stop = 0, stop

    def __call__(self, high: frozenset[str]) -> Trial:
        if self.asked == self.stop:
            raise KeyboardInterrupt
        self.asked += 1
        if "h" not in high and "b" not in high:
            return Trial.impossible("a weight reaches 70000", classes=True)
        return Trial(True, 60.123456789, 1.0) if {"b", "f"} <= high else Trial(False, -999.0, 0.0)


def search(judge: Judge, log: Path, key: str = "key") -> tuple[Found, RememberedTrials]:
    trials = RememberedTrials(judge, log, key)
    return smallest_set(BLOCKS, trials, NEED), trials


@pytest.mark.parametrize("stop", [0, 1, 7, 15])
def test_an_interrupted_search_goes_on_and_gives_the_same(tmp_path: Path, stop: int) -> None:
    whole, once = search(Judge(), tmp_path / "whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        search(Judge(stop), tmp_path / "log.jsonl")
    again = Judge()
    found, trials = search(again, tmp_path / "log.jsonl")
    assert found == whole
    assert (trials.resumed, trials.measured) == (stop, once.measured - stop)
    assert again.asked == trials.measured


def test_a_finished_search_measures_nothing_again_and_another_need_only_what_is_new(tmp_path: Path) -> None:
    search(Judge(), tmp_path / "log.jsonl")
    judge = Judge()
    search(judge, tmp_path / "log.jsonl")
    assert judge.asked == 0
    smallest_set(BLOCKS, RememberedTrials(judge, tmp_path / "log.jsonl", "key"), Need(Metric.SQNR, 40.0))
    assert judge.asked == 0


def test_another_key_starts_afresh(tmp_path: Path) -> None:
    _, once = search(Judge(), tmp_path / "log.jsonl", "one")
    judge = Judge()
    _, trials = search(judge, tmp_path / "log.jsonl", "two")
    assert (trials.resumed, judge.asked) == (0, once.measured)


def test_a_listener_hears_whether_an_answer_was_remembered(tmp_path: Path) -> None:
    heard = []
    trials = RememberedTrials(Judge(), tmp_path / "log", "key", lambda *said: heard.append(said[2]))
    trials(frozenset("b"))
    trials(frozenset("b"))
    assert heard == [False, True]


@pytest.mark.parametrize("line", ["{}", "[]", "no json", '{"high": [1], "trial": {}, "seconds": 1}', "null"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    search(Judge(), tmp_path / "log.jsonl")
    content = (tmp_path / "log.jsonl").read_text().splitlines()
    content[2] = line
    (tmp_path / "log.jsonl").write_text("\n".join(content) + "\n")
    with pytest.raises(BadData, match="line 3 is damaged"):
        search(Judge(), tmp_path / "log.jsonl")


def test_a_line_holds_what_was_measured(tmp_path: Path) -> None:
    RememberedTrials(Judge(), tmp_path / "log.jsonl", "key")(frozenset("fb"))
    entry = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[1])
    assert entry["high"] == ["b", "f"] and entry["trial"]["sqnr_db"] == 60.123456789 and entry["seconds"] >= 0
