"""Faults are found where they were planted, and not where they were not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from swin_deploy.backends.onnxruntime_rounded import RoundedOnnxRuntime
from swin_deploy.bisect.result import BisectResult
from swin_deploy.bisect.search_run import Asked, BisectListener, bisect
from swin_deploy.bisect.trial import Metric
from swin_deploy.manifest import read_manifest
from swin_deploy.validation import artifact_of, validate
from tests.bisect.planted_faults import (
    Plant,
    broken_step,
    huge_weight,
    loud_embedding,
    loud_norm,
    loud_values,
    nan_weight,
    run_of,
)
from tests.chain import Chain, decibels, random_images

FINITE = {"metric": Metric.FINITE, "images": 8}


def search(folder: Path, artifact: str, **options: object) -> BisectResult:
    return bisect(folder, Asked(artifact, **{"images": 8, **options}))


@pytest.mark.parametrize(
    ("plants", "wanted"),
    [
        ([loud_values(1)], ("blocks.1",)),
        ([loud_values(0), loud_values(3)], ("blocks.0", "blocks.3")),
        ([loud_embedding()], ("patch_embed",)),
        ([loud_norm()], ("norm", "head")),  # what overflows is between them
        ([huge_weight()], ("head",)),
        ([loud_embedding(), loud_values(2), huge_weight()], ("patch_embed", "blocks.2", "head")),
    ],
    ids=["one block", "two blocks", "embedding", "border", "weight", "three places"],
)
def test_blocks_that_overflow_fp16_are_found(
    chain: Chain, tmp_path: Path, plants: list[Plant], wanted: tuple[str, ...]
) -> None:
    folder = run_of(chain, tmp_path, fp32=plants)
    result = search(folder, "fp16", metric=Metric.FINITE)
    assert result.found.blocks == wanted and result.found.smallest and result.status == 0
    assert not result.found.none.finite and result.verified.met
    assert bool(result.found.none.reason) == ("head" in wanted and "norm" not in wanted)  # a weight, or what it makes
    # What was written is what was found, and FP32 where it has to be only.
    written = folder / "fp16.bisected.onnx"
    artifact, record, _ = artifact_of(written)
    with RoundedOnnxRuntime().open(artifact) as session:
        assert np.isfinite(session.infer(random_images(4))["logits"]).all()
    assert record.stage == "bisect" and json.loads((folder / "fp16.bisect.json").read_text())["blocks"] == list(wanted)
    raised = next(entry.value for entry in onnx.load(written).metadata_props if entry.key == "swin_deploy.raised")
    assert json.loads(raised) == {"to": "FP32", "blocks": list(wanted)}


def test_the_same_fault_is_none_of_bf16s(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(1)])
    result = search(folder, "bf16", metric=Metric.FINITE)
    assert result.found.blocks == () and result.status == 0
    assert not (folder / "bf16.bisected.onnx").exists()


def test_sqnr_finds_the_fault_too_and_the_others_stay_low(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(2)])
    result = search(folder, "fp16", need=55.0)
    assert result.found.blocks == ("blocks.2",)
    assert 55.0 <= result.verified.trial.sqnr_db < 90.0


@pytest.mark.parametrize("artifact", ["int8-qdq", "int8"])
def test_a_destroyed_step_is_found_and_comes_with_a_plan_to_build_by(
    chain: Chain, tmp_path: Path, artifact: str
) -> None:
    folder = run_of(chain, tmp_path, int8=[broken_step(2)])
    before = search(run_of(chain, tmp_path / "sound"), artifact, need=20.0)
    assert before.found.blocks == ()  # the control: without the fault nothing has to be raised
    need = before.found.none.sqnr_db - 3.0
    result = search(folder, artifact, need=need)
    assert result.found.blocks == ("blocks.2",) and result.status == 0
    assert result.found.none.sqnr_db < need - 3.0
    plan = (folder / f"{artifact.replace('-', '.')}.bisected.plan").read_text().splitlines()
    assert plan[0].startswith("# int8 but for the blocks blocks.2,")
    assert {line.split()[1] for line in plan if line.startswith("blocks.2.")} == {"fp16"}
    assert {line.split()[1] for line in plan if line.startswith(("blocks.0", "blocks.1", "blocks.3"))} == {"int8"}


def test_two_destroyed_steps_are_both_found(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, int8=[broken_step(2), broken_step(3)])
    result = search(folder, "int8-qdq", need=35.0)
    assert result.found.blocks == ("blocks.2", "blocks.3")


@pytest.mark.parametrize(("artifact", "high"), [("fp16", "FP32"), ("int8", "FP16"), ("int8-qdq", "FP32")])
def test_a_fault_that_no_precision_mends_ends_with_status_4(
    v1: Chain, tmp_path: Path, artifact: str, high: str
) -> None:
    folder = run_of(v1, tmp_path, fp32=[nan_weight(1)])
    result = search(folder, artifact)
    assert result.status == 4 and result.found.blocks is None and result.found.asked == 2
    assert f"even with every block in {high} the graph gives NaN or Inf" in result.verdict
    assert not list(folder.glob("*.bisected.*"))


def test_agreement_is_searched_by_too(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(3)])
    result = search(folder, "fp16", metric=Metric.AGREEMENT, need=1.0)
    assert result.found.blocks == ("blocks.3",) and result.verified.trial.agreement == 1.0


class StopsAt(BisectListener):
    """Interrupts a search after so many trials."""

    def __init__(self, trials: int) -> None:
        self.left = trials

    def judged(self, raised: str, figure: str, met: bool, remembered: bool) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_an_interrupted_search_is_gone_on_with_and_gives_the_same(v1: Chain, tmp_path: Path) -> None:
    plants = [loud_values(0), loud_values(3)]
    whole = search(run_of(v1, tmp_path / "whole", fp32=plants), "fp16", metric=Metric.FINITE)
    folder = run_of(v1, tmp_path / "cut", fp32=plants)
    with pytest.raises(KeyboardInterrupt):
        bisect(folder, Asked("fp16", Metric.FINITE, images=8), StopsAt(7))
    result = search(folder, "fp16", metric=Metric.FINITE, resume=True)
    assert (result.found, result.resumed) == (whole.found, 7)
    assert result.measured == whole.measured - 7
    # Other images are another measurement, and without --resume all is measured anew.
    assert search(folder, "fp16", metric=Metric.FINITE, resume=True, images=9).resumed == 0
    assert search(folder, "fp16", metric=Metric.FINITE, images=9).measured == whole.measured


def test_another_need_takes_what_was_measured_before(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, int8=[broken_step(2)])
    first = search(folder, "int8-qdq", need=35.0)
    again = search(folder, "int8-qdq", need=34.9, resume=True)
    assert again.measured == 0 and again.resumed == first.measured
    assert again.found.blocks == first.found.blocks


def test_the_manifest_knows_the_file_and_keeps_its_verdict(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, fp32=[loud_values(1)])
    search(folder, "fp16", metric=Metric.FINITE)
    search(folder, "fp16", metric=Metric.FINITE)
    manifest = read_manifest(folder)
    assert [step.artifact for step in manifest.steps].count("fp16-bisected") == 1
    assert (manifest.status, manifest.verdict) == (0, "PASS")
    judged = validate(folder / "fp16.bisected.onnx", data=None, images=8, max_drop=1.0)
    assert judged.status == 0


def test_the_written_graph_is_as_near_to_fp32_as_was_needed_on_other_images_too(v1: Chain, tmp_path: Path) -> None:
    folder = run_of(v1, tmp_path, int8=[broken_step(2)])
    search(folder, "int8-qdq", need=35.0)
    with RoundedOnnxRuntime().open(artifact_of(folder / "int8.qdq.bisected.onnx")[0]) as session:
        found = session.infer(random_images(4))["logits"]
    assert decibels(found, v1.logits(random_images(4))) > 35.0
