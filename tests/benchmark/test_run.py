"""What is timed, what is skipped and said so, and what is refused. The runtimes are stand-ins; no time is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swin_deploy.benchmark.request import Request
from swin_deploy.benchmark.roofline import Ceilings
from swin_deploy.benchmark.run import bench
from swin_deploy.device.benchmark_line import Skipped
from swin_deploy.device.phase_times import PhaseTimes
from swin_deploy.device.telemetry.telemetry import Telemetry
from swin_deploy.errors import BadInput, UsageFault
from tests.benchmark.finished_run import FakeSession, run_folder

GRAPH = ("fp32.onnx", "onnx", "fp32")
ENGINE = ("fp16.rtx.plan", "rtx-plan", "fp16")
Opener = Callable[..., FakeSession]


def asked(*paths: Path, **options: Any) -> Request:
    """The quickest benchmark there is."""
    quick: dict[str, Any] = {"rounds": 3, "calls": 1, "warmup": 1, "warmup_seconds": 0.0, "threads": 1}
    return Request(paths, **{**quick, "memory": False, "roofline": False, **options})


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[FakeSession]:
    """ONNX Runtime opens anything, into sessions that are kept here."""
    opened: list[FakeSession] = []

    def open_(self: object, artifact: object) -> FakeSession:
        opened.append(FakeSession())
        return opened[-1]

    monkeypatch.setattr("swin_deploy.backends.onnxruntime.OnnxRuntime.open", open_)
    return opened


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A GPU is here and opens any plan; how each was opened is kept here."""
    asked_for: list[dict[str, Any]] = []

    def open_(path: Path, **options: Any) -> FakeSession:
        asked_for.append(options)
        return FakeSession(PhaseTimes(0.25, 2.0, 0.125))

    monkeypatch.setattr("swin_deploy.benchmark.contestant.open_plan", open_)
    monkeypatch.setattr("swin_deploy.backends.tensorrt.TensorRTBackend.unavailable", lambda self, artifact: None)
    return asked_for


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "swin_deploy.backends.tensorrt.TensorRTBackend.unavailable", lambda self, artifact: "no NVIDIA GPU"
    )


def test_artifacts_for_different_sizes_are_not_compared(tmp_path: Path) -> None:
    first, second, third = (
        run_folder(tmp_path / name, [GRAPH], **sizes)[0]
        for name, sizes in (("a", {}), ("b", {"size": 32}), ("c", {"channels": 1}))
    )
    with pytest.raises(BadInput, match=r"images of 3x32x32 and 3x64x64"):
        bench(asked(first, second))
    with pytest.raises(BadInput, match=r"images of 1x64x64 and 3x64x64"):
        bench(asked(first, third))


@pytest.mark.parametrize("batch", [33, 64])
def test_a_batch_outside_the_profile_is_refused_before_anything_is_opened(tmp_path: Path, batch: int) -> None:
    with pytest.raises(UsageFault, match=rf"--batch {batch}.*from 1 to 32") as caught:
        bench(asked(*run_folder(tmp_path / "a", [GRAPH]), batches=(1, batch)))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "options", [{"peers": ("eager", "lazy")}, {"peer_precisions": ("int8",)}, {"cuda_graph": "perhaps"}]
)
def test_a_name_that_nothing_goes_by_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageFault):
        asked(Path("a"), **options)


def test_a_changed_artifact_is_not_timed(tmp_path: Path) -> None:
    (path,) = run_folder(tmp_path / "a", [GRAPH])
    path.write_bytes(b"other")
    with pytest.raises(BadInput, match="sha256 differs"):
        bench(asked(path))


def test_the_images_have_the_channels_and_the_size_of_the_network(tmp_path: Path, graphs: list[FakeSession]) -> None:
    bench(asked(*run_folder(tmp_path / "a", [GRAPH], size=24, channels=1), batches=(1, 2)))
    assert set(graphs[0].shapes) == {(1, 1, 24, 24), (2, 1, 24, 24)}


def test_an_artifact_that_cannot_run_here_is_skipped_with_the_reason_and_the_others_are_timed(
    tmp_path: Path, graphs: list[FakeSession], no_gpu: None
) -> None:
    found = bench(asked(*run_folder(tmp_path / "a", [ENGINE, GRAPH])))
    # Once, although it would have had two lines: with a CUDA graph and without.
    assert found.skipped == (Skipped("a/fp16.rtx.plan", "tensorrt_rtx", "fp16", "no NVIDIA GPU"),)
    (line,) = found.lines
    assert (line.artifact, line.ratio.middle) == ("a/fp32.onnx", 1.0)


