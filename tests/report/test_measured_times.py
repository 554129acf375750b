"""Times of a run and of devices, as lines of one kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from swin_deploy.report.finish_file import read_finish
from swin_deploy.report.latency_line import line_of
from swin_deploy.report.measured_times import latency_lines, timing_command
from tests.report.example_run import example_run
from tests.report.full_run import DEVICE, full_run, write_finish


def test_the_run_comes_before_the_devices(tmp_path: Path) -> None:
    finish = read_finish(write_finish(tmp_path / "finish.json"))
    lines = latency_lines(full_run(), [finish])
    assert [line.device for line in lines] == [DEVICE] * 9 + ["Imagined Orin"] * 3
    assert lines[0].artifact == "fp16.rtx.plan" and len(lines[0].quantiles_ms) == 101
    assert lines[0].phases_ms is not None and lines[0].joules_per_image is None


def test_without_a_gpu_the_processor_is_the_device() -> None:
    manifest = full_run()
    machine = {"gpu": "no NVIDIA driver is here", "processor": "a processor"}
    assert latency_lines(replace(manifest, speed={**manifest.speed, "machine": machine}))[0].device == "a processor"


def test_a_line_of_the_first_schema_has_no_distribution() -> None:
    raw = dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms", "variation", "images_per_second"), 1.0)
    line = line_of("device", {**raw, "artifact": "run/a.onnx", "backend": "onnxruntime", "batch": 1, "ratio": 2.0})
    assert line.quantiles_ms == () and line.phases_ms is None and line.precision == "" and line.ratio == 2.0
    assert line.artifact == "a.onnx"


def test_the_command_names_the_engines_and_without_any_the_graphs() -> None:
    assert timing_command(full_run()).startswith("swin-deploy bench --record RUN/fp16.rtx.plan RUN/int8.rtx.plan")
    graphs = replace(full_run(), steps=full_run().steps[2:4])
    assert timing_command(graphs) == "swin-deploy bench --record RUN/fp32.onnx RUN/fp16.onnx"
    assert "rejected" not in timing_command(example_run())
    assert timing_command(replace(full_run(), steps=())) == ""
