"""The exit status of a whole call, and the sentence that explains it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from board import write_bundle

from swin_deploy.device.bundle_file import Bundle
from swin_deploy.device.closeness import Verdict
from swin_deploy.device.finish_report import markdown
from swin_deploy.device.finish_result import EngineResult, FinishResult, conclude
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("result") / "bundle")


def result(bundle: Bundle, *verdicts: Verdict | ExplainedError, require: bool = False) -> FinishResult:
    (engine,) = bundle.engines
    entries = []
    for place, verdict in enumerate(verdicts):
        own = replace(engine, name=f"e{place}")
        if isinstance(verdict, ExplainedError):
            entries.append(EngineResult(own, Verdict.FAIL, error=verdict))
        else:
            entries.append(EngineResult(own, verdict))
    device = {"name": "Imaginary board", "system": "Linux aarch64"}
    tool = {"package": "tensorrt", "version": "10.3.0"}
    return FinishResult(bundle, device, tool, tuple(entries), require, complete=True)


@pytest.mark.parametrize(
    ("verdicts", "require", "status", "says"),
    [
        ([Verdict.PASS, Verdict.PASS], True, 0, "PASS: e0, e1"),
        ([Verdict.PASS, Verdict.INCONCLUSIVE], False, 0, "INCONCLUSIVE: e1"),
        ([Verdict.PASS, Verdict.SKIPPED], False, 0, "SKIPPED: e1 not executed, so not proven"),
        ([Verdict.PASS, Verdict.SKIPPED], True, 3, "SKIPPED: e1 not executed, so not proven"),
        ([Verdict.PASS, Verdict.FAIL], False, 4, "FAIL: e1 did not pass the gates"),
        ([Verdict.SKIPPED, Verdict.FAIL], True, 4, "FAIL: e1"),
        ([Verdict.PASS, BadInput("x")], False, 5, "e1 was not finished: x."),
        ([EnvironmentFault("y"), BadInput("x")], False, 6, "e0 was not finished: y."),
        ([Verdict.FAIL, EnvironmentFault("y")], False, 4, "FAIL: e0 did not pass the gates"),
    ],
)
def test_the_worst_decides(
    verdicts: list[Verdict | ExplainedError], require: bool, status: int, says: str, bundle: Bundle
) -> None:
    found, sentence = conclude(result(bundle, *verdicts, require=require))
    assert found == status
    assert says in sentence


def test_a_call_that_goes_on_has_no_status_yet(bundle: Bundle) -> None:
    going_on = replace(result(bundle, Verdict.PASS), complete=False)
    assert conclude(going_on) == (None, "not finished")
    assert going_on.facts()["status"] is None


def test_what_was_not_executed_is_never_called_a_pass(bundle: Bundle) -> None:
    skipped = result(bundle, Verdict.SKIPPED)
    assert "PASS" not in conclude(skipped)[1]
    assert "PASS" not in markdown(skipped)
    assert "not executed" in markdown(skipped)


def test_nothing_requires_what_was_finished_beside_the_engines(bundle: Bundle) -> None:
    found = result(bundle, Verdict.PASS, Verdict.SKIPPED, require=True)
    beside = replace(found, engines=(found.engines[0], replace(found.engines[1], beside=True)))
    assert conclude(found)[0] == 3
    assert conclude(beside)[0] == 0
    assert "SKIPPED: e1 not executed, so not proven" in conclude(beside)[1]


def test_a_name_ending_in_rejected_is_told_of_files_alone(bundle: Bundle) -> None:
    failed = result(bundle, Verdict.FAIL)
    assert ".rejected" not in conclude(failed)[1]
    filed = replace(failed, engines=(replace(failed.engines[0], file="e0.plan.rejected"),))
    assert "stands under a name ending in .rejected" in conclude(filed)[1]
