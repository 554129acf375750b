"""Opening a plan on a machine that fits it and on those that do not, and running it with and without a CUDA graph."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_fakes import FakeDriver, FakeTorch, fake_tensorrt

from swin_deploy.atomic import file_sha256
from swin_deploy.device.plan_sidecar import PlanSidecar, sidecar_path
from swin_deploy.device.tensorrt_session import open_plan
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError, Unavailable

VERSION = "10.3.0"
MODEL = "Imaginary GPU (28 multiprocessors)"


@pytest.fixture(autouse=True)
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def _plan(folder: Path, content: bytes = b"plan", **changes: Any) -> Path:
    path = folder / "fp16.plan"
    path.write_bytes(content)
    facts = PlanSidecar("tensorrt", VERSION, ("8.7",), (1, 2, 4), "0" * 64, file_sha256(path), MODEL).facts()
    sidecar_path(path).write_text(json.dumps({**facts, **changes}))
    return path


def _machine(monkeypatch: pytest.MonkeyPatch, *, capability: str = "8.7", **behaviour: Any) -> FakeDriver:
    driver = FakeDriver(capability, multiprocessors=behaviour.pop("multiprocessors", 28))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(VERSION, driver=driver, **behaviour))
    return driver


def _images(batch: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((batch, 3, 4, 4)).astype(np.float32)


def _maxima(outputs: Any) -> Any:
    return outputs["logits"][:, 1]


def test_a_cuda_graph_is_captured_once_a_shape_and_gives_the_same_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = _machine(monkeypatch)
    with open_plan(_plan(tmp_path), flavor="tensorrt", cuda_graph=True) as session:
        launches = 0
        for batch in (1, 4, 1):  # buffers grow, so that the first graph's addresses are gone
            for call in range(3):
                images = _images(batch, call)
                np.testing.assert_array_equal(_maxima(session.infer(images)), images.max(axis=(1, 2, 3)))
                launches += call > 0  # the first call of a shape runs as it is
                assert driver.launches == launches
        _, times = session.timed(_images(1))
        assert times.compute == 1.5
    assert not driver.held and not driver.memory and not driver.pinned


def test_without_a_cuda_graph_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = _machine(monkeypatch)
    with open_plan(_plan(tmp_path), flavor="tensorrt") as session:
        session.infer(_images(1))
        session.infer(_images(1))
    assert driver.launches == 0


def test_outputs_of_an_earlier_call_keep_their_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch)
    with open_plan(_plan(tmp_path), flavor="tensorrt") as session:
        first = session.infer(_images(2, 0))
        kept = _maxima(first).copy()
        session.infer(_images(2, 1))
        np.testing.assert_array_equal(_maxima(first), kept)


def test_device_bytes_are_plan_context_and_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, context_bytes=5000)
    session = open_plan(_plan(tmp_path, b"x" * 70), flavor="tensorrt")
    assert session.device_bytes() == 5070
    session.infer(_images(2))
    assert session.device_bytes() == 5070 + 2 * 48 * 4 + 2 * 2 * 4  # images and outputs in FP32
    session.infer(_images(1))  # a smaller batch keeps what is there
    assert session.device_bytes() == 5070 + 2 * 48 * 4 + 2 * 2 * 4
    session.close()
    session.close()
    assert session.device_bytes() is None


def test_device_memory_comes_from_a_loaded_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, torch = _machine(monkeypatch), FakeTorch(largest=100)
    monkeypatch.setitem(sys.modules, "torch", torch)
    with (
        open_plan(_plan(tmp_path), flavor="tensorrt") as session,
        pytest.raises(EnvironmentFault, match="PyTorch's allocator"),
    ):
        session.infer(_images(1))  # 192 bytes
    assert not driver.memory


def test_a_shape_that_did_not_fit_can_be_followed_by_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = _machine(monkeypatch)
    with open_plan(_plan(tmp_path), flavor="tensorrt") as session:
        session.infer(_images(1))
        driver.fails["cuMemAlloc_v2"] = 2
        with pytest.raises(EnvironmentFault, match="out of memory"):
            session.infer(_images(4))
        del driver.fails["cuMemAlloc_v2"]
        images = _images(2)
        np.testing.assert_array_equal(_maxima(session.infer(images)), images.max(axis=(1, 2, 3)))
    assert not driver.memory


@pytest.mark.parametrize(
    ("content", "behaviour", "kind", "message"),
    [
        (b"damaged", {}, BadInput, "magic tag mismatch.*Build it again"),
        (b"too large", {}, EnvironmentFault, "does not fit the GPU's memory"),
        (b"plan", {"has_context": False}, EnvironmentFault, "no execution context.*largest batch"),
        (b"plan", {"has_runtime": False}, Unavailable, "cannot make a runtime.*error: 35.*driver"),
    ],
)
def test_a_plan_that_does_not_load_says_why_and_gives_everything_back(
    content: bytes,
    behaviour: dict[str, Any],
    kind: type[ExplainedError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = _machine(monkeypatch, **behaviour)
    with pytest.raises(kind, match=message):
        open_plan(_plan(tmp_path, content), flavor="tensorrt")
    assert not driver.held and not driver.memory


@pytest.mark.parametrize("has_context", [True, False])
def test_the_engine_goes_before_the_device_s_context_also_when_opening_fails(
    has_context: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, has_context=has_context)
    try:
        open_plan(_plan(tmp_path), flavor="tensorrt").close()
    except EnvironmentFault:
        assert not has_context
    assert "context" in sys.modules["tensorrt"].asked["held_at_the_engine_s_end"]


def test_a_session_is_closed_with_its_own_context_current_and_closed_twice_touches_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = _machine(monkeypatch)
    session = open_plan(_plan(tmp_path), flavor="tensorrt")
    made_current: list[bool] = []

    def remembered(context: object) -> int:
        made_current.append(session._engine is not None)
        return 0

    driver._cuCtxSetCurrent = remembered
    session.close()
    assert made_current[0], "while the engine is still there"
    before = len(made_current)
    session.close()
    assert len(made_current) == before


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"version": "8.6.1"}, BadInput, r"built with tensorrt 8\.6\.1, and tensorrt 10\.3\.0 is here"),
        ({"package": "tensorrt_rtx"}, BadInput, r"built with tensorrt_rtx 10\.3\.0, and tensorrt"),
        ({"plan_sha256": "f" * 64}, BadInput, "damaged or was exchanged"),
        ({"schema": 7}, BadInput, "schema 7"),
        ({"gpu": 5}, BadInput, "wrong type"),
        ({"targets": ["8.6"]}, Unavailable, r"compute capability 8\.7; .* built for 8\.6"),
        ({"gpu": "Imaginary GPU (8 multiprocessors)"}, Unavailable, r"\(28 .*built on Imaginary GPU \(8 "),
    ],
)
def test_a_plan_for_elsewhere_is_refused_before_any_native_code_reads_it(
    changes: dict[str, Any],
    kind: type[ExplainedError],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = _machine(monkeypatch)
    with pytest.raises(kind, match=message):
        open_plan(_plan(tmp_path, **changes), flavor="tensorrt")
    assert not driver.held


def test_the_statuses_of_these_errors_are_the_documented_ones() -> None:
    assert (Unavailable.exit_code, BadInput.exit_code, EnvironmentFault.exit_code) == (3, 5, 6)


def test_a_side_car_from_before_models_were_written_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch)
    plan = _plan(tmp_path)
    facts = json.loads(sidecar_path(plan).read_text())
    del facts["gpu"]
    sidecar_path(plan).write_text(json.dumps(facts))
    open_plan(plan, flavor="tensorrt").close()


def test_no_package_no_gpu_and_a_refused_family_are_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _plan(tmp_path)
    driver = _machine(monkeypatch)
    driver.devices = 0
    with pytest.raises(Unavailable, match="reports 0 GPUs"):
        open_plan(plan, flavor="tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(Unavailable, match=r"pip install 'swin-deploy\[tensorrt\]'; on a Jetson it is part of JetPack"):
        open_plan(plan, flavor="tensorrt")
    driver.devices = 1
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt("1.7.1.116"))
    with pytest.raises(Unavailable, match="tensorrt_rtx does not run on Jetson Orin"):
        open_plan(plan, flavor="tensorrt_rtx")
