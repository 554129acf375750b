"""Distances between outputs, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from swin_deploy.device.distances import EXACT_DB, decisions, distance, worst_of


def logits(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_the_ratio_is_that_of_the_powers_in_decibels() -> None:
    # Signal 3^2 + 4^2 = 25, noise 0.5^2 = 0.25: 10 * log10(100) = 20 dB.
    found = distance(logits((3.0, 4.5)), logits((3.0, 4.0)))
    assert found.sqnr_db == pytest.approx(20.0)
    assert found.max_abs == pytest.approx(0.5)
    assert (found.images, found.finite, found.agreement) == (1, True, 1.0)


def test_the_ratio_is_taken_over_all_images_together() -> None:
    # Signal 100 + 1 + 1 + 9 = 111, noise 1 + 0 + 0 + 0.11 = 1.11.
    wanted = logits((10.0, 1.0), (1.0, 3.0))
    given_out = logits((11.0, 1.0), (1.0, 3.0 + 0.11**0.5))
    assert distance(given_out, wanted).sqnr_db == pytest.approx(20.0, abs=1e-5)


def test_a_half_of_the_signal_as_an_error_is_six_decibels() -> None:
    wanted = np.ones((4, 4), np.float32)
    assert distance(0.5 * wanted, wanted).sqnr_db == pytest.approx(6.0206, abs=1e-4)


def test_outputs_without_any_signal_left_are_zero_decibels() -> None:
    wanted = logits((3.0, -4.0))
    assert distance(np.zeros_like(wanted), wanted).sqnr_db == pytest.approx(0.0)


def test_equal_outputs_are_marked_as_exact() -> None:
    wanted = logits((1.0, 2.0), (3.0, -1.0))
    found = distance(wanted.copy(), wanted)
    assert (found.sqnr_db, found.max_abs, found.agreement) == (EXACT_DB, 0.0, 1.0)


def test_outputs_that_differ_at_all_are_never_marked_as_exact() -> None:
    # 10 * log10(1e60 / 2e-90) is about 1500 dB, beyond the mark.
    smallest = np.nextafter(np.float32(0), np.float32(1))
    found = distance(logits((1e30, smallest)), logits((1e30, 0.0)))
    assert 900 < found.sqnr_db < EXACT_DB


def test_a_zero_reference_has_no_ratio_but_is_no_nan_either() -> None:
    found = distance(logits((1.0, 0.0)), logits((0.0, 0.0)))
    assert found.finite
    assert -EXACT_DB < found.sqnr_db < -900


def test_zero_against_zero_is_exact() -> None:
    assert distance(logits((0.0, 0.0)), logits((0.0, 0.0))).sqnr_db == EXACT_DB


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_candidate_that_is_not_finite_is_said_so_and_has_the_lowest_ratio(bad: float) -> None:
    found = distance(logits((1.0, bad), (1.0, 2.0)), logits((1.0, 2.0), (1.0, 2.0)))
    assert not found.finite
    assert found.sqnr_db == -EXACT_DB
    assert found.max_abs is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reference_that_is_not_finite_never_gives_a_ratio_of_nan(bad: float) -> None:
    # NaN compares false with everything, so min() over the batch sizes could lose it.
    found = distance(logits((1.0, 2.0), (1.0, 2.0)), logits((bad, 2.0), (1.0, 2.0)))
    assert found.finite
    assert found.sqnr_db == -EXACT_DB
    assert found.max_abs is None
    assert found.agreement == 0.5


def test_an_image_with_a_nan_agrees_with_nothing_not_even_with_the_same_nan() -> None:
    # argmax takes the first NaN for the largest value: it would agree with class 1 here.
    broken = logits((0.0, np.nan), (0.0, 1.0))
    assert distance(broken, logits((0.0, 1.0), (0.0, 1.0))).agreement == 0.5
    assert distance(broken, broken).agreement == 0.5


def test_agreement_is_the_share_of_images_with_the_same_first_class() -> None:
    wanted = logits((1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    seen = logits((0.9, 0.0), (0.5, 0.4), (2.0, 0.0), (0.0, 3.0))
    assert distance(seen, wanted).agreement == 0.75


def test_of_equal_logits_the_first_class_is_decided_for() -> None:
    assert decisions(logits((1.0, 1.0), (0.0, 0.0), (0.0, 2.0))).tolist() == [0, 0, 1]


def test_a_row_that_is_not_finite_has_no_decision() -> None:
    assert decisions(logits((np.nan, 1.0), (0.0, np.inf), (0.0, 1.0))).tolist() == [-1, -1, 1]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (2, 1), (1, 2), (0, 2)])
def test_shapes_that_do_not_match_are_refused_and_never_broadcast(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distance(np.zeros(shape, np.float32), np.zeros((2, 2), np.float32))


def test_nothing_cannot_be_compared_with_nothing() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distance(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


@given(
    arrays.arrays(np.float32, (3, 4), elements=st.floats(width=32)),
    arrays.arrays(np.float32, (3, 4), elements=st.floats(width=32)),
)
def test_every_distance_can_be_written_as_json_and_lies_between_the_marks(
    candidate: np.ndarray, reference: np.ndarray
) -> None:
    import json

    found = distance(candidate, reference)
    json.dumps(found.to_json(), allow_nan=False)
    assert -EXACT_DB <= found.sqnr_db <= EXACT_DB
    assert 0 <= found.agreement <= 1
    assert (found.sqnr_db == EXACT_DB) == bool(np.isfinite(candidate).all() and (candidate == reference).all())


# Maps and images


def test_maps_are_compared_by_noise_and_have_no_decisions() -> None:
    wanted = np.full((3, 2, 4, 5), 2.0, np.float32)
    found = distance(1.1 * wanted, wanted, classes=False)
    assert found.sqnr_db == pytest.approx(20.0, abs=1e-4)
    assert (found.images, found.agreement) == (3, None)
    assert found.max_abs == pytest.approx(0.2)


def test_the_ratio_of_maps_is_taken_over_all_images_together_though_they_are_summed_one_by_one() -> None:
    random = np.random.default_rng(0)
    wanted = (
        random.standard_normal((5, 3, 4, 4)).astype(np.float32) * np.float32([1, 10, 100, 0, 1])[:, None, None, None]
    )
    seen = wanted + random.standard_normal(wanted.shape).astype(np.float32)
    maps, flat = distance(seen, wanted, classes=False), distance(seen.reshape(5, -1), wanted.reshape(5, -1))
    assert maps.sqnr_db == pytest.approx(flat.sqnr_db, abs=1e-9)
    assert maps.max_abs == flat.max_abs


def test_of_several_outputs_the_worst_counts_and_each_is_kept() -> None:
    wanted = np.ones((2, 3, 4, 4), np.float32)
    found = worst_of(
        {
            name: distance(wanted * np.float32(by), wanted, classes=False)
            for name, by in (("a", 1.01), ("b", 1.1), ("c", 1))
        }
    )
    assert found.by_output == {"a": pytest.approx(40, abs=1e-3), "b": pytest.approx(20, abs=1e-3), "c": EXACT_DB}
    assert (found.sqnr_db, found.worst_output) == (found.by_output["b"], "b")
    assert found.max_abs == pytest.approx(0.1)
    assert found.to_json()["by_output"]["b"] == found.sqnr_db


def test_a_single_output_is_kept_as_it_is() -> None:
    one = distance(logits((3.0, 4.5)), logits((3.0, 4.0)))
    assert worst_of({"logits": one}) is one
    assert one.worst_output is None
    assert list(one.to_json()) == ["images", "finite", "sqnr_db", "max_abs", "agreement"]
