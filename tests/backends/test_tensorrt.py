"""The runner: its reasons for not running, and its control flow against imitations of each version and the driver."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_fakes import FakeDriver, fake_tensorrt

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.backends.tensorrt import TensorRTBackend
from swin_deploy.device.plan_sidecar import PlanSidecar, sidecar_path
from swin_deploy.errors import BadInput, EnvironmentFault, Unavailable, UsageFault

PACKAGES = [
    ("tensorrt", "8.5.3.1"),
    ("tensorrt", "8.6.1"),
    ("tensorrt", "10.3.0"),
    ("tensorrt", "10.13.3.9"),
    ("tensorrt", "11.4.0.106"),
    ("tensorrt_rtx", "1.6.1.120"),
    ("tensorrt_rtx", "1.7.1.116"),
]
FORMATS = {"tensorrt": Format.TENSORRT_PLAN, "tensorrt_rtx": Format.RTX_PLAN}


def _artifact(folder: Path, package: str, version: str, *, plan: bytes = b"plan", **changes: Any) -> Artifact:
    path = folder / "fp16.plan"
    path.write_bytes(plan)
    facts = PlanSidecar(package, version, ("8.6", "12.0"), (1, 2, 4), "0" * 64, file_sha256(path)).facts()
    sidecar_path(path).write_text(json.dumps({**facts, **changes}))
    return Artifact("fp16.plan", path, FORMATS[package], Precision.FP16)


def _machine(
    monkeypatch: pytest.MonkeyPatch, package: str, version: str, capability: str = "8.6", **behaviour: Any
) -> tuple[FakeDriver, dict[str, Any]]:
    """This process with a GPU and a TensorRT, both imitated."""
    driver, module = FakeDriver(capability), fake_tensorrt(version, **behaviour)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setitem(sys.modules, package, module)
    return driver, module.asked


@pytest.mark.parametrize(("package", "version"), PACKAGES)
@pytest.mark.parametrize("dtype", ["FLOAT", "HALF"])
def test_images_go_in_and_float_outputs_come_back_under_every_version(
    package: str, version: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, asked = _machine(monkeypatch, package, version, dtype=dtype)
    backend, artifact = TensorRTBackend(package), _artifact(tmp_path, package, version)
    assert backend.name == package
    assert backend.unavailable(artifact) is None
    with backend.open(artifact) as session:
        for batch in (1, 4, 2):  # the largest in between: buffers must grow, and serve smaller ones after
            images = np.arange(batch * 48, dtype=np.float32)
            images = images.reshape(batch, 3, 4, 4) / np.float32(64)
            outputs = session.infer(images)
            expected = np.stack([images.sum(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))], axis=1)
            assert set(outputs) == {"logits"}
            assert outputs["logits"].dtype == np.float32
            np.testing.assert_allclose(outputs["logits"], expected, rtol=2e-3 if dtype == "HALF" else 1e-6)
        outputs, times = session.timed(images)
        assert (times.copy_in, times.compute, times.copy_out) == (1.5, 1.5, 1.5)
        assert len(driver.memory) == 2
    assert asked["stream"] == 77
    assert not driver.memory
    assert not driver.held


@pytest.mark.parametrize(("package", "version"), PACKAGES)
def test_several_outputs_come_back_each_under_its_own_name(
    package: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = _machine(monkeypatch, package, version, outputs=("stage0", "stage1", "stage2"))
    images = np.arange(2 * 48, dtype=np.float32).reshape(2, 3, 4, 4)
    with TensorRTBackend(package).open(_artifact(tmp_path, package, version)) as session:
        outputs = session.infer(images)
        assert len(driver.memory) == 4
    assert list(outputs) == ["stage0", "stage1", "stage2"]
    assert [values.shape for values in outputs.values()] == [(2, 2), (2, 2, 1), (2, 2, 1, 1)]
    for place, values in enumerate(outputs.values()):
        np.testing.assert_allclose(values.reshape(2, 2)[:, 1], (place + 1) * images.max(axis=(1, 2, 3)))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (5, 3, 4, 4), (1, 3, 4, 5), (3, 4, 4)])
def test_images_outside_the_profile_are_refused(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, "tensorrt", "10.3.0")
    with (
        TensorRTBackend("tensorrt").open(_artifact(tmp_path, "tensorrt", "10.3.0")) as session,
        pytest.raises(BadInput, match="a batch of 1 to 4"),
    ):
        session.infer(np.zeros(shape, np.float32))


@pytest.mark.parametrize("behaviour", [{"accepts_shape": False}, {"executes": False}])
def test_an_engine_that_does_not_start_is_a_fault(
    behaviour: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, "tensorrt", "10.3.0", **behaviour)
    with (
        TensorRTBackend("tensorrt").open(_artifact(tmp_path, "tensorrt", "10.3.0")) as session,
        pytest.raises(EnvironmentFault),
    ):
        session.infer(np.zeros((1, 3, 4, 4), np.float32))


def test_a_kernel_that_faults_is_reported_when_the_results_are_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = _machine(monkeypatch, "tensorrt", "10.3.0")
    with TensorRTBackend("tensorrt").open(_artifact(tmp_path, "tensorrt", "10.3.0")) as session:
        driver.fails["cuStreamSynchronize"] = 700
        with pytest.raises(EnvironmentFault, match="700"):
            session.infer(np.zeros((1, 3, 4, 4), np.float32))


def test_without_a_gpu_the_reason_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt("1.7.1.116"))
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    artifact = _artifact(tmp_path, "tensorrt_rtx", "1.7.1.116")
    reason = TensorRTBackend("tensorrt_rtx").unavailable(artifact)
    assert reason is not None
    assert "no NVIDIA driver" in reason
    with pytest.raises(Unavailable, match="no NVIDIA driver"):
        TensorRTBackend("tensorrt_rtx").open(artifact)


@pytest.mark.parametrize(("package", "extra"), [("tensorrt", "tensorrt"), ("tensorrt_rtx", "rtx")])
def test_without_the_package_the_reason_names_the_extra(
    package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    reason = TensorRTBackend(package).unavailable(_artifact(tmp_path, package, "1.0"))
    assert reason is not None
    assert f"swin-deploy[{extra}]" in reason


@pytest.mark.parametrize(
    ("capability", "words"), [("9.0", "does not run on Hopper"), ("8.7", "Jetson Orin"), ("8.9", "built for 8.6, 12.0")]
)
def test_a_gpu_that_the_plan_is_not_for_is_a_reason(
    capability: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, "tensorrt_rtx", "1.7.1.116", capability)
    reason = TensorRTBackend("tensorrt_rtx").unavailable(_artifact(tmp_path, "tensorrt_rtx", "1.7.1.116"))
    assert reason is not None
    assert f"capability {capability}" in reason
    assert words in reason


def test_a_plan_of_another_version_is_bad_input_and_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = _machine(monkeypatch, "tensorrt", "10.3.0")
    artifact = _artifact(tmp_path, "tensorrt", "8.6.1")
    assert TensorRTBackend("tensorrt").unavailable(artifact) is None  # not for want of anything here
    with pytest.raises(BadInput, match=r"built with tensorrt 8\.6\.1, and tensorrt 10\.3\.0 is here"):
        TensorRTBackend("tensorrt").open(artifact)
    assert not driver.held


def test_a_plan_is_not_given_to_the_native_code_before_its_hash_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = _machine(monkeypatch, "tensorrt", "10.3.0")
    with pytest.raises(BadInput, match="SHA-256"):
        TensorRTBackend("tensorrt").open(_artifact(tmp_path, "tensorrt", "10.3.0", plan_sha256="f" * 64))
    assert not driver.held  # not even a context was made


def test_a_plan_that_tensorrt_refuses_gives_its_reason_and_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = _machine(monkeypatch, "tensorrt", "10.3.0")
    with pytest.raises(BadInput, match="magic tag mismatch"):
        TensorRTBackend("tensorrt").open(_artifact(tmp_path, "tensorrt", "10.3.0", plan=b"damaged"))
    assert not driver.held


def test_a_plan_with_edges_of_another_type_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, "tensorrt", "10.3.0", dtype="INT32")
    with pytest.raises(BadInput, match="FP32 or FP16"):
        TensorRTBackend("tensorrt").open(_artifact(tmp_path, "tensorrt", "10.3.0"))


def test_another_format_or_flavor_is_refused(tmp_path: Path) -> None:
    reason = TensorRTBackend("tensorrt").unavailable(_artifact(tmp_path, "tensorrt_rtx", "1.7"))
    assert reason == "tensorrt does not open rtx-plan"
    with pytest.raises(UsageFault):
        TensorRTBackend("onnxruntime")


@pytest.mark.gpu
@pytest.mark.parametrize("package", ["tensorrt_rtx", "tensorrt"])
def test_a_real_engine_agrees_with_numpy_at_each_batch(package: str, tmp_path: Path) -> None:
    from swin_deploy.device import cuda_memory
    from swin_deploy.device.build_in_child import build_plan
    from swin_deploy.device.build_job import BatchProfile

    onnx, module = pytest.importorskip("onnx"), pytest.importorskip(package)
    reason = cuda_memory.unavailable()
    if reason is not None:
        pytest.skip(reason)
    weight = np.random.default_rng(0).standard_normal((48, 8)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Flatten", ["x"], ["f"]), onnx.helper.make_node("MatMul", ["f", "w"], ["y"])],
        "tiny",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 8])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(tmp_path / "a.onnx"))
    plan, rtx = tmp_path / "a.plan", package == "tensorrt_rtx"
    build_plan(
        tmp_path / "a.onnx",
        plan,
        flavor=package,
        precision=Precision.FP32,
        shapes=BatchProfile(1, 2, 4),
        compute_capabilities=(cuda_memory.compute_capability(),) if rtx else (),
    )
    version, targets = str(module.__version__), (cuda_memory.compute_capability(),)
    sidecar = PlanSidecar(package, version, targets, (1, 2, 4), "0" * 64, file_sha256(plan))
    sidecar_path(plan).write_text(json.dumps(sidecar.facts()))
    with TensorRTBackend(package).open(Artifact("a", plan, FORMATS[package], Precision.FP32)) as session:
        for batch in (1, 4, 2):
            images = np.random.default_rng(batch).standard_normal((batch, 3, 4, 4)).astype(np.float32)
            expected = images.reshape(batch, 48) @ weight  # [B, 8]
            np.testing.assert_allclose(session.infer(images)["y"], expected, rtol=1e-4, atol=1e-4)
        assert session.device_bytes() > plan.stat().st_size
        json.loads(session.inspector())
    with TensorRTBackend(package, cuda_graph=True).open(
        Artifact("a", plan, FORMATS[package], Precision.FP32)
    ) as session:
        for call in range(3):  # plain, then twice through the graph
            images = np.random.default_rng(call).standard_normal((2, 3, 4, 4)).astype(np.float32)
            outputs, times = session.timed(images)
            np.testing.assert_allclose(outputs["y"], images.reshape(2, 48) @ weight, rtol=1e-4, atol=1e-4)
            assert times.compute > 0
