"""A race: turns are interleaved, ratios are within a round, and errors are of the call that is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.race import Contestant, Lane, as_graph, compared, enter, raced
from benchmarks.gpu.record import Row
from benchmarks.gpu.timers import CpuTimer
from swin_deploy.errors import EnvironmentFault


@dataclass
class ScriptedTimer:
    """A GPU whose every call takes as long as the call says, times a drift that grows from turn to turn."""

    device: str = "cuda"
    turn_ms: float = 40.0
    warm_seconds: float = 0.0
    drift: float = 1.0
    log: list[Any] = field(default_factory=list)

    def turn(self, call: Callable[[], Any], calls: int) -> list[float]:
        self.log.append((call, calls))
        self.drift *= 1.01
        return [self.drift * call()] * calls

    def seconds(self, call: Callable[[], Any]) -> float:
        return float(call())

    def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
        self.log.append("captured")
        return call

    def wait(self) -> None:
        pass


def lane(name: str, ms: float) -> Lane:
    return Lane(Row(name, "fp16"), lambda: ms)


def test_turns_are_interleaved_and_as_long_as_they_should_be() -> None:
    timer, lanes = ScriptedTimer(), [lane("slow", 20.0), lane("quick", 1.0)]
    rows = raced(lanes, timer, against="slow", rounds=4)
    turns = [(lanes[0] if call is lanes[0].call else lanes[1]).row.name for call, _ in timer.log[-8:]]
    assert turns == ["slow", "quick", "quick", "slow", "slow", "quick", "quick", "slow"]
    assert {calls for call, calls in timer.log[-8:] if call is lanes[0].call} == {3}  # never fewer
    assert next(calls for call, calls in timer.log[-8:] if call is lanes[1].call) in range(30, 41)  # about 40 ms
    assert [row.calls for row in rows] == [12, 4 * timer.log[-2][1]]


def test_a_ratio_is_taken_within_a_round_so_that_drift_leaves_it_alone() -> None:
    rows = raced([lane("base", 20.0), lane("ours", 10.0)], ScriptedTimer(), against="base", rounds=10)
    assert rows[0].ratio == 1.0
    assert rows[1].ratio == pytest.approx(2.0, rel=0.02)
    assert rows[1].ratio_low is not None and rows[1].ratio_high is not None
    assert rows[1].ratio_low <= rows[1].ratio <= rows[1].ratio_high


def test_there_is_no_ratio_to_one_that_does_not_take_part() -> None:
    (row,) = raced([lane("ours", 10.0)], ScriptedTimer(), against="base", rounds=2)
    assert row.ms is not None and row.ratio is None


def test_a_cpu_gives_no_times() -> None:
    (row,) = raced([lane("ours", 1.0)], CpuTimer(), against="ours", rounds=2)
    assert (row.ms, row.ratio, row.calls) == (None, None, 0)


def test_one_that_brings_its_own_turns_is_timed_by_them() -> None:
    class Engine:
        def __call__(self) -> None:
            raise AssertionError("timed from outside")

        def turn(self, calls: int) -> list[float]:
            return [7.0] * calls

    (row,) = raced([Lane(Row("engine", "fp16"), Engine())], ScriptedTimer(), against="engine", rounds=2)
    assert row.ms == 7.0


def images() -> Tensor:
    return torch.ones(4, 3, 2, 2)


def oracle(x: Tensor) -> Tensor:
    return x.flatten(1)


def test_the_error_is_that_of_new_images_through_the_call_that_is_timed() -> None:
    shared = images()
    stale = oracle(shared).clone()
    lanes = [
        Lane(Row("exact", "fp16"), lambda: oracle(shared)),
        Lane(Row("off", "fp16"), lambda: 1.01 * oracle(shared)),
        Lane(Row("stale", "fp16"), lambda: stale),  # a graph that does not read its images again
        Lane(Row("broken", "fp16"), lambda: torch.full((4, 12), float("nan"))),
    ]
    exact, off, old, broken = (entry.row for entry in compared(lanes, shared, oracle, CpuTimer()))
    assert exact.relative_error is not None and exact.relative_error < 1e-6 and exact.agreement == 1.0
    assert off.relative_error == pytest.approx(0.01, rel=1e-3)
    assert old.relative_error is not None and old.relative_error > 0.5
    assert broken.relative_error is None and broken.finite is False and broken.agreement == 0.0


def test_one_that_fails_to_open_is_a_row_with_its_reason() -> None:
    def fails(images: Tensor) -> Callable[[], Any]:
        raise RuntimeError("no kernel for this\nand a trace")

    entered = enter(Contestant("ours", "fp16", fails), images(), CpuTimer())
    assert isinstance(entered, Row) and entered.missing == "RuntimeError: no kernel for this"
    absent = enter(Contestant("ours", "fp16", fails, missing="not installed"), images(), CpuTimer())
    assert isinstance(absent, Row) and absent.missing == "not installed"


def test_a_gpu_that_answers_nothing_any_more_ends_the_race() -> None:
    class Dead(ScriptedTimer):
        def wait(self) -> None:
            raise RuntimeError("an illegal memory access was encountered")

    def fails(images: Tensor) -> Callable[[], Any]:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(EnvironmentFault, match="'ours'"):
        enter(Contestant("ours", "fp16", fails), images(), Dead())


def test_an_open_lane_gets_a_graph_beside_it_or_the_reason() -> None:
    class Refusing(ScriptedTimer):
        def captured(self, call: Callable[[], Any]) -> Callable[[], Any]:
            raise RuntimeError("operation not permitted when stream is capturing")

    opened = lane("ours", 1.0)
    beside = as_graph(opened, "ours, graph", ScriptedTimer())
    assert isinstance(beside, Lane) and beside.row.name == "ours, graph" and beside.call is opened.call
    refused = as_graph(opened, "ours, graph", Refusing())
    assert isinstance(refused, Row) and refused.missing is not None and "capturing" in refused.missing


def test_only_one_that_wants_a_graph_is_captured() -> None:
    contestant = Contestant("ours", "fp16", lambda shared: lambda: oracle(shared))
    for graph, wanted in ((True, ["captured"]), (False, [])):
        timer = ScriptedTimer()
        assert isinstance(enter(replace(contestant, graph=graph), images(), timer), Lane)
        assert timer.log == wanted
