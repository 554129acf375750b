"""What a run offers for deployment."""

from __future__ import annotations

from dataclasses import replace

from swin_deploy.parity.gates import Verdict
from swin_deploy.report.candidate import candidates
from swin_deploy.report.measured_times import latency_lines
from tests.report.example_run import example_run
from tests.report.full_run import full_run


def test_there_is_one_a_precision_from_the_widest_to_the_narrowest() -> None:
    found = candidates(full_run(), latency_lines(full_run()))
    assert [candidate.precision for candidate in found] == ["fp32", "fp16", "int8", "fp8"]
    fp32, fp16, int8, _ = found
    assert fp32.engine is None and fp32.time is None
    assert fp16.engine is not None and not fp16.executed and fp16.verdict is Verdict.PASS
    assert (int8.kernels, int8.sqnr_db) == (120, 31.0) and int8.interval is not None
    assert int8.time is not None and int8.time.batch == 8  # the usual one


def test_only_what_the_clock_recommends_is_recommended() -> None:
    assert {entry.precision for entry in candidates(full_run()) if entry.recommended} == {"int8", "fp8"}
    untimed = replace(full_run(), speed=None)
    assert {entry.precision for entry in candidates(untimed) if entry.recommended} == {"fp16"}


def test_an_engine_that_failed_its_audit_fails_its_precision() -> None:
    made = full_run()
    engine = made.steps[4]
    failed = replace(engine, rows=(engine.rows[0], replace(engine.rows[1], verdict=Verdict.FAIL)))
    found = candidates(replace(made, steps=(*made.steps[:4], failed)))
    assert next(entry for entry in found if entry.precision == "fp16").verdict is Verdict.FAIL


def test_what_was_not_executed_is_skipped() -> None:
    made = example_run()
    (found,) = candidates(replace(made, steps=made.steps[-1:]))
    assert found.verdict is Verdict.SKIPPED and found.interval is None and found.sqnr_db is None
