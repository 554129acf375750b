"""Each slot of a batch answers for its own image, or the check says which one does not."""

from __future__ import annotations

import numpy as np
import pytest

from swin_deploy.device.batch_slots import judge_slots
from swin_deploy.device.closeness import Verdict

# Four images whose outputs are 10 apart and small against their common part: one ratio over all hides a mix-up.
ORACLE = {"y": (1000.0 + 10.0 * np.arange(4)[:, None] * np.ones((4, 3))).astype(np.float32)}
GATE = 60.0


def verdict(found: np.ndarray, batch: int = 4, noise_db: float = GATE) -> tuple[Verdict, str]:
    judged = judge_slots({batch: {"y": found}}, ORACLE, noise_db)
    return judged.verdict, judged.detail


def test_right_answers_and_small_errors_pass() -> None:
    assert verdict(ORACLE["y"])[0] is Verdict.PASS
    assert verdict(ORACLE["y"] + np.float32(0.9))[0] is Verdict.PASS


@pytest.mark.parametrize(
    ("order", "named"),
    [
        ([1, 0, 2, 3], "slot 0 of batch 4 shows image 1 instead of 0; slot 1 of batch 4 shows image 0 instead of 1"),
        ([0, 0, 0, 0], "slot 1 of batch 4 shows image 0 instead of 1"),
        ([0, 1, 2, 2], "slot 3 of batch 4 shows image 2 instead of 3"),
    ],
)
def test_a_mix_up_that_the_ratio_over_all_images_passes_is_named(order: list[int], named: str) -> None:
    from swin_deploy.device.distances import distance

    mixed = ORACLE["y"][order]
    assert distance(mixed, ORACLE["y"], classes=False).sqnr_db > 34  # INT8 has a gate of 25 dB
    seen, detail = verdict(mixed)
    assert seen is Verdict.FAIL
    assert named in detail


def test_the_slot_is_the_place_within_its_batch() -> None:
    assert "slot 1 of batch 2 shows image 2 instead of 3" in verdict(ORACLE["y"][[0, 1, 2, 2]], batch=2)[1]


def test_images_that_the_gates_own_noise_could_confuse_are_not_judged() -> None:
    # At 25 dB all noise in one image is 10^(-25/20) * |oracle| = 0.056 * 3520 = 198, and images are 17 apart.
    assert verdict(ORACLE["y"][[1, 0, 2, 3]], noise_db=25.0) == (
        Verdict.INCONCLUSIVE,
        "the images' outputs are too much alike to tell slots, or an engine that ignores its images, by",
    )


def test_an_engine_within_its_gate_never_fails_by_chance() -> None:
    generator = np.random.default_rng(0)
    oracle = generator.standard_normal((8, 10)).astype(np.float32)
    for db in (25.0, 40.0):
        for _ in range(200):
            noise = generator.standard_normal(oracle.shape)
            noise[generator.integers(8)] *= 30  # most of it in one image
            noise *= np.sqrt(np.sum(oracle**2) * 10 ** (-db / 10) / np.sum(noise**2))
            found = judge_slots({8: {"y": (oracle + noise).astype(np.float32)}}, {"y": oracle}, db)
            assert found.verdict is not Verdict.FAIL


def test_outputs_that_are_not_finite_are_left_to_the_check_of_that() -> None:
    assert verdict(np.full((4, 3), np.nan, np.float32))[0] is not Verdict.FAIL


def test_large_maps_are_thinned_out_and_still_told_apart() -> None:
    maps = np.random.default_rng(0).standard_normal((3, 8, 64, 64)).astype(np.float32)
    assert judge_slots({3: {"y": maps}}, {"y": maps}, 50.0).verdict is Verdict.PASS
    assert judge_slots({3: {"y": maps[[1, 0, 2]]}}, {"y": maps}, 50.0).verdict is Verdict.FAIL


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 0, 2, 3], [3, 2, 1, 0]])
def test_a_mix_up_within_the_gates_own_noise_shows_against_answers_to_single_images(order: list[int]) -> None:
    from swin_deploy.device.closeness import Closeness, judge_closeness
    from swin_deploy.device.distances import distance

    generator = np.random.default_rng(1)
    common = generator.standard_normal(10)
    oracle = (common + 0.025 * generator.standard_normal((4, 10))).astype(np.float32)
    engine = oracle + np.float32(0.005)  # its rounding, the same at every batch size
    mixed = engine[order]
    gate = Closeness(sqnr_db=25.0, dense_db=25.0, agreement=0.9, psnr_y_db=40.0)
    near = judge_closeness(gate, {4: distance(mixed, oracle, classes=False)})
    assert all(check.verdict is Verdict.PASS for check in near), "the ratio sees nothing"
    found = judge_slots({1: {"y": engine}, 4: {"y": mixed}}, {"y": oracle}, 25.0)
    assert (found.verdict, "of batch 4 shows image" in found.detail) == (Verdict.FAIL, True)
    assert judge_slots({1: {"y": engine}, 4: {"y": engine}}, {"y": oracle}, 25.0).verdict is Verdict.PASS


def test_an_engine_that_ignores_images_that_are_much_alike_is_not_called_sound() -> None:
    oracle = ORACLE["y"]
    constant = np.broadcast_to(oracle.mean(axis=0), oracle.shape)
    found = judge_slots({1: {"y": constant}, 4: {"y": constant}}, {"y": oracle}, 25.0)
    assert found.verdict is Verdict.INCONCLUSIVE
