"""Running sessions over images: which calls are made, and that a fault at any batch size is seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from swin_deploy.errors import BadInput
from swin_deploy.parity.distances import EXACT_DB
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.gates import GATES, GateName, Verdict, judge
from swin_deploy.parity.measure import Measurement, Outputs, compare, run_session

PREPROCESS = Preprocess(4, 4, "squash", "bilinear", "torch", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CLASSES = 5
Function = Callable[[np.ndarray], np.ndarray]


def images(count: int, labels: bool = False) -> EvaluationSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    items = tuple(ArrayRow("memory", pixels, row) for row in range(count))
    marks = tuple(row % CLASSES for row in range(count)) if labels else None
    return EvaluationSet(ImageSet("memory", tuple(map(str, range(count))), marks, None, items), PREPROCESS)


def faithful(batch: np.ndarray) -> np.ndarray:
    """Logits [B, 5] that depend on the image alone."""
    flat: np.ndarray = batch.reshape(len(batch), -1)[:, :CLASSES]  # [B, 5]
    return flat.copy()


class FakeSession:
    """Answers by a function and remembers the batches it was shown."""

    def __init__(self, function: Function = faithful) -> None:
        self.function = function
        self.batches: list[int] = []

    def infer(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(inputs))
        return {"logits": self.function(inputs)}

    def close(self) -> None: ...

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None: ...


def measured(function: Function, count: int = 40, batch: tuple[int, int, int] = (1, 8, 32)) -> Measurement:
    shown = images(count)
    oracle = run_session(FakeSession(), shown, batch)
    return compare(run_session(FakeSession(function), shown, batch), oracle.logits, None, None)


def failed(measurement: Measurement) -> bool:
    return any(found.verdict is Verdict.FAIL for found in judge(GATES[GateName.INT8], measurement.oracle, None, 1.0))


def test_all_images_are_seen_at_the_usual_batch_and_some_at_the_two_others() -> None:
    session = FakeSession()
    found = run_session(session, images(40), (1, 8, 32))
    assert {size: len(logits) for size, logits in found.by_batch.items()} == {1: 16, 8: 40, 32: 32}
    assert session.batches == [1] * 16 + [8] * 5 + [32]
    assert found.logits is found.by_batch[8]


def test_the_outputs_are_those_of_the_images_in_their_order() -> None:
    shown = images(21)
    found = run_session(FakeSession(), shown, (1, 8, 16))
    wanted = faithful(np.concatenate(list(shown.batches(21))))
    for logits in found.by_batch.values():
        assert (logits == wanted[: len(logits)]).all()


@pytest.mark.parametrize(
    ("batch", "count", "calls"),
    [
        ((8, 8, 8), 20, [8, 8, 8]),  # the remainder of 4 is filled: the profile takes no other batch
        ((1, 1, 1), 5, [1] * 5),
        ((1, 8, 8), 20, [1] * 16 + [8] * 3),
        ((4, 4, 8), 10, [4] * 3 + [8]),
        ((2, 8, 32), 6, [2] * 3 + [8, 32]),  # a set smaller than the usual batch
        ((1, 8, 32), 1, [1, 8, 32]),  # a single image
    ],
)
def test_every_call_has_one_of_the_profiles_batches(batch: tuple[int, int, int], count: int, calls: list[int]) -> None:
    session = FakeSession()
    found = run_session(session, images(count), batch)
    assert session.batches == calls
    assert len(found.logits) == count
    assert set(found.by_batch) == set(batch)


def test_a_set_smaller_than_the_largest_batch_fills_it_with_its_own_images() -> None:
    seen: list[np.ndarray] = []

    def watching(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return faithful(batch)

    found = run_session(FakeSession(watching), images(3), (1, 2, 8))
    assert (seen[-1][[0, 1, 2]] == seen[-1][[3, 4, 5]]).all()
    assert len(found.by_batch[8]) == 3


def test_a_limit_holds_for_every_batch_size() -> None:
    session = FakeSession()
    found = run_session(session, images(40), (1, 8, 32), limit=10)
    assert {size: len(logits) for size, logits in found.by_batch.items()} == {1: 10, 8: 10, 32: 10}
    assert session.batches == [1] * 10 + [8] * 2 + [32]


def test_progress_ends_at_the_number_it_announced() -> None:
    heard: list[tuple[int, int]] = []
    run_session(FakeSession(), images(20), (1, 8, 32), progress=lambda done, total: heard.append((done, total)))
    assert {total for _, total in heard} == {16 + 20 + 20}
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})
    assert heard[-1] == (56, 56)


def test_a_faithful_session_is_exact_at_every_batch() -> None:
    found = measured(faithful)
    assert [entry.sqnr_db for entry in found.oracle.values()] == [EXACT_DB] * 3
    assert not failed(found)


@pytest.mark.parametrize("size", [1, 8, 32])
def test_a_session_that_is_wrong_at_one_batch_size_alone_is_caught(size: int) -> None:
    def wrong(batch: np.ndarray) -> np.ndarray:
        return -faithful(batch) if len(batch) == size else faithful(batch)

    found = measured(wrong)
    assert {batch for batch, entry in found.oracle.items() if entry.sqnr_db < EXACT_DB} == {size}
    assert failed(found)


def test_a_session_that_gives_nan_in_the_last_place_of_the_largest_batch_is_caught() -> None:
    def wrong(batch: np.ndarray) -> np.ndarray:
        logits = faithful(batch)
        if len(batch) == 32:
            logits[-1, 0] = np.nan
        return logits

    assert failed(measured(wrong))


def test_a_session_that_mixes_neighbours_of_a_batch_is_caught() -> None:
    # The fault of a graph whose windows were folded into the batch axis in the wrong order.
    assert failed(measured(lambda batch: np.roll(faithful(batch), 1, axis=0)))
    assert failed(measured(lambda batch: faithful(batch) - faithful(batch).mean(axis=0)))


def test_a_session_that_answers_the_first_image_for_all_is_caught() -> None:
    assert failed(measured(lambda batch: np.repeat(faithful(batch)[:1], len(batch), axis=0)))


@pytest.mark.parametrize("rows", [1, 7, 9])
def test_an_answer_of_another_length_than_the_batch_is_never_taken_for_the_first_images(rows: int) -> None:
    with pytest.raises(AssertionError, match="8 images gave"):
        run_session(FakeSession(lambda batch: np.zeros((rows, CLASSES), np.float32)), images(8), (8, 8, 8))


def test_half_precision_outputs_are_compared_in_fp32() -> None:
    found = run_session(FakeSession(lambda batch: faithful(batch).astype(np.float16)), images(4), (1, 2, 4))
    assert found.logits.dtype == np.float32


def test_the_parent_is_compared_on_the_images_that_both_have_seen() -> None:
    shown = images(20)
    every, few = run_session(FakeSession(), shown, (1, 4, 8)), run_session(FakeSession(), shown, (1, 4, 8), limit=6)
    few_first = compare(few, every.logits, every.logits, None)
    assert few_first.parent is not None
    assert few_first.parent.images == 6
    few_parent = compare(every, every.logits, few.logits, None)
    assert few_parent.parent is not None
    assert (few_parent.parent.images, few_parent.oracle[4].images) == (6, 20)


def test_without_a_parent_or_labels_there_is_no_such_comparison() -> None:
    found = measured(faithful)
    assert (found.parent, found.drop) == (None, None)
    assert found.to_json()["task"] is None


def test_the_drop_is_taken_on_the_images_that_were_run() -> None:
    shown = images(20, labels=True)
    oracle = run_session(FakeSession(), shown, (1, 4, 8)).logits
    found = compare(run_session(FakeSession(), shown, (1, 4, 8), limit=6), oracle, None, shown.labels)
    assert found.drop is not None
    assert (found.drop.images, found.drop.drop) == (6, 0.0)


def test_more_outputs_than_the_oracle_has_are_never_compared() -> None:
    found = run_session(FakeSession(), images(8), (1, 4, 8))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(found, found.logits[:5], None, None)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_oracle_that_is_not_finite_is_an_unusable_checkpoint_and_no_verdict(bad: float) -> None:
    oracle = np.zeros((8, CLASSES), np.float32)
    oracle[[2, 5], 1] = bad
    with pytest.raises(BadInput, match="2 of 8 images") as caught:
        compare(Outputs({4: oracle}, 4, 0.0), oracle, None, None)
    assert caught.value.exit_code == 5


def test_a_measurement_stands_in_the_manifest_by_batch() -> None:
    found = measured(faithful).to_json()
    assert list(found["oracle"]) == ["1", "8", "32"]
    assert found["oracle"]["8"]["images"] == 40
