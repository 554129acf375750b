"""Drops with their bounds, as the manifest has them."""

from __future__ import annotations

from dataclasses import replace

from swin_deploy.parity.gates import Verdict
from swin_deploy.report.drop_interval import drop_intervals, margin_of, unit_of
from tests.report.example_run import LOST, example_run, restoration_run
from tests.report.full_run import full_run


def test_a_drop_has_its_bounds_and_the_verdict_on_it_alone() -> None:
    found = {(row.artifact, row.label): row for row in drop_intervals(full_run())}
    int8 = found["int8-qdq", "literal Q/DQ"]
    assert (int8.drop, round(int8.lower, 6), round(int8.upper, 6), int8.images) == (0.3, -0.1, 0.7, 2000)
    assert int8.verdict is Verdict.PASS and int8.score == 91.2
    assert found["int8-qdq", "optimised"].verdict is None  # it has no gate
    assert ("reference", "oracle") not in found


def test_a_row_that_fails_by_another_check_is_not_failed_by_its_drop() -> None:
    bf16 = next(row for row in drop_intervals(example_run()) if row.artifact == "bf16")
    assert bf16.verdict is None


def test_restoration_is_counted_in_decibels() -> None:
    manifest = restoration_run(LOST)
    (row,) = [row for row in drop_intervals(manifest) if row.label == "graph"]
    assert (row.drop, row.lower, row.upper, row.score) == (0.015, 0.008, 0.022, 32.085)
    assert unit_of(manifest) == "dB" and margin_of(manifest) == 0.1
    assert unit_of(example_run()) == "points" and margin_of(example_run()) == 1.0


def test_an_interval_without_width_bounds_nothing() -> None:
    same = replace(LOST, spread=0.0, lower=0.015, upper=0.015)
    (row,) = [row for row in drop_intervals(restoration_run(same)) if row.label == "graph"]
    assert row.lower is None and row.upper is None


def test_without_labels_there_is_nothing() -> None:
    assert drop_intervals(restoration_run()) == ()
