"""Whom a call's times are asked of: the session where it tells its phases, else the host's clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from swin_deploy.device.timed_call import TimedCall, timed_call


class Clock:
    """Says the given seconds one after the other."""

    def __init__(self, *seconds: float) -> None:
        self._seconds = iter(seconds)

    def __call__(self) -> float:
        return next(self._seconds)


def session(phases: Any) -> Any:
    return SimpleNamespace(timed=lambda images: ({}, phases), infer=lambda images: None)


def test_a_session_that_tells_its_phases_is_asked_for_them() -> None:
    phases = SimpleNamespace(copy_in=0.25, compute=2.0, copy_out=0.5)
    found = timed_call(session(phases), None, Clock(10.0, 10.004))
    assert (found.copy_in_ms, found.compute_ms, found.copy_out_ms) == (0.25, 2.0, 0.5)
    assert found.on_gpu
    assert (found.start_ms, round(found.total_ms, 6)) == (10_000.0, 4.0)


def test_a_session_on_a_cpu_has_none_to_tell() -> None:
    found = timed_call(session(None), None, Clock(1.0, 1.5))
    assert found == TimedCall(1000.0, 500.0)
    assert not found.on_gpu


def test_any_other_session_is_timed_by_the_host_alone() -> None:
    calls: list[Any] = []
    found = timed_call(SimpleNamespace(infer=calls.append), "images", Clock(0.0, 0.25))
    assert (found.total_ms, found.on_gpu, calls) == (250.0, False, ["images"])
