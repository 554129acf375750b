"""What a device measured enters the run, and what the run recommends follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swin_deploy.benchmark.result import Benchmark
from swin_deploy.device.benchmark_line import Line, Ratio
from swin_deploy.device.latency import summarised
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import Manifest, Row, read_manifest, write_manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.record_speed import record_speed
from tests.report.example_run import example_run, judgement, measurement, step


def timed(folder: Path, int8_ratio: float, *, graphs: tuple[bool, ...] = (False,)) -> Benchmark:
    """Each engine's line, and where `graphs` says so another one with a CUDA graph, which doubles its ratio."""
    lines = [
        Line(
            str(folder / f"{precision}.rtx.plan"),
            "engine",
            8,
            precision,
            graph,
            summarised([1.0]),
            Ratio(ratio * (1 + graph), ratio * (1 + graph), ratio * (1 + graph)),
        )
        for precision, ratio in (("fp16", 1.0), ("int8", int8_ratio))
        for graph in graphs
    ]
    return Benchmark(tuple(lines), (), 20, 3, 1, {"gpu": "a GPU"})


@pytest.fixture
def example() -> Manifest:
    """A run with two engines whose INT8 graph passed."""
    passed = judgement("top1-drop", Verdict.PASS, "+0.10 points, margin 1")
    graph = Row("literal Q/DQ", "onnxruntime, literal", "int8", Verdict.PASS, measurement=measurement(39.0, 0.99))
    made = tuple(
        step(f"{name}-engine", "build", name, precision=name, format="rtx-plan", file=f"{name}.rtx.plan")
        for name in ("fp16", "int8")
    )
    judged = step("int8-qdq", "quantize", "fp32", replace(graph, judgements=(passed,)), precision="int8")
    return replace(example_run(), steps=(judged, *made))


@pytest.mark.parametrize(("ratio", "word"), [(0.8, "FP16"), (1.6, "INT8")])
def test_the_recommendation_follows_the_clock(tmp_path: Path, example: Manifest, ratio: float, word: str) -> None:
    write_manifest(example, tmp_path)
    plans = [tmp_path / "fp16.rtx.plan", tmp_path / "int8.rtx.plan"]
    written = record_speed(plans, timed(tmp_path, ratio))
    assert read_manifest(tmp_path).recommendation == written.recommendation
    assert written.speed is not None
    assert (tmp_path / "report.md").exists()
    assert written.recommendation.startswith(f"Recommended: {word}:")


def test_lines_with_a_cuda_graph_leave_the_recommendation_to_those_without(tmp_path: Path, example: Manifest) -> None:
    write_manifest(example, tmp_path)
    plans = [tmp_path / "fp16.rtx.plan", tmp_path / "int8.rtx.plan"]
    alone = record_speed(plans, timed(tmp_path, 1.6)).recommendation
    assert record_speed(plans, timed(tmp_path, 1.6, graphs=(False, True))).recommendation == alone
    assert "1.60 times" in alone


def test_files_of_two_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="several folders"):
        record_speed([tmp_path / "a" / "x.plan", tmp_path / "b" / "y.plan"], timed(tmp_path, 1.0))


def test_files_of_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        record_speed([tmp_path / "x.plan"], timed(tmp_path, 1.0))
