"""Images are replayed at each batch size with a different one in every slot, and all answers come back in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from board import GATE, images, oracle

from swin_deploy.device.closeness import Verdict, worst
from swin_deploy.device.fixture_replay import Fixtures, replay
from swin_deploy.errors import BadInput


def fixtures(count: int = 4) -> Fixtures:
    return Fixtures(images(count), oracle(images(count)), classes=True, pictures=False)


def test_every_batch_size_is_run_with_distinct_images_in_its_slots() -> None:
    calls: list[np.ndarray] = []

    def infer(batch: np.ndarray) -> Any:
        calls.append(batch)
        return oracle(batch)

    found = replay(infer, fixtures(5), (1, 2, 5), GATE)
    assert [len(call) for call in calls] == [1] * 5 + [2] * 3 + [5]
    assert all(len(np.unique(call.reshape(len(call), -1), axis=0)) == len(call) for call in calls)
    assert {size: entry.images for size, entry in found.distances.items()} == {1: 5, 2: 5, 5: 5}
    assert worst(found.judgements) is Verdict.PASS
    assert found.facts()["2"]["agreement"] == 1.0


def test_a_profile_of_one_batch_size_is_run_once() -> None:
    assert list(replay(oracle, fixtures(), (4, 4, 4), GATE).distances) == [4]


def test_a_single_image_has_no_slots_to_mix_up() -> None:
    found = replay(oracle, fixtures(1), (1, 1, 1), GATE)
    assert "slots" not in {judgement.check for judgement in found.judgements}


def test_an_engine_that_is_wrong_at_the_largest_batch_only_fails() -> None:
    def infer(batch: np.ndarray) -> Any:
        right = oracle(batch)
        return right if len(batch) < 4 else {"sums": right["sums"] * np.float32(1.05)}

    found = replay(infer, fixtures(), (1, 2, 4), GATE)
    (sqnr,) = [judgement for judgement in found.judgements if judgement.check == "sqnr"]
    assert (sqnr.verdict, "at batch 4" in sqnr.detail) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    "answer",
    [
        lambda batch: {"others": oracle(batch)["sums"]},
        lambda batch: {**oracle(batch), "more": oracle(batch)["sums"]},
        lambda batch: {"sums": oracle(batch)["sums"][:1]},
        lambda batch: {"sums": oracle(batch)["sums"][:, :1]},
    ],
)
def test_outputs_of_another_name_or_shape_are_refused(answer: Any) -> None:
    with pytest.raises(BadInput, match="the engine's outputs are"):
        replay(answer, fixtures(), (2, 2, 4), GATE)


@pytest.mark.parametrize(
    ("shown", "answers"),
    [
        (images().astype(np.float64), oracle(images())),
        (images(), {"sums": oracle(images())["sums"][:3]}),
        (images(), {}),
    ],
)
def test_fixtures_that_do_not_fit_each_other_are_refused(shown: np.ndarray, answers: Any) -> None:
    with pytest.raises(BadInput):
        Fixtures(shown, answers, classes=True, pictures=False)
