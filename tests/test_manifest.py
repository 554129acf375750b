"""The manifest survives its file, and a file that is none is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.checkpoint.task import Backbone, Restoration, task_to_json
from swin_deploy.errors import BadInput
from swin_deploy.manifest import (
    FILE_NAME,
    SCHEMA_VERSION,
    Manifest,
    Row,
    StepRecord,
    read_manifest,
    write_manifest,
)
from swin_deploy.parity.gates import Verdict
from tests.report.example_run import example_run

ROW = Row("graph", "onnxruntime", "fp16-graph", Verdict.PASS)
STEP = StepRecord("fp16", "cast", "fp32", {}, {}, "key", "fp16.onnx", "onnx", "fp16")


def with_verdicts(*verdicts: Verdict) -> StepRecord:
    return STEP.with_rows(tuple(replace(ROW, verdict=verdict) for verdict in verdicts))


def test_every_field_survives_the_file(tmp_path: Path) -> None:
    manifest = example_run()
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest


def test_an_unfinished_run_can_be_read_for_a_resume(tmp_path: Path) -> None:
    manifest = replace(example_run(), steps=(STEP,), status=None, verdict="not finished")
    write_manifest(manifest, tmp_path)
    found = read_manifest(tmp_path)
    assert (found, found.status) == (manifest, None)


def test_the_file_states_its_schema_and_each_steps_verdict(tmp_path: Path) -> None:
    write_manifest(example_run(), tmp_path)
    raw = json.loads((tmp_path / FILE_NAME).read_text())
    assert raw["schema_version"] == SCHEMA_VERSION
    assert [step["verdict"] for step in raw["steps"]] == [step.verdict.value for step in example_run().steps]
    assert {"sha256", "bytes", "seconds", "config", "tools", "parent"} <= set(raw["steps"][0])


def test_a_number_that_json_has_not_is_never_written(tmp_path: Path) -> None:
    manifest = replace(example_run(), seconds=float("nan"))
    write_manifest(example_run(), tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == example_run()


@pytest.mark.parametrize("version", [0, 1, SCHEMA_VERSION + 1, "2", None])
def test_another_version_of_the_schema_is_refused_and_named(tmp_path: Path, version: Any) -> None:
    raw = {**example_run().to_json(), "schema_version": version}
    (tmp_path / FILE_NAME).write_text(json.dumps(raw))
    with pytest.raises(BadInput, match=f"schema version {version}.*Build again") as caught:
        read_manifest(tmp_path)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '"x"', "{}", '{"schema_version": 2}', "\udcff"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=r"manifest\.json cannot be read as a manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw.pop("steps"),
        lambda raw: raw.update(steps=None),
        lambda raw: raw.update(steps=["fp16"]),
        lambda raw: raw.update(unknown=1),
        lambda raw: raw["steps"][0].pop("artifact"),
        lambda raw: raw["steps"][0].update(unknown=1),
        lambda raw: raw["steps"][0].update(rows=None),
        lambda raw: raw["steps"][0]["rows"][0].pop("verdict"),
        lambda raw: raw["steps"][0]["rows"][0].update(verdict="PASSED"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, spoil: Any) -> None:
    raw = example_run().to_json()
    spoil(raw)
    (tmp_path / FILE_NAME).write_text(json.dumps(raw))
    with pytest.raises(BadInput, match="cannot be read as a manifest"):
        read_manifest(tmp_path)


def test_a_folder_without_a_manifest_or_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder, seen in (
        (tmp_path, "holds no manifest.json"),
        (tmp_path / "none", "there is no folder"),
        (tmp_path / "file", "there is no folder"),
    ):
        with pytest.raises(BadInput, match=f"{seen}.*Needed: a folder that swin-deploy build wrote"):
            read_manifest(folder)


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ((Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE), Verdict.FAIL),
        ((Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.SKIPPED), Verdict.INCONCLUSIVE),
        ((Verdict.SKIPPED, Verdict.PASS), Verdict.PASS),
        ((Verdict.INFO, Verdict.SKIPPED), Verdict.SKIPPED),
        ((Verdict.INFO,), Verdict.INFO),
        ((), Verdict.INFO),
    ],
)
def test_a_step_is_as_good_as_its_worst_gated_row_and_skipped_is_no_pass(
    rows: tuple[Verdict, ...], verdict: Verdict
) -> None:
    assert with_verdicts(*rows).verdict is verdict


def test_a_stage_that_did_not_run_is_skipped_whatever_its_rows_say() -> None:
    assert replace(with_verdicts(Verdict.PASS), skipped="no compiler").verdict is Verdict.SKIPPED


def test_a_step_is_found_by_its_artifact() -> None:
    manifest = example_run()
    assert manifest.step("fp32") is manifest.steps[2]
    assert manifest.step("none") is None


def judged_on(**evaluation: Any) -> str:
    manifest = example_run()
    changed: Manifest = replace(manifest, evaluation={**manifest.evaluation, **evaluation})
    return changed.judged_on()


def test_it_says_in_a_few_words_what_the_run_was_judged_on() -> None:
    assert judged_on(images=2000) == "2000 labelled images, top-1 margin 1 points"
    assert judged_on(images=64, kind="synthetic", labelled=False).startswith("64 SYNTHETIC images")
    assert "without labels" in judged_on(labelled=False)


def test_it_does_not_promise_a_margin_that_too_few_images_cannot_be_judged_by() -> None:
    assert judged_on(images=1999) == "1999 labelled images, too few to judge the top-1 drop by (2000 are needed)"


def test_of_a_dense_task_it_speaks_of_pairs_and_of_a_margin_in_decibels() -> None:
    restoration, backbone = task_to_json(Restoration(2, "pixelshuffle")), task_to_json(Backbone((0, 1), True))
    pairs = {"task": restoration, "pictures": True, "labelled": False}
    assert judged_on(images=14, **pairs) == "14 pairs of images, PSNR-Y margin 0.1 dB"
    assert judged_on(images=4, **pairs) == "4 pairs of images, too few to judge the PSNR-Y drop by (5 are needed)"
    alone = judged_on(images=8, task=restoration, labelled=False)
    assert alone == "8 images without pictures to meet: distances to the oracle, no task measure"
    made_up = judged_on(images=8, task=backbone, labelled=False, kind="synthetic")
    assert made_up == "8 SYNTHETIC images: distances to the oracle, no task measure"
    remark = judged_on(images=8, task=backbone, labelled=False, remark="their labels are ignored")
    assert remark == "8 images (their labels are ignored): distances to the oracle, no task measure"


def test_its_task_is_that_of_its_images() -> None:
    manifest = example_run()
    assert manifest.task == "classifier"
    assert replace(manifest, evaluation={**manifest.evaluation, "task": None}).task is None
