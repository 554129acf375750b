"""One judgement for the build machine and the device; tests/parity/test_gates.py has the borders of each check."""

from __future__ import annotations

import numpy as np
import pytest

from swin_deploy.device.closeness import Closeness, Verdict, judge_closeness, outputs_distance, worst
from swin_deploy.device.distances import EXACT_DB
from swin_deploy.parity.gates import GATES, GateName, judge

GATE = Closeness(sqnr_db=20.0, dense_db=30.0, agreement=0.9, psnr_y_db=40.0)
WANTED = np.array([[3.0, 4.0], [4.0, 3.0]], np.float32)


def test_the_gate_of_a_bundle_is_the_gate_of_the_build_in_four_numbers() -> None:
    gate = GATES[GateName.INT8]
    facts = gate.facts()
    assert facts == {
        "sqnr_db": gate.sqnr_db,
        "dense_db": gate.dense_db,
        "agreement": gate.agreement,
        "psnr_y_db": gate.psnr_y_db,
    }
    again = Closeness(**facts)
    distances = {1: outputs_distance({"y": WANTED * 1.05}, {"y": WANTED}, classes=True, pictures=False)}
    assert judge_closeness(again, distances) == judge(gate, distances, None, 1.0)


def test_several_outputs_are_judged_by_the_worst_and_others_than_the_oracles_are_refused() -> None:
    found = outputs_distance(
        {"a": WANTED, "b": WANTED * 1.1}, {"a": WANTED, "b": WANTED}, classes=False, pictures=False
    )
    assert found.by_output["a"] == EXACT_DB
    assert found.sqnr_db == pytest.approx(20.0, abs=1e-4)  # noise is a tenth of the signal in each number
    with pytest.raises(ValueError, match="cannot be compared"):
        outputs_distance({"a": WANTED}, {"b": WANTED}, classes=False, pictures=False)


def test_dense_outputs_have_the_dense_gate() -> None:
    found = {1: outputs_distance({"y": WANTED * 1.05}, {"y": WANTED}, classes=False, pictures=False)}  # 26 dB
    (_, sqnr) = judge_closeness(GATE, found)
    assert (sqnr.verdict, "gate 30 dB" in sqnr.detail) == (Verdict.FAIL, True)
    found = {1: outputs_distance({"y": WANTED * 1.05}, {"y": WANTED}, classes=True, pictures=False)}
    assert worst(judge_closeness(GATE, found)) is Verdict.PASS


def test_pictures_are_judged_by_their_luma_too() -> None:
    picture = np.full((1, 1, 4, 4), 0.5, np.float32)
    found = {1: outputs_distance({"y": picture + 0.02}, {"y": picture}, classes=False, pictures=True)}
    (*_, pictures) = judge_closeness(GATE, found)
    assert pictures.check == "psnr-y"
    assert pictures.detail.startswith("33.98 dB")  # -20 log10(0.02)
    assert pictures.verdict is Verdict.FAIL
