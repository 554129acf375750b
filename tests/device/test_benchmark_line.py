"""What is made of times, given times."""

from __future__ import annotations

import json

import numpy as np
import pytest

from swin_deploy.device.benchmark_line import Line, Ratio, phase_medians, ratio_to
from swin_deploy.device.latency import summarised
from swin_deploy.device.timed_call import TimedCall

# Of one line, by the documented schema 2.
KEYS = """
artifact backend batch precision cuda_graph p50_ms p90_ms p95_ms p99_ms variation images_per_second ratio ratio_low
ratio_high quantiles_ms copy_in_ms compute_ms copy_out_ms device_bytes host_bytes roofline_share
"""


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]  # [rounds, one call]


def test_a_ratio_is_the_median_over_rounds_of_the_ratios_within_a_round() -> None:
    found = ratio_to(column(10, 20, 40, 10, 10), column(5, 5, 5, 10, 20))
    # The ratios are 2, 4, 8, 1, 0.5; the ratio of the medians would be 10 / 5 = 2 as well, that of the means 18 / 9.
    assert found == Ratio(2.0, 1.0, 4.0)


def test_a_round_is_judged_by_the_median_of_its_turn() -> None:
    # Of three calls the first finds cold caches: it does not count.
    assert ratio_to(np.array([[90.0, 10, 10]]), np.array([[5.0, 5, 50]])) == Ratio(2.0, 2.0, 2.0)


def test_drift_that_hits_all_alike_leaves_the_ratio_alone() -> None:
    drift = np.linspace(1, 3, 21)[:, None]
    steady, drifting = ratio_to(np.full((21, 1), 6.0), np.full((21, 1), 2.0)), ratio_to(6 * drift, 2 * drift)
    assert steady.middle == pytest.approx(drifting.middle) == pytest.approx(3.0)
    assert drifting.low == pytest.approx(drifting.high)


def test_faster_ones_have_larger_ratios_and_the_first_is_the_measure_of_itself() -> None:
    first = np.random.default_rng(0).uniform(9, 11, (50, 2))
    assert [ratio_to(first, first / speed).middle for speed in (0.5, 1, 2, 4)] == pytest.approx([0.5, 1, 2, 4])
    assert ratio_to(first, first) == Ratio(1.0, 1.0, 1.0)


def test_throughput_is_the_batch_over_the_median() -> None:
    line = Line("a", "torch", 8, "fp32", False, summarised([2.0, 4.0, 100.0]), Ratio(1, 1, 1))
    assert line.images_per_second == 1000 * 8 / 4


def test_a_line_has_every_key_of_the_schema() -> None:
    facts = json.loads(json.dumps(Line("a", "torch", 8, "fp32", False, summarised([1.0]), Ratio(2, 1, 3)).facts()))
    assert set(KEYS.split()) <= set(facts)
    assert (facts["ratio"], facts["ratio_low"], facts["ratio_high"], facts["compute_ms"]) == (2, 1, 3, None)
    assert len(facts["quantiles_ms"]) == 101


def test_phases_are_medians_of_the_calls_that_tell_them() -> None:
    calls = [
        TimedCall(0.0, 9.0, 1.0, 5.0, 0.5),
        TimedCall(0.0, 9.0, 3.0, 6.0, 0.25),
        TimedCall(0.0, 9.0, 2.0, 9.0, 1.0),
    ]
    assert phase_medians(calls) == (2.0, 6.0, 0.5)
    assert phase_medians([TimedCall(0.0, 9.0)]) == (None, None, None)