def test_with_nothing_that_can_run_there_are_no_lines(tmp_path: Path, no_gpu: None) -> None:
    found = bench(asked(*run_folder(tmp_path / "a", [ENGINE])))
    assert found.lines == () and len(found.skipped) == 1


def test_an_artifact_that_can_run_here_and_fails_is_an_error_and_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "swin_deploy.backends.onnxruntime.OnnxRuntime.open", lambda self, artifact: FakeSession(fails_at=2)
    )
    with pytest.raises(RuntimeError, match="no kernel"):
        bench(asked(*run_folder(tmp_path / "a", [GRAPH]), batches=(1, 2)))


def test_an_engine_has_its_phases_and_a_line_with_a_cuda_graph_and_one_without(
    tmp_path: Path, engines: list[dict[str, Any]]
) -> None:
    found = bench(asked(*run_folder(tmp_path / "a", [ENGINE]), batches=(1, 8)))
    assert engines == [{"flavor": "tensorrt_rtx", "cuda_graph": False}, {"flavor": "tensorrt_rtx", "cuda_graph": True}]
    assert [(line.batch, line.cuda_graph) for line in found.lines] == [(1, False), (1, True), (8, False), (8, True)]
    assert {(line.copy_in_ms, line.compute_ms, line.copy_out_ms) for line in found.lines} == {(0.25, 2.0, 0.125)}


@pytest.mark.parametrize(("choice", "graphs_"), [("off", [False]), ("on", [True]), ("both", [False, True])])
def test_the_cuda_graph_is_the_users_choice(
    tmp_path: Path, engines: list[dict[str, Any]], choice: str, graphs_: list[bool]
) -> None:
    bench(asked(*run_folder(tmp_path / "a", [ENGINE]), cuda_graph=choice))
    assert [options["cuda_graph"] for options in engines] == graphs_


class FakePeer:
    """A peer that opens into a given session, or not at all."""

    name, backend, precision, cuda_graph, device, floats = "peer", "torch", "fp16", False, "cpu", "fp16"

    def __init__(self, session: FakeSession | None) -> None:
        self.session = session

    def unavailable(self) -> str | None:
        return None

    def open(self) -> FakeSession:
        if self.session is None:
            raise BadInput("it would not open", needed="more care")
        return self.session


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeSession | None], None]:
    """Gives the benchmark one peer."""

    def use(session: FakeSession | None) -> None:
        monkeypatch.setattr(
            "swin_deploy.benchmark.run.peer_contestants", lambda *arguments: [FakePeer(session)] if arguments else []
        )

    return use


def test_a_peer_that_fails_to_open_is_skipped_and_the_artifact_is_timed(
    tmp_path: Path, graphs: list[FakeSession], peer: Callable[[FakeSession | None], None]
) -> None:
    peer(None)
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH])))
    assert [line.artifact for line in found.lines] == ["a/fp32.onnx"]
    assert found.skipped == (Skipped("peer", "torch", "fp16", "it would not open. Needed: more care."),)


def test_a_peer_that_fails_at_one_batch_size_is_timed_at_the_others(
    tmp_path: Path, graphs: list[FakeSession], peer: Callable[[FakeSession | None], None]
) -> None:
    peer(FakeSession(fails_at=2))
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH]), batches=(1, 2, 4)))
    assert [line.batch for line in found.lines if line.artifact == "peer"] == [1, 4]
    assert found.skipped == (Skipped("peer", "torch", "fp16", "at batch 2: RuntimeError: no kernel for this"),)


def test_the_first_line_is_what_the_others_are_compared_to_at_each_batch_size(
    tmp_path: Path, graphs: list[FakeSession], peer: Callable[[FakeSession | None], None]
) -> None:
    peer(FakeSession())
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH]), batches=(1, 2)))
    firsts = [line.ratio for line in found.lines if line.artifact == "a/fp32.onnx"]
    assert [(ratio.low, ratio.middle, ratio.high) for ratio in firsts] == [(1.0, 1.0, 1.0)] * 2


