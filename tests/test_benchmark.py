"""What is made of times, given times; that rounds are interleaved; and what cannot be compared. No time is asserted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from swin_deploy.atomic import file_sha256
from swin_deploy.benchmark import Benchmark, _interleaved, _line, bench
from swin_deploy.errors import BadInput, Unavailable, UsageFault
from swin_deploy.manifest import StepRecord, write_manifest
from tests.report.example_run import example_run


class FakeSession:
    """Writes its name into a common list at each call."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name, self.calls = name, calls

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.calls.append(self.name)
        return {}

    def close(self) -> None: ...

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_a_ratio_is_the_median_over_rounds_of_the_ratios_within_a_round() -> None:
    first = np.array([10.0, 20.0, 40.0, 10.0, 10.0])
    line = _line("b", "torch", 1, np.array([5.0, 5.0, 5.0, 10.0, 20.0]), first)
    # The ratios are 2, 4, 8, 1, 0.5; the ratio of the medians would be 10 / 5 = 2 as well, that of the means 18 / 9.
    assert (line.ratio_low, line.ratio, line.ratio_high) == (1.0, 2.0, 4.0)


def test_drift_that_hits_all_alike_leaves_the_ratio_alone() -> None:
    drift = np.linspace(1, 3, 21)
    steady, drifting = _line("b", "x", 1, np.full(21, 2.0), np.full(21, 6.0)), _line("b", "x", 1, 2 * drift, 6 * drift)
    assert steady.ratio == pytest.approx(drifting.ratio) == pytest.approx(3.0)
    assert drifting.ratio_low == pytest.approx(drifting.ratio_high)
    assert drifting.variation > steady.variation == 0.0


def test_the_first_artifact_is_the_measure_of_itself() -> None:
    times = np.array([3.0, 4.0, 5.0])
    line = _line("a", "torch", 1, times, times)
    assert (line.ratio_low, line.ratio, line.ratio_high) == (1.0, 1.0, 1.0)


def test_faster_artifacts_have_larger_ratios() -> None:
    random = np.random.default_rng(0)
    first = random.uniform(9, 11, 50)
    ratios = [_line("x", "x", 1, first / speed, first).ratio for speed in (0.5, 1, 2, 4)]
    assert ratios == pytest.approx([0.5, 1, 2, 4])


def test_percentiles_throughput_and_variation_are_those_of_the_times() -> None:
    times = np.arange(1.0, 102.0)  # 1..101 ms: the percentiles are whole
    line = _line("a", "torch", 8, times, times)
    assert (line.p50_ms, line.p90_ms, line.p95_ms, line.p99_ms) == (51.0, 91.0, 96.0, 100.0)
    assert line.images_per_second == pytest.approx(1000 * 8 / 51)
    assert line.variation == pytest.approx(np.sqrt((101**2 - 1) / 12) / 51)


def test_rounds_are_interleaved_after_the_warm_up_and_each_begins_with_another() -> None:
    calls: list[str] = []
    times = _interleaved([FakeSession(name, calls) for name in "abc"], np.zeros((1, 3, 2, 2), np.float32), 4, 2)
    assert "".join(calls) == "aabbcc" + "abc" + "bca" + "cab" + "abc"
    assert times.shape == (3, 4)
    assert (times >= 0).all()


def run_folder(folder: Path, *, size: int = 64, channels: int = 3, format_: str = "onnx") -> Path:
    """A finished run with one artifact that no runtime could open."""
    path = folder / "model.onnx"
    folder.mkdir()
    path.write_bytes(b"no graph")
    record = StepRecord(
        "fp32", "simplify", "exported", {}, {}, "key", path.name, format_, "fp32", sha256=file_sha256(path)
    )
    manifest = example_run()
    evaluation = {**manifest.evaluation, "preprocess": {"height": size, "width": size, "channels": channels}}
    write_manifest(replace(manifest, steps=(record,), evaluation=evaluation), folder)
    return path


def test_artifacts_for_different_sizes_are_not_compared(tmp_path: Path) -> None:
    paths = [run_folder(tmp_path / "a"), run_folder(tmp_path / "b", size=32), run_folder(tmp_path / "c", channels=1)]
    with pytest.raises(BadInput, match=r"images of 3x32x32 and 3x64x64"):
        bench(paths[:2], batches=(1,), rounds=3, warmup=1, threads=1)
    with pytest.raises(BadInput, match=r"images of 1x64x64 and 3x64x64"):
        bench(paths[::2], batches=(1,), rounds=3, warmup=1, threads=1)


@pytest.mark.parametrize("batch", [33, 64])
def test_a_batch_outside_the_profile_is_refused_before_anything_is_opened(tmp_path: Path, batch: int) -> None:
    with pytest.raises(UsageFault, match=rf"--batch {batch}.*from 1 to 32") as caught:
        bench([run_folder(tmp_path / "a")], batches=(1, batch), rounds=3, warmup=1, threads=1)
    assert caught.value.exit_code == 2


def test_an_artifact_that_cannot_run_here_is_said_and_never_timed_as_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "swin_deploy.backends.tensorrt.TensorRTBackend.unavailable", lambda self, artifact: "no NVIDIA GPU"
    )
    with pytest.raises(Unavailable, match="cannot be timed here: no NVIDIA GPU"):
        bench([run_folder(tmp_path / "a", format_="rtx-plan")], batches=(1,), rounds=3, warmup=1, threads=1)


def test_the_images_have_the_channels_and_the_size_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    class Watching(FakeSession):
        def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
            shapes.append(images.shape)
            return {}

    monkeypatch.setattr("swin_deploy.backends.onnxruntime.OnnxRuntime.open", lambda self, artifact: Watching("a", []))
    bench([run_folder(tmp_path / "a", size=24, channels=1)], batches=(1, 2), rounds=3, warmup=1, threads=1)
    assert set(shapes) == {(1, 1, 24, 24), (2, 1, 24, 24)}


def test_a_changed_artifact_is_not_timed(tmp_path: Path) -> None:
    path = run_folder(tmp_path / "a")
    path.write_bytes(b"other")
    with pytest.raises(BadInput, match="sha256 differs"):
        bench([path], batches=(1,), rounds=3, warmup=1, threads=1)


def test_the_conditions_are_told_with_the_results() -> None:
    times = np.array([1.0, 2.0, 3.0])
    found = Benchmark((_line("a", "torch", 1, times, times),), 3, 1, 2, {"processor": "CPU", "gpu": "none"})
    assert found.describe().startswith("3 interleaved rounds after 1 calls of warm-up, 2 threads, CPU; GPU: none")
    raw = json.loads(json.dumps(found.to_json()))
    assert (raw["schema_version"], raw["lines"][0]["ratio"]) == (1, 1.0)
