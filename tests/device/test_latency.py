"""Percentiles computed by hand, and a steady state found on scripted clocks. No time is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

import pytest

from swin_deploy.device.latency import Latency, summarised, timed_calls, warm_up


class Script:
    """A call that takes what a script says, on a clock that knows of nothing else; the last time is repeated."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self.now, self.calls = 100.0, 0
        self._seconds: Iterator[float] = iter(seconds)
        self._last = 0.0

    def __call__(self) -> None:
        self._last = next(self._seconds, self._last)
        self.now += self._last
        self.calls += 1

    def clock(self) -> float:
        return self.now


def warmed(seconds: Iterable[float], least_calls: int = 5, most_seconds: float = 60.0) -> tuple[int, bool]:
    script = Script(seconds)
    calls, steady = warm_up(script, least_calls=least_calls, most_seconds=most_seconds, clock=script.clock)
    assert calls == script.calls
    return calls, steady


def test_percentiles_of_whole_numbers_are_whole() -> None:
    found = summarised([float(value) for value in range(101, 0, -1)], 7, False)  # 1..101 ms in any order
    assert (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms) == pytest.approx((51.0, 91.0, 96.0, 100.0))
    assert found.quantiles_ms == pytest.approx(range(1, 102))
    assert (found.calls, found.warmup_calls, found.steady) == (101, 7, False)
    assert found.mean_ms == 51.0
    # The variance of 1..n is (n^2 - 1) / 12.
    assert found.variation == pytest.approx(((101**2 - 1) / 12) ** 0.5 / 51)


def test_a_percentile_between_two_calls_is_interpolated() -> None:
    found = summarised([10.0, 20.0])
    assert (found.p50_ms, found.p90_ms, found.p99_ms) == pytest.approx((15.0, 19.0, 19.9))
    assert found.variation == pytest.approx(5 / 15)


def test_one_call_is_its_own_percentile() -> None:
    found = summarised([3.0])
    assert set(found.quantiles_ms) == {3.0}
    assert found.variation == 0.0


@pytest.mark.parametrize("samples", [[], [float("nan")], [float("inf")], [-1.0], [[1.0]]])
def test_what_no_clock_shows_is_our_own_bug(samples: list[float]) -> None:
    with pytest.raises(AssertionError):
        summarised(samples)


def test_the_facts_are_json_under_the_names_of_the_fields() -> None:
    facts = json.loads(json.dumps(summarised([1.0, 2.0]).facts()))
    assert set(facts) == set(Latency.__dataclass_fields__)
    assert len(facts["quantiles_ms"]) == 101


def test_a_steady_clock_is_steady_after_two_windows() -> None:
    assert warmed([0.05] * 100) == (10, True)  # 5 calls of 50 ms are a window


def test_a_window_lasts_at_least_a_tenth_of_a_second() -> None:
    calls, steady = warmed([0.001] * 10_000)
    assert steady and 200 <= calls <= 202  # 0.1 s of 1 ms calls, twice; sums of floats may need one more


def test_a_falling_clock_is_waited_for() -> None:
    falling = [0.1 * 0.8**window for window in range(6) for _ in range(5)]  # six windows, each a fifth faster
    calls, steady = warmed([*falling, *[falling[-1]] * 100])
    assert (calls, steady) == (35, True)  # the seventh window is the first that is no faster


def test_a_clock_that_never_stops_falling_is_said_to_be_unsteady() -> None:
    calls, steady = warmed((1.0 * 0.9**call for call in range(1000)), most_seconds=5.0)
    assert not steady
    assert calls >= 5


def test_the_limit_ends_a_warm_up_of_slow_calls_but_not_before_the_least_calls() -> None:
    assert warmed([10.0] * 100, least_calls=3, most_seconds=5.0) == (3, False)


@pytest.mark.parametrize("noise", [(0.04, 0.06, 0.05, 0.055, 0.045), (0.05, 0.05, 0.05, 0.05, 0.9)])
def test_noise_and_stray_slow_calls_do_not_look_like_falling(noise: tuple[float, ...]) -> None:
    assert warmed(noise * 100) == (10, True)  # medians do not see them


def test_a_clock_that_rises_is_measured_and_not_waited_out() -> None:
    assert warmed([0.05] * 5 + [0.08] * 100) == (10, True)


@pytest.mark.parametrize(("drop", "steady_after"), [(0.01, 10), (0.05, 15)])
def test_two_percent_less_is_not_faster_and_five_percent_is(drop: float, steady_after: int) -> None:
    assert warmed([0.1] * 5 + [0.1 * (1 - drop)] * 100) == (steady_after, True)


def timed(seconds: float, **limits: float) -> list[float]:
    script = Script([seconds] * 100_000)
    return timed_calls(script, clock=script.clock, **limits)


def test_calls_are_timed_one_by_one_in_milliseconds() -> None:
    script = Script([0.25, 0.5, 1.0])
    assert timed_calls(script, least_calls=3, least_seconds=0.0, clock=script.clock) == [250.0, 500.0, 1000.0]


@pytest.mark.parametrize(
    ("seconds", "calls"),
    [(0.5, 40), (0.125, 50), (0.0078125, 128), (64.0, 1)],  # 20 s are enough; 50 calls; 1 s; never none
)
def test_enough_calls_and_seconds_but_not_too_many(seconds: float, calls: int) -> None:
    assert len(timed(seconds)) == calls


def test_the_limits_are_the_callers() -> None:
    limits: Callable[..., int] = lambda **given: len(timed(0.25, **given))  # noqa: E731
    assert limits(least_calls=2, least_seconds=0.0) == 2
    assert limits(least_calls=2, least_seconds=2.0) == 8
    assert limits(least_calls=200, most_seconds=3.0) == 12
