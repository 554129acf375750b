"""Rounds are interleaved and rotate. No time is asserted: the clock is a script."""

from __future__ import annotations

from swin_deploy.device.benchmark_line import ratio_to, turn_times
from swin_deploy.device.rounds import interleaved


class ScriptedSession:
    """Writes its name into a common list at each call, which takes what it was told to take."""

    def __init__(self, name: str, calls: list[str], machine: list[float], seconds: float = 0.0) -> None:
        self.name, self.calls, self.machine, self.seconds = name, calls, machine, seconds

    def infer(self, images: object) -> dict[str, object]:
        self.calls.append(self.name)
        self.machine[0] += self.seconds * self.machine[1]
        return {}


def test_each_round_begins_with_another_and_a_turn_is_several_calls() -> None:
    calls: list[str] = []
    sessions = [ScriptedSession(name, calls, [0.0, 1.0]) for name in "abc"]
    found = interleaved(sessions, None, rounds=4, calls=2)
    assert "".join(calls) == "aabbcc" + "bbccaa" + "ccaabb" + "aabbcc"
    assert [[len(turn) for turn in own] for own in found] == [[2] * 4] * 3


def test_every_call_has_its_place_and_its_time() -> None:
    machine = [0.0, 1.0]
    sessions = [ScriptedSession("a", [], machine, 1.0), ScriptedSession("b", [], machine, 0.5)]
    first, second = interleaved(sessions, None, rounds=2, calls=1, clock=lambda: machine[0])
    # Round one: a from 0 to 1 s, b to 1.5 s; round two: b to 2 s, a to 3 s.
    assert [call.start_ms for turn in first for call in turn] == [0.0, 2000.0]
    assert [call.start_ms for turn in second for call in turn] == [1000.0, 1500.0]
    assert turn_times(first).tolist() == [[1000.0], [1000.0]]
    assert turn_times(second).tolist() == [[500.0], [500.0]]


def test_a_slower_contestant_has_a_ratio_below_one_and_drift_leaves_it_alone() -> None:
    found = []
    for drift in (0.0, 0.25):
        machine = [0.0, 1.0]

        def clock(machine: list[float] = machine, drift: float = drift) -> float:
            machine[1] += drift / 100  # the whole machine gets slower with each look at its clock
            return machine[0]

        sessions = [ScriptedSession("fast", [], machine, 1.0), ScriptedSession("slow", [], machine, 4.0)]
        fast, slow = interleaved(sessions, None, rounds=20, calls=3, clock=clock)
        ratio = ratio_to(turn_times(fast), turn_times(slow))
        assert ratio.low <= ratio.middle <= ratio.high < 1
        found.append(ratio.middle)
    assert found[0] == 0.25
    assert abs(found[1] - 0.25) < 0.01