def test_the_conditions_are_told_with_the_results(tmp_path: Path, graphs: list[FakeSession]) -> None:
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH]), calls=2))
    raw = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (raw["schema_version"], raw["rounds"], raw["warmup"], raw["threads"]) == (2, 3, 1, 1)
    assert set(raw) == {
        *("schema_version", "lines", "skipped", "rounds", "warmup", "threads", "machine", "flags", "roofline"),
        "telemetry",
    }
    assert (raw["flags"]["transfers"], raw["flags"]["calls_per_turn"], raw["flags"]["tf32"]) == ("included", 2, False)
    assert found.describe().startswith("3 interleaved rounds after a warm-up, 1 threads, ")
    assert [len(calls) for calls in found.calls] == [6]


def test_an_unsteady_warm_up_and_a_throttled_board_are_remarked_upon(tmp_path: Path, graphs: list[FakeSession]) -> None:
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH])))  # no time was given to become steady
    assert found.remarks() == ("Still getting faster when the warm-up's time ran out: a/fp32.onnx at batch 1.",)
    hot = replace(found, telemetry={"throttled": ["The GPU was too hot."]})
    assert hot.remarks()[-1] == "WARNING: The GPU was too hot."


def test_a_steady_warm_up_is_not(tmp_path: Path, graphs: list[FakeSession], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swin_deploy.benchmark.entrants.warm_up", lambda call, **limits: (10, True))
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH])))
    assert found.remarks() == ()
    assert (found.lines[0].latency.warmup_calls, found.lines[0].latency.steady) == (10, True)


def test_each_share_is_of_the_ceilings_of_its_own_device(
    tmp_path: Path, graphs: list[FakeSession], engines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs: list[Any] = []
    rates = iter((1e12, 2e11))  # measured before and after the rounds: the better one counts

    def ceilings(wanted: Any, threads: int) -> dict[str, Ceilings]:
        needs.append(list(wanted))
        return {"cuda": Ceilings("a GPU", "measured", 1.0, {"fp16": next(rates)})}

    from swin_deploy.benchmark.operations import Operation

    monkeypatch.setattr("swin_deploy.benchmark.run.ceilings_of", ceilings)
    monkeypatch.setattr(
        "swin_deploy.benchmark.workload.Workload.operations",
        lambda self, who, batch: (Operation("a", batch * 1e9, 0.0, who.floats),),
    )
    found = bench(asked(*run_folder(tmp_path / "a", [ENGINE, GRAPH]), roofline=True, cuda_graph="off", batches=(1, 4)))
    assert needs == [[("cuda", frozenset({"fp16"})), ("cpu", frozenset({"fp32"}))]] * 2
    # The engine computes 2 ms of each call by its events; 1e9 operations take 1 ms.
    assert [line.roofline_share for line in found.lines] == [pytest.approx(0.5), None, pytest.approx(2.0), None]
    assert found.roofline["cuda"]["source"] == "measured"


def board(monkeypatch: pytest.MonkeyPatch, telemetry: Telemetry) -> None:
    """Whatever is watched, this is what the sensors say; and running alone is two calls."""

    @contextmanager
    def sampled() -> Iterator[Any]:
        yield SimpleNamespace(telemetry=lambda: telemetry)

    monkeypatch.setattr("swin_deploy.benchmark.run.sampled", sampled)
    monkeypatch.setattr("swin_deploy.benchmark.run.timed_calls", lambda call, **limits: [1.0, 1.0])


def test_a_board_with_power_sensors_gives_the_energy_of_an_image(
    tmp_path: Path, graphs: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    board(monkeypatch, Telemetry("sysfs", "a board", energy_j=8.0, throttled=("The GPU was too hot.",)))
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH]), batches=(1, 4)))
    assert [line.joules_per_image for line in found.lines] == [4.0, 1.0]  # 8 J for two calls of 1 and of 4 images
    assert found.telemetry is not None and found.telemetry["board"] == "a board"
    assert found.remarks()[-1] == "WARNING: The GPU was too hot."


@pytest.mark.parametrize("telemetry", [Telemetry("none"), Telemetry("sysfs", "a board")])
def test_a_board_without_them_gives_none(
    tmp_path: Path, graphs: list[FakeSession], monkeypatch: pytest.MonkeyPatch, telemetry: Telemetry
) -> None:
    board(monkeypatch, telemetry)
    found = bench(asked(*run_folder(tmp_path / "a", [GRAPH])))
    assert found.lines[0].joules_per_image is None
    assert (found.telemetry is None) == (telemetry.source == "none")
