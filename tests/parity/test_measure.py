"""Running sessions over images: which calls are made, and that a fault at any batch size is seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from swin_deploy.checkpoint.task import Backbone, Classifier, Restoration
from swin_deploy.device.distances import EXACT_DB
from swin_deploy.errors import BadInput
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
    found = ImageSet("memory", tuple(map(str, range(count))), marks, None, items)
    return EvaluationSet(found, PREPROCESS, task=Classifier(CLASSES))


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
    return compare(run_session(FakeSession(function), shown, batch), oracle.whole, None, shown)


def failed(measurement: Measurement) -> bool:
    return any(found.verdict is Verdict.FAIL for found in judge(GATES[GateName.INT8], measurement.oracle, None, 1.0))


def test_all_images_are_seen_at_the_usual_batch_and_some_at_the_two_others() -> None:
    session = FakeSession()
    found = run_session(session, images(40), (1, 8, 32))
    assert {size: len(outputs["logits"]) for size, outputs in found.by_batch.items()} == {1: 16, 8: 40, 32: 32}
    assert session.batches == [1] * 16 + [8] * 5 + [32]
    assert found.whole is found.by_batch[8]


def test_the_outputs_are_those_of_the_images_in_their_order() -> None:
    shown = images(21)
    found = run_session(FakeSession(), shown, (1, 8, 16))
    wanted = faithful(np.concatenate(list(shown.batches(21))))
    for outputs in found.by_batch.values():
        assert (outputs["logits"] == wanted[: len(outputs["logits"])]).all()


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
    assert len(found.whole["logits"]) == count
    assert set(found.by_batch) == set(batch)


def test_a_set_smaller_than_the_largest_batch_fills_it_with_its_own_images() -> None:
    seen: list[np.ndarray] = []

    def watching(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return faithful(batch)

    found = run_session(FakeSession(watching), images(3), (1, 2, 8))
    assert (seen[-1][[0, 1, 2]] == seen[-1][[3, 4, 5]]).all()
    assert len(found.by_batch[8]["logits"]) == 3


def test_a_limit_holds_for_every_batch_size() -> None:
    session = FakeSession()
    found = run_session(session, images(40), (1, 8, 32), limit=10)
    assert {size: len(outputs["logits"]) for size, outputs in found.by_batch.items()} == {1: 10, 8: 10, 32: 10}
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
    assert found.whole["logits"].dtype == np.float32


def test_the_parent_is_compared_on_the_images_that_both_have_seen() -> None:
    shown = images(20)
    every, few = run_session(FakeSession(), shown, (1, 4, 8)), run_session(FakeSession(), shown, (1, 4, 8), limit=6)
    few_first = compare(few, every.whole, every.whole, shown)
    assert few_first.parent is not None
    assert few_first.parent.images == 6
    few_parent = compare(every, every.whole, few.whole, shown)
    assert few_parent.parent is not None
    assert (few_parent.parent.images, few_parent.oracle[4].images) == (6, 20)


def test_without_a_parent_or_labels_there_is_no_such_comparison() -> None:
    found = measured(faithful)
    assert (found.parent, found.drop) == (None, None)
    assert found.to_json()["task"] is None


def test_the_drop_is_taken_on_the_images_that_were_run() -> None:
    shown = images(20, labels=True)
    oracle = run_session(FakeSession(), shown, (1, 4, 8)).whole
    found = compare(run_session(FakeSession(), shown, (1, 4, 8), limit=6), oracle, None, shown)
    assert found.drop is not None
    assert (found.drop.images, found.drop.drop) == (6, 0.0)


def test_more_outputs_than_the_oracle_has_are_never_compared() -> None:
    found = run_session(FakeSession(), images(8), (1, 4, 8))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(found, {"logits": found.whole["logits"][:5]}, None, images(8))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_oracle_that_is_not_finite_is_an_unusable_checkpoint_and_no_verdict(bad: float) -> None:
    oracle = np.zeros((8, CLASSES), np.float32)
    oracle[[2, 5], 1] = bad
    with pytest.raises(BadInput, match="2 of 8 images") as caught:
        compare(Outputs({4: {"logits": oracle}}, 4, 0.0), {"logits": oracle}, None, images(8))
    assert caught.value.exit_code == 5


def test_a_measurement_stands_in_the_manifest_by_batch() -> None:
    found = measured(faithful).to_json()
    assert list(found["oracle"]) == ["1", "8", "32"]
    assert found["oracle"]["8"]["images"] == 40


# Several outputs, and images: what only dense tasks have.

BACKBONE = Backbone((0, 1, 2, 3), norms=True)
SCALES = ("stage0", "stage1", "stage2", "stage3")


def dense(count: int, task: Backbone | Restoration | None = BACKBONE) -> EvaluationSet:
    shown = images(count)
    return EvaluationSet(shown.images, PREPROCESS, task=task)


class Scales(FakeSession):
    """Four feature maps; `spoil` changes one of them."""

    def __init__(self, name: str = "", spoil: Function = lambda values: values) -> None:
        super().__init__()
        self.name, self.spoil = name, spoil

    def infer(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(inputs))
        found = {name: np.ascontiguousarray(inputs[:, :, place:]) for place, name in enumerate(SCALES)}
        return {name: self.spoil(values) if name == self.name else values for name, values in found.items()}


def scales(name: str = "", spoil: Function = lambda values: values, count: int = 8) -> Measurement:
    shown, batch = dense(count), (1, 2, 4)
    oracle = run_session(Scales(), shown, batch)
    return compare(run_session(Scales(name, spoil), shown, batch), oracle.whole, oracle.whole, shown)


def test_a_dense_task_is_shown_fewer_images_at_the_smallest_batch_and_where_a_view_is_limited() -> None:
    session = Scales()
    run_session(session, dense(9), (1, 2, 4))
    assert session.batches == [1] * 2 + [2] * 5 + [4]
    session = Scales()
    run_session(session, dense(9), (1, 2, 4), limit=256)
    assert session.batches == [1] * 2 + [2] * 2 + [4]
    session = FakeSession()  # the control: classification keeps its numbers
    run_session(session, images(9), (1, 2, 4), limit=256)
    assert session.batches == [1] * 9 + [2] * 5 + [4]


def test_every_output_is_compared_and_the_worst_is_judged() -> None:
    found = scales("stage2", lambda values: values * np.float32(1.1))  # an error of a tenth: 20 dB
    entry = found.oracle[2]
    assert entry.by_output["stage2"] == pytest.approx(20.0, abs=1e-4)
    assert {name for name, ratio in entry.by_output.items() if ratio == EXACT_DB} == set(SCALES) - {"stage2"}
    assert entry.sqnr_db == entry.by_output["stage2"]
    assert found.parent is not None and found.parent.worst_output == "stage2"
    assert entry.agreement is None and found.drop is None


@pytest.mark.parametrize("name", SCALES)
def test_one_spoiled_scale_of_four_fails_the_gate_which_names_it(name: str) -> None:
    found = scales(name, lambda values: np.roll(values, 1, axis=-1))
    judged = {one.check: one for one in judge(GATES[GateName.INT8], found.oracle, found.drop, 1.0)}
    assert judged["sqnr"].verdict is Verdict.FAIL
    assert f"output {name}," in judged["sqnr"].detail
    sound = scales()
    assert not failed(sound)


def test_a_nan_in_one_scale_fails_and_leaves_the_others_their_ratios() -> None:
    def spoil(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[-1, -1, -1, -1] = np.nan
        return values

    found = scales("stage3", spoil)
    entry = found.oracle[4]
    assert (entry.finite, entry.sqnr_db, entry.max_abs) == (False, -EXACT_DB, None)
    assert entry.by_output["stage0"] == EXACT_DB
    assert failed(found)


def test_outputs_are_compared_by_name_whatever_their_order() -> None:
    class Reversed(Scales):
        def infer(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
            return dict(reversed(super().infer(inputs).items()))

    shown = dense(4)
    oracle = run_session(Scales(), shown, (1, 2, 4))
    found = compare(run_session(Reversed(), shown, (1, 2, 4)), oracle.whole, None, shown)
    assert list(found.oracle[2].by_output) == list(SCALES)
    assert found.oracle[2].sqnr_db == EXACT_DB


def test_an_output_too_few_or_of_another_name_is_never_compared() -> None:
    shown = dense(4)
    oracle = run_session(Scales(), shown, (1, 2, 4))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(run_session(FakeSession(), shown, (1, 2, 4)), oracle.whole, None, shown)


def test_two_outputs_of_which_one_is_too_short_are_never_taken() -> None:
    with pytest.raises(AssertionError, match="2 images gave 1"):
        run_session(Scales("stage1", lambda values: values[:1]), dense(2), (2, 2, 2))


def test_a_nan_of_the_oracle_in_any_output_is_an_unusable_checkpoint() -> None:
    shown = dense(4)
    outputs = run_session(Scales(), shown, (1, 2, 4))
    spoiled = {name: values.copy() for name, values in outputs.whole.items()}
    spoiled["stage3"][1] = np.nan
    with pytest.raises(BadInput, match="1 of 4 images"):
        compare(outputs, spoiled, None, shown)


class Upscaler(FakeSession):
    """Each pixel four times; `change` is made to the images."""

    def __init__(self, change: Function = lambda values: values) -> None:
        super().__init__()
        self.change = change

    def infer(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.change(inputs.repeat(2, axis=2).repeat(2, axis=3)).astype(np.float32)}


def restored(change: Function, *, pictures: bool = False) -> Measurement:
    """Of 4x4 images to 8x8; the pictures are what the oracle itself gives."""
    pixels = np.random.default_rng(0).integers(16, 240, (6, 4, 4, 3), dtype=np.uint8)
    large = pixels.repeat(2, axis=1).repeat(2, axis=2)
    sets = []
    for array in (pixels, large):
        items = tuple(ArrayRow("memory", array, row) for row in range(len(array)))
        sets.append(ImageSet("memory", tuple("abcdef"), None, None, items))
    plain = Preprocess(4, 4, "none", "bicubic", "pillow", (0.0,) * 3, (1.0,) * 3)
    shown = EvaluationSet(sets[0], plain, task=Restoration(2, "pixelshuffle"), pictures=sets[1] if pictures else None)
    oracle = run_session(Upscaler(), shown, (1, 2, 4))
    return compare(run_session(Upscaler(change), shown, (1, 2, 4)), oracle.whole, None, shown)


def psnr_verdict(measurement: Measurement, gate: GateName) -> Verdict:
    found = {one.check: one.verdict for one in judge(GATES[gate], measurement.oracle, measurement.drop, 0.1)}
    return found["psnr-y"]


def test_psnr_y_of_a_constant_error_by_hand() -> None:
    # Half a grey level in R, G and B is (65.481 + 128.553 + 24.966) / 255 = 219/255 of it in Y.
    found = restored(lambda values: values + 0.5 / 255)
    wanted = -20 * np.log10(0.5 / 255 * 219 / 255)
    assert found.oracle[2].psnr_y_db == pytest.approx(wanted, abs=1e-3)
    assert found.oracle[2].picture_share == 1.0
    assert psnr_verdict(found, GateName.INT8) is Verdict.PASS
    assert psnr_verdict(found, GateName.FP16_GRAPH) is Verdict.FAIL  # 55.5 dB


def test_a_shift_by_one_pixel_is_seen_by_psnr_y_and_by_the_gate() -> None:
    assert psnr_verdict(restored(lambda values: np.roll(values, 1, axis=-1)), GateName.INT8) is Verdict.FAIL
    assert psnr_verdict(restored(lambda values: values), GateName.FP32) is Verdict.PASS


def test_one_bad_image_of_the_set_decides() -> None:
    def spoil(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values[-1] = 1 - values[-1]
        return values

    assert psnr_verdict(restored(spoil), GateName.INT8) is Verdict.FAIL


def test_random_weights_that_give_no_pictures_are_judged_by_noise_alone() -> None:
    class Loud(Upscaler):
        def infer(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
            return {"image": 30 * super().infer(inputs)["image"] - 15}

    shown = dense(4, Restoration(2, "pixelshuffle"))
    oracle = run_session(Loud(), shown, (1, 2, 4))
    found = compare(run_session(Loud(lambda values: values + 1e-4), shown, (1, 2, 4)), oracle.whole, None, shown)
    checks = {one.check: one.verdict for one in judge(GATES[GateName.INT8], found.oracle, found.drop, 0.1)}
    assert checks == {"finite": Verdict.PASS, "sqnr": Verdict.PASS}
    assert found.oracle[2].picture_share < 0.5
    assert found.to_json()["oracle"]["2"]["psnr_y_db"] == found.oracle[2].psnr_y_db  # measured all the same


def test_with_pictures_the_paired_drop_is_measured_on_the_images_that_were_run() -> None:
    found = restored(lambda values: values + 4 / 255, pictures=True)
    assert found.drop is not None
    # The oracle meets its pictures in every pixel, which counts as 100 dB; four levels of R, G and B are 4 * 219/255.
    assert found.drop.reference_db == 100.0
    assert found.drop.db == pytest.approx(20 * np.log10(255 / (4 * 219 / 255)), abs=1e-3)
    assert (found.drop.images, found.drop.drop) == (6, pytest.approx(100.0 - found.drop.db))
    assert restored(lambda values: values, pictures=True).drop.drop == 0.0


def test_an_error_below_half_a_grey_level_is_hidden_by_the_8_bits_of_a_picture_and_not_from_the_oracle() -> None:
    found = restored(lambda values: values + 0.4 / 255, pictures=True)
    assert found.drop.drop == 0.0
    assert psnr_verdict(found, GateName.FP16_GRAPH) is Verdict.FAIL
