"""The pipeline looks into Q/DQ graphs, keeps what it saw, and judges it by the gates of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from calib.image_source import ArrayRow
from calib.images import ImageSet
from calib.preprocess import Preprocess
from swin_deploy import pipeline
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.manifest import Manifest, Row, read_manifest
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.gates import FIT, GATES, GateName, Verdict
from swin_deploy.plan import Step, View
from swin_deploy.recipe import Recipe
from swin_deploy.stages.base import Produced
from tests.quantization.qdq_graphs import BLOCKS, CHANNELS, TOKENS, float_graph, qdq_graph

LITERAL = View("literal Q/DQ", OnnxRuntime(literal=True), GateName.INT8)


@dataclass(frozen=True)
class Writes:
    """A stage that writes one of the small graphs."""

    precision: Precision
    factor: float = 1.0
    refused: str = ""
    name: str = "writes"
    suffix: str = ".onnx"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        return frozenset({(Format.SOURCE, Precision.FP32), (Format.ONNX, Precision.FP32)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        return Format.ONNX, self.precision

    def tools(self) -> Mapping[str, str]:
        return {}

    def unavailable(self) -> str | None:
        return None

    def run(self, parent: Artifact, out: Path) -> Produced:
        if self.precision is Precision.FP32:
            float_graph(out)
        else:
            qdq_graph(out, inputs={4: self.factor})
        return Produced({"refused": self.refused} if self.refused else {})


def evaluation(*, synthetic: bool = False) -> EvaluationSet:
    pixels = np.random.default_rng(0).integers(0, 256, (6, TOKENS, CHANNELS, 3), dtype=np.uint8)
    items = tuple(ArrayRow("memory", pixels, row) for row in range(len(pixels)))
    preprocess = Preprocess(TOKENS, CHANNELS, "none", "bilinear", "torch", (0.5,) * 3, (0.25,) * 3, channels=1)
    return EvaluationSet(ImageSet("memory", tuple("abcdef"), None, None, items), preprocess, synthetic=synthetic)


def execute(
    folder: Path, factor: float = 1.0, *, resume: bool = False, synthetic: bool = False, refused: str = ""
) -> Manifest:
    folder.mkdir(exist_ok=True)
    checkpoint = folder / "checkpoint.bin"
    checkpoint.write_bytes(b"weights")
    plan = (
        Step("reference", "fp32.onnx", Writes(Precision.FP32), "checkpoint", (View("oracle", OnnxRuntime(), None),)),
        Step(
            "int8-qdq", "int8.qdq.onnx", Writes(Precision.INT8, factor, refused), "reference",
            (LITERAL, View("optimised", OnnxRuntime(), None)),
        ),
    )  # fmt: skip
    recipe = Recipe(str(checkpoint), batch=(1, 2, 4))
    shown = evaluation(synthetic=synthetic)
    return pipeline.run(plan, recipe, "onnxruntime", shown, folder / "run", resume=resume)


def rows(manifest: Manifest) -> tuple[Row, ...]:
    record = manifest.step("int8-qdq")
    assert record is not None
    return record.rows


def verdicts(row: Row) -> dict[str, str]:
    return {str(check["check"]): str(check["verdict"]) for check in row.judgements}


def test_the_literal_row_holds_what_was_measured_inside_and_the_others_do_not(tmp_path: Path) -> None:
    manifest = execute(tmp_path)
    literal, optimised = rows(manifest)
    assert manifest.status == 0
    assert literal.quantization is not None and optimised.quantization is None
    assert len(literal.quantization["blocks"]) == len(literal.quantization["linears"]) == BLOCKS
    assert verdicts(literal)["calibration-fit"] == verdicts(literal)["weight-scales"] == "PASS"
    reference = manifest.step("reference")
    assert reference is not None and reference.rows[0].quantization is None
    assert manifest.recommendation.startswith("No recommendation: ")
    stored = read_manifest(tmp_path / "run")
    assert rows(stored)[0].quantization == literal.quantization
    assert stored.recommendation == manifest.recommendation


def test_a_step_times_8_fails_the_run_although_the_outputs_pass(tmp_path: Path) -> None:
    manifest = execute(tmp_path, 8.0)
    (literal, _) = rows(manifest)
    assert verdicts(literal)["sqnr"] == "PASS", "the outputs alone would have passed it"
    assert verdicts(literal)["calibration-fit"] == "FAIL"
    assert (manifest.status, literal.verdict) == (4, Verdict.FAIL)
    assert (tmp_path / "run" / "int8.qdq.onnx.rejected").is_file()
    assert manifest.recommendation.startswith("Recommended: FP16: INT8 failed its gates: calibration-fit: blocks.4.fc")


def test_made_up_images_do_not_judge_a_calibration(tmp_path: Path) -> None:
    manifest = execute(tmp_path, 8.0, synthetic=True)
    assert manifest.status == 0 and "calibration-fit" not in verdicts(rows(manifest)[0])


def test_a_resumed_run_judges_stored_figures_by_the_gates_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = execute(tmp_path, 8.0)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it was measured again")

    monkeypatch.setattr(pipeline, "measure_quantization", refuse)
    table = {**GATES, GateName.INT8: replace(GATES[GateName.INT8], fit=replace(FIT, loss_db=40.0))}
    monkeypatch.setattr(pipeline, "GATES", MappingProxyType(table))
    after = execute(tmp_path, 8.0, resume=True)
    assert (before.status, after.status) == (4, 0)
    assert rows(after)[0].quantization == rows(before)[0].quantization


def test_figures_of_another_version_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(tmp_path)
    calls = []
    real = pipeline.measure_quantization

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(given)
        return real(*given, **named)

    monkeypatch.setattr(pipeline, "measure_quantization", counted)
    execute(tmp_path, resume=True)
    assert not calls
    monkeypatch.setattr(pipeline, "VERSION", pipeline.VERSION + 1)
    execute(tmp_path, resume=True)
    assert len(calls) == 1


def test_what_a_search_found_no_plan_for_fails_with_its_reason_and_fp16_is_recommended(tmp_path: Path) -> None:
    manifest = execute(tmp_path, refused="no int8 plan has its drop within the limit: nothing was acceptable")
    judged, shown = rows(manifest)
    assert verdicts(judged)["search"] == "FAIL" and judged.verdict is Verdict.FAIL
    assert shown.verdict is Verdict.INFO
    assert manifest.status == 4
    assert manifest.recommendation.startswith("Recommended: FP16: INT8 failed its gates: search: no int8 plan")
