"""What a mixture of precisions is judged by."""

from __future__ import annotations

import math

import pytest

from swin_deploy.bisect.trial import Metric, Need, Trial
from swin_deploy.device.distances import EXACT_DB, Distance
from swin_deploy.errors import UsageFault
from swin_deploy.parity.gates import GATES, GateName

GATE = GATES[GateName.FP16_NUMERICS]


def distance(images: int, sqnr_db: float, agreement: float | None = 1.0, finite: bool = True) -> Distance:
    return Distance(images, finite, sqnr_db, 0.1, agreement)


def test_the_worst_batch_counts_and_the_agreement_of_most_images() -> None:
    trial = Trial.of({1: distance(16, 48.0, 0.9), 8: distance(64, 52.0, 0.97), 32: distance(32, 51.0, 1.0)})
    assert trial == Trial(True, 48.0, 0.97)
    broken = Trial.of({1: distance(16, 48.0), 8: distance(64, -EXACT_DB, 0.5, finite=False)})
    assert not broken.finite and broken.noise == math.inf


def test_noise_is_the_power_behind_the_decibels() -> None:
    assert Trial(True, 20.0, None).noise == pytest.approx(0.01)
    assert Trial(True, EXACT_DB, None).noise == 0.0


@pytest.mark.parametrize(
    ("metric", "value", "good", "bad"),
    [
        (Metric.SQNR, 50.0, Trial(True, 50.0, 0.0), Trial(True, 49.9, 1.0)),
        (Metric.AGREEMENT, 0.98, Trial(True, 10.0, 0.98), Trial(True, 90.0, 0.979)),
        (Metric.FINITE, None, Trial(True, -20.0, 0.0), Trial(False, -EXACT_DB, 1.0)),
    ],
)
def test_each_metric_has_its_threshold(metric: Metric, value: float | None, good: Trial, bad: Trial) -> None:
    need = Need.of(metric, value, GATE, dense=False)
    assert need.met(good) and not need.met(bad)


@pytest.mark.parametrize("metric", list(Metric))
def test_nothing_that_is_not_finite_passes(metric: Metric) -> None:
    need = Need.of(metric, None, GATE, dense=False)
    assert not need.met(Trial(False, -EXACT_DB, 1.0))
    assert need.figure(Trial(False, -EXACT_DB, 1.0)) == "NaN or Inf"
    assert need.figure(Trial.impossible("too large", classes=True)) == "not representable"


def test_without_a_value_the_gates_own_thresholds_hold() -> None:
    assert Need.of(Metric.SQNR, None, GATE, dense=False) == Need(Metric.SQNR, GATE.sqnr_db)
    assert Need.of(Metric.SQNR, None, GATE, dense=True) == Need(Metric.SQNR, GATE.dense_db)
    assert Need.of(Metric.AGREEMENT, None, GATE, dense=False) == Need(Metric.AGREEMENT, GATE.agreement)


@pytest.mark.parametrize(
    ("metric", "value", "dense"),
    [
        (Metric.FINITE, 3.0, False),
        (Metric.AGREEMENT, 98.0, False),
        (Metric.AGREEMENT, 0.0, False),
        (Metric.AGREEMENT, None, True),
        (Metric.SQNR, math.nan, False),
        (Metric.SQNR, math.inf, False),
    ],
)
def test_a_threshold_that_nothing_compares_with_is_refused(metric: Metric, value: float | None, dense: bool) -> None:
    with pytest.raises(UsageFault):
        Need.of(metric, value, GATE, dense=dense)


def test_words_and_figures() -> None:
    assert Need(Metric.SQNR, 50.0).words() == "SQNR of 50 dB"
    assert Need(Metric.AGREEMENT, 0.98).words() == "agreement of 98 %"
    assert Need(Metric.AGREEMENT, 0.98).figure(Trial(True, 3.0, 0.5)) == "50.00 %"
    assert Need(Metric.SQNR, 50.0).figure(Trial(True, EXACT_DB, 0.5)) == "equal"
