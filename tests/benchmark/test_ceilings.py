"""Ceilings are measured for what is needed and can be; no time is asserted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from swin_deploy.benchmark import ceilings
from swin_deploy.benchmark.ceilings import best_seconds, measured_ceilings


def test_the_best_call_counts_and_the_first_one_never() -> None:
    now, seconds = [0.0], iter([0.1, 5.0, 3.0, 2.0, 4.0, 9.0])  # the warm-up, and five calls

    def call() -> None:
        now[0] += next(seconds)

    assert best_seconds(call, lambda: None, lambda: now[0]) == 2.0
    assert list(seconds) == []


def test_quick_calls_are_made_for_a_while() -> None:
    now, calls = [0.0], [0]

    def call() -> None:
        calls[0] += 1
        now[0] += 0.03125

    assert best_seconds(call, lambda: None, lambda: now[0]) == 0.03125
    assert calls[0] == 1 + 10  # 0.3 s are 9.6 of them


def test_what_was_only_begun_is_waited_for() -> None:
    now = [0.0]

    def wait() -> None:
        now[0] += 1.0

    assert best_seconds(lambda: None, wait, lambda: now[0]) == 1.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "_SIDES", (64,))
    monkeypatch.setattr(ceilings, "_COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(ceilings, "_LEAST_SECONDS", 0.0)


def test_this_machine_has_ceilings(quick: None) -> None:
    found = measured_ceilings("cpu", "here", ("fp32", "bf16", "fp8"), 1)
    assert (found.device, found.source) == ("here", "measured")
    assert found.bandwidth > 0 and found.rates["fp32"] > 0
    assert "fp8" not in found.rates  # PyTorch has no such product on a CPU
    assert "int8" not in found.rates  # nobody asked


def test_the_faster_library_is_the_ceiling(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in (1e18, 1e3):
        monkeypatch.setattr(ceilings, "_onnxruntime_rate", lambda threads, rate=rate: rate)
        found = measured_ceilings("cpu", "here", ("fp32",), 1).rates["fp32"]
        assert found == 1e18 if rate == 1e18 else found > rate


def test_onnx_runtimes_product_is_timed_too() -> None:
    assert ceilings._onnxruntime_rate(1, side=64) > 0


@pytest.mark.parametrize("error", [RuntimeError, AttributeError])
def test_a_product_that_pytorch_has_not_stays_unknown(
    quick: None, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def missing(left: object, right: object) -> None:
        raise error("not here")

    monkeypatch.setattr(ceilings, "int8_product", missing)
    assert measured_ceilings("cpu", "here", ("int8",), 1).rates == {}


def test_the_faster_layout_of_the_weights_is_the_ceiling(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def scripted(call: Any, wait: object) -> float:
        return 4.0 if isinstance(call, partial) and call.args[1].is_contiguous() else 0.5

    monkeypatch.setattr(ceilings, "best_seconds", scripted)
    assert measured_ceilings("cpu", "here", ("fp16",), 1).rates["fp16"] == 2 * 64**3 / 0.5
