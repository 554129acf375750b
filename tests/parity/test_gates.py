"""The table of gates, its verdicts at the exact borders, and a planted fault for each check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from swin_deploy.device.distances import Distance, distance
from swin_deploy.parity.gates import (
    GATES,
    TASK_IMAGES,
    TASK_PAIRS,
    Gate,
    GateName,
    Judgement,
    Verdict,
    judge,
    worst,
)
from swin_deploy.parity.paired_drop import PairedDrop, paired_drop
from swin_deploy.parity.psnr_drop import PsnrDrop

GOOD = Distance(images=2000, finite=True, sqnr_db=70.0, max_abs=0.01, agreement=1.0)
GATE = Gate(sqnr_db=60.0, dense_db=50.0, agreement=0.98, psnr_y_db=58.92, task=True)
NO_DROP = PairedDrop(images=2000, reference_top1=90.0, top1=90.0, lost=0, won=0, drop=0.0, lower=-0.135, upper=0.135)


def verdicts(
    distances: Mapping[int, Distance],
    drop: PairedDrop | PsnrDrop | None = None,
    gate: Gate = GATE,
    max_drop: float = 1.0,
) -> dict[str, Verdict]:
    return {found.check: found.verdict for found in judge(gate, distances, drop, max_drop)}


@pytest.mark.parametrize(
    ("name", "decibels"),
    [
        (GateName.FP32, 100),
        (GateName.FP16_NUMERICS, 60),
        (GateName.FP16_ENGINE, 50),
        (GateName.BF16, 35),
        (GateName.INT8, 25),
        (GateName.FP8, 25),
    ],
)
def test_the_table_holds_the_default_gates_that_the_readme_promises(name: GateName, decibels: float) -> None:
    assert GATES[name].sqnr_db == decibels


def test_every_kind_of_view_has_a_gate_and_none_is_looser_than_int8() -> None:
    assert set(GATES) == set(GateName)
    assert all(gate.sqnr_db >= 25 and gate.agreement >= 0.9 for gate in GATES.values())


def test_the_task_is_gated_for_every_precision_where_images_are_enough() -> None:
    """Torch half on a CPU sees a subset, too small to judge by; on a GPU it sees all images."""
    assert all(gate.task for gate in GATES.values())


def test_the_table_cannot_be_changed_by_whoever_imports_it() -> None:
    with pytest.raises(TypeError):
        GATES[GateName.INT8] = Gate(0, 0, 0, 0, False)  # type: ignore[index]


def test_a_good_artifact_passes_every_check() -> None:
    found = judge(GATE, {1: GOOD, 8: GOOD, 32: GOOD}, NO_DROP, 1.0)
    assert [(one.check, one.verdict) for one in found] == [
        ("finite", Verdict.PASS),
        ("sqnr", Verdict.PASS),
        ("agreement", Verdict.PASS),
        ("top1-drop", Verdict.PASS),
    ]
    assert worst(found) is Verdict.PASS


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_a_nan_at_one_batch_size_alone_fails_and_is_named(batch: int) -> None:
    broken = Distance(images=16, finite=False, sqnr_db=-999.0, max_abs=None, agreement=1.0)
    found = judge(GATE, {**dict.fromkeys((1, 8, 32), GOOD), batch: broken}, None, 1.0)
    assert found[0].verdict is Verdict.FAIL
    assert found[0].detail.endswith(f"batch {batch}")
    assert worst(found) is Verdict.FAIL


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_noise_at_one_batch_size_alone_fails_and_is_named(batch: int) -> None:
    noisy = replace(GOOD, images=16, sqnr_db=59.9)
    found = judge(GATE, {**dict.fromkeys((1, 8, 32), GOOD), batch: noisy}, None, 1.0)
    assert {one.check: one.verdict for one in found}["sqnr"] is Verdict.FAIL
    assert f"59.9 dB at batch {batch}" in found[1].detail


@pytest.mark.parametrize(("seen", "verdict"), [(60.0, Verdict.PASS), (np.nextafter(60.0, 0), Verdict.FAIL)])
def test_the_gate_itself_passes_and_the_next_number_below_fails_for_noise(seen: float, verdict: Verdict) -> None:
    assert verdicts({8: replace(GOOD, sqnr_db=float(seen))})["sqnr"] is verdict


@pytest.mark.parametrize(
    ("images", "seen", "verdict"),
    [
        (2000, 0.98, Verdict.PASS),
        (2000, 0.9795, Verdict.INCONCLUSIVE),  # Wilson's upper limit is 0.9841
        (2000, 0.974, Verdict.FAIL),  # 0.9792
        (64, 62 / 64, Verdict.INCONCLUSIVE),  # two images of 64
        (64, 58 / 64, Verdict.FAIL),
    ],
)
def test_agreement_fails_only_where_chance_does_not_explain_it(images: int, seen: float, verdict: Verdict) -> None:
    assert verdicts({8: replace(GOOD, images=images, agreement=seen)})["agreement"] is verdict


def test_agreement_is_read_where_most_images_were_shown() -> None:
    few = replace(GOOD, images=16, agreement=15 / 16)  # one of 16 is below 98 %, and means little
    assert verdicts({1: few, 8: GOOD})["agreement"] is Verdict.PASS
    assert verdicts({1: replace(few, agreement=1.0), 8: replace(GOOD, agreement=0.9)})["agreement"] is Verdict.FAIL


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (0.2, 1.0, Verdict.PASS),
        (0.2, float(np.nextafter(1.0, 2)), Verdict.INCONCLUSIVE),
        (1.0, 1.9, Verdict.INCONCLUSIVE),
        (float(np.nextafter(1.0, 2)), 1.9, Verdict.FAIL),
        (-1.5, -0.5, Verdict.PASS),
    ],
)
def test_the_drop_is_judged_by_its_bounds_at_the_exact_borders(lower: float, upper: float, verdict: Verdict) -> None:
    drop = replace(NO_DROP, drop=(lower + upper) / 2, lower=lower, upper=upper)
    assert verdicts({8: GOOD}, drop)["top1-drop"] is verdict


def test_a_wider_margin_makes_the_same_drop_pass() -> None:
    drop = replace(NO_DROP, drop=1.5, lower=1.2, upper=1.8)
    assert verdicts({8: GOOD}, drop, max_drop=1.0)["top1-drop"] is Verdict.FAIL
    assert verdicts({8: GOOD}, drop, max_drop=1.5)["top1-drop"] is Verdict.INCONCLUSIVE
    assert verdicts({8: GOOD}, drop, max_drop=2.0)["top1-drop"] is Verdict.PASS


@pytest.mark.parametrize(("images", "judged"), [(TASK_IMAGES - 1, False), (TASK_IMAGES, True)])
def test_fewer_than_2000_images_do_not_gate_the_task(images: int, judged: bool) -> None:
    assert TASK_IMAGES == 2000
    terrible = replace(NO_DROP, images=images, drop=50.0, lower=45.0, upper=55.0)
    found = verdicts({8: GOOD}, terrible)
    assert ("top1-drop" in found) is judged
    assert (Verdict.FAIL in found.values()) is judged


def test_without_labels_or_a_task_gate_the_drop_is_not_judged() -> None:
    terrible = replace(NO_DROP, drop=50.0, lower=45.0, upper=55.0)
    assert "top1-drop" not in verdicts({8: GOOD}, None)
    assert "top1-drop" not in verdicts({8: GOOD}, terrible, gate=replace(GATE, task=False))


def test_fail_weighs_more_than_inconclusive_and_that_more_than_pass() -> None:
    def of(*found: Verdict) -> Verdict:
        return worst(tuple(Judgement("check", verdict, "") for verdict in found))

    assert of(Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL) is Verdict.FAIL
    assert of(Verdict.INCONCLUSIVE, Verdict.PASS) is Verdict.INCONCLUSIVE
    assert of(Verdict.PASS, Verdict.PASS) is Verdict.PASS


def test_a_judgement_says_what_was_seen_and_what_was_needed() -> None:
    drop = replace(NO_DROP, drop=0.25, lower=-0.1, upper=0.61)
    details = {found.check: found.to_json() for found in judge(GATE, {8: GOOD}, drop, 1.0)}
    assert details["sqnr"] == {"check": "sqnr", "verdict": "PASS", "detail": "70.0 dB at batch 8, gate 60 dB"}
    assert details["agreement"]["detail"] == "100.00 % of 2000 images, gate 98 %"
    assert details["top1-drop"]["detail"] == "+0.25 points, one-sided 95 % bounds -0.10 and +0.61, margin 1"


# What a spoiled artifact would give, judged by the loosest gate there is.


def outputs(images: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Logits [images, 10] of a decent classifier, and the labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, images)
    found = random.standard_normal((images, 10)).astype(np.float32)
    found[np.arange(images), labels] += 4
    return found, labels


def spoiled(candidate: np.ndarray, oracle: np.ndarray, labels: np.ndarray) -> dict[str, Verdict]:
    return verdicts(
        {8: distance(candidate.astype(np.float32), oracle)},
        paired_drop(candidate.astype(np.float32), oracle, labels),
        gate=GATES[GateName.INT8],
    )


def test_the_decent_classifier_with_a_little_noise_passes() -> None:
    oracle, labels = outputs()
    noise = np.random.default_rng(1).standard_normal(oracle.shape)
    assert set(spoiled(oracle + 0.02 * noise, oracle, labels).values()) == {Verdict.PASS}


def test_constant_outputs_fail_noise_agreement_and_task() -> None:
    oracle, labels = outputs()
    found = spoiled(np.broadcast_to(oracle.mean(axis=0), oracle.shape), oracle, labels)
    assert found == {
        "finite": Verdict.PASS,
        "sqnr": Verdict.FAIL,
        "agreement": Verdict.FAIL,
        "top1-drop": Verdict.FAIL,
    }


def test_constant_outputs_that_hide_behind_a_common_offset_still_fail() -> None:
    # An offset of 1000 on all logits changes no decision, and lifts the ratio of any output near it over 50 dB.
    oracle, labels = outputs()
    oracle = oracle + np.float32(1000)
    found = spoiled(np.broadcast_to(oracle.mean(axis=0), oracle.shape), oracle, labels)
    assert found["sqnr"] is Verdict.PASS
    assert found["agreement"] is Verdict.FAIL
    assert found["top1-drop"] is Verdict.FAIL


def test_all_zero_outputs_fail() -> None:
    oracle, labels = outputs()
    assert spoiled(np.zeros_like(oracle), oracle, labels)["sqnr"] is Verdict.FAIL


def test_outputs_of_the_neighbouring_image_fail() -> None:
    oracle, labels = outputs()
    found = spoiled(np.roll(oracle, 1, axis=0), oracle, labels)
    assert (found["sqnr"], found["agreement"], found["top1-drop"]) == (Verdict.FAIL,) * 3


def test_outputs_of_a_tenfold_scale_keep_every_decision_and_fail_by_noise_alone() -> None:
    oracle, labels = outputs()
    found = spoiled(10 * oracle, oracle, labels)
    assert (found["sqnr"], found["agreement"], found["top1-drop"]) == (Verdict.FAIL, Verdict.PASS, Verdict.PASS)


def test_fifty_flipped_decisions_of_2000_fail_by_the_task_alone() -> None:
    # They flip by the smallest change, too little for the ratio, and 2.5 % is too little for 90 % agreement.
    oracle, labels = outputs()
    right = np.flatnonzero(oracle.argmax(axis=1) == labels)
    close = np.sort(oracle[right], axis=1)
    chosen = right[np.argsort(close[:, -1] - close[:, -2])[:50]]
    candidate = oracle.copy()
    for image in chosen:
        first, second = np.argsort(oracle[image])[[-1, -2]]
        candidate[image, [first, second]] = oracle[image, [second, first]]
    found = spoiled(candidate, oracle, labels)
    assert (found["sqnr"], found["agreement"], found["top1-drop"]) == (Verdict.PASS, Verdict.PASS, Verdict.FAIL)


def test_one_nan_among_all_outputs_fails() -> None:
    oracle, labels = outputs()
    candidate = oracle.copy()
    candidate[1234, 5] = np.nan
    found = spoiled(candidate, oracle, labels)
    assert (found["finite"], found["sqnr"]) == (Verdict.FAIL, Verdict.FAIL)


def test_a_nan_in_the_oracle_is_never_a_pass_whatever_the_order_of_the_batches() -> None:
    oracle, _ = outputs(16)
    broken = oracle.copy()
    broken[3, 3] = np.nan
    fine, bad = distance(oracle, oracle), distance(oracle, broken)
    assert verdicts({1: fine, 8: bad})["sqnr"] is Verdict.FAIL
    assert verdicts({1: bad, 8: fine})["sqnr"] is Verdict.FAIL


# Dense tasks: no classes, and for restoration PSNR-Y.

DENSE = replace(GOOD, images=8, agreement=None)
PICTURES = replace(DENSE, psnr_y_db=65.0, picture_share=0.97)
LOST = PsnrDrop(images=5, reference_db=32.0, db=31.95, drop=0.05, spread=0.02, lower=0.031, upper=0.069)


def test_the_thresholds_of_psnr_y_are_what_can_be_seen_of_a_picture() -> None:
    # 8-bit rounding: 10 log10(12 * 255^2); two grey levels: 20 log10(255 / 2).
    assert {name: round(gate.psnr_y_db, 2) for name, gate in GATES.items()} == {
        GateName.FP32: 100,
        GateName.FP16_NUMERICS: 58.92,
        GateName.FP16_GRAPH: 58.92,
        GateName.FP16_ENGINE: 58.92,
        GateName.BF16: 42.11,
        GateName.INT8: 40,
        GateName.FP8: 40,
    }


def test_a_backbone_is_judged_by_noise_alone() -> None:
    assert verdicts({1: DENSE, 8: DENSE}) == {"finite": Verdict.PASS, "sqnr": Verdict.PASS}
    assert verdicts({1: DENSE, 8: replace(DENSE, sqnr_db=49.0)})["sqnr"] is Verdict.FAIL


def test_the_worst_output_is_named_where_there_are_several() -> None:
    several = replace(DENSE, sqnr_db=41.5, by_output={"stage0": 70.0, "stage1": 41.5, "stage2": 66.0})
    found = judge(GATE, {1: DENSE, 8: several}, None, 1.0)
    assert found[1].detail == "41.5 dB at batch 8, output stage1, gate 50 dB"
    assert found[1].verdict is Verdict.FAIL


@pytest.mark.parametrize(("seen", "verdict"), [(58.92, Verdict.PASS), (58.91, Verdict.FAIL), (-999.0, Verdict.FAIL)])
@pytest.mark.parametrize("batch", [1, 8])
def test_psnr_y_is_judged_at_every_batch_at_the_exact_border(seen: float, verdict: Verdict, batch: int) -> None:
    distances = {**dict.fromkeys((1, 8), PICTURES), batch: replace(PICTURES, psnr_y_db=seen)}
    found = {one.check: one for one in judge(GATE, distances, None, 0.1)}
    assert found["psnr-y"].verdict is verdict
    assert f"at batch {batch}, gate 58.92 dB" in found["psnr-y"].detail


@pytest.mark.parametrize(("share", "judged"), [(0.5, True), (0.49, False)])
def test_psnr_y_is_not_judged_of_outputs_that_are_no_pictures(share: float, judged: bool) -> None:
    terrible = replace(PICTURES, psnr_y_db=3.0, picture_share=share)
    assert ("psnr-y" in verdicts({1: PICTURES, 8: terrible})) is judged
    assert "sqnr" in verdicts({1: PICTURES, 8: terrible})


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (0.031, 0.1, Verdict.PASS),
        (0.031, 0.101, Verdict.INCONCLUSIVE),
        (0.1, 0.2, Verdict.INCONCLUSIVE),
        (0.101, 0.2, Verdict.FAIL),
    ],
)
def test_the_psnr_drop_is_judged_by_its_bounds(lower: float, upper: float, verdict: Verdict) -> None:
    drop = replace(LOST, drop=(lower + upper) / 2, lower=lower, upper=upper)
    assert verdicts({8: PICTURES}, drop, max_drop=0.1)["psnr-y-drop"] is verdict


@pytest.mark.parametrize(("images", "judged"), [(TASK_PAIRS - 1, False), (TASK_PAIRS, True)])
def test_fewer_pairs_than_the_smallest_benchmark_has_do_not_gate(images: int, judged: bool) -> None:
    terrible = replace(LOST, images=images, drop=5.0, lower=4.0, upper=6.0)
    assert ("psnr-y-drop" in verdicts({8: PICTURES}, terrible, max_drop=0.1)) is judged


def test_an_interval_without_width_is_said_to_bound_nothing() -> None:
    equal = replace(LOST, drop=0.0, spread=0.0, lower=0.0, upper=0.0)
    details = {one.check: one.detail for one in judge(GATE, {8: PICTURES}, equal, 0.1)}
    assert details["psnr-y-drop"] == (
        "+0.000 dB, the same for each of 5 images, which bounds nothing for others, margin 0.1 dB"
    )
    details = {one.check: one.detail for one in judge(GATE, {8: PICTURES}, LOST, 0.1)}
    assert details["psnr-y-drop"] == "+0.050 dB, one-sided 95 % bounds +0.031 and +0.069, margin 0.1 dB"


def test_feature_maps_have_a_gate_of_their_own_and_logits_keep_theirs() -> None:
    def dense(decibels: float) -> Verdict:
        entry = Distance(8, True, decibels, 0.1, None, by_output={"stage0": 80.0, "stage1": decibels})
        return worst(judge(GATE, {1: entry}, None, 1.0))

    assert [dense(50.1), dense(49.9)] == [Verdict.PASS, Verdict.FAIL]
    logits = Distance(8, True, 55.0, 0.1, 1.0)
    assert worst(judge(GATE, {1: logits}, None, 1.0)) is Verdict.FAIL
    # Only FP16 in PyTorch and as a graph is judged otherwise.
    other = {name for name, gate in GATES.items() if gate.dense_db != gate.sqnr_db}
    assert other == {GateName.FP16_NUMERICS, GateName.FP16_GRAPH}
