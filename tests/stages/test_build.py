"""The stage: what it accepts, what it says of itself, and a real build with its side-car."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.device import cuda_memory
from swin_deploy.device.build_job import BuildReport
from swin_deploy.device.kernel_census import parse_census
from swin_deploy.device.plan_sidecar import PlanSidecar, read_sidecar, sidecar_path
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.stages.build import Build


def _linear(path: Path) -> Artifact:
    onnx = pytest.importorskip("onnx")
    half = onnx.TensorProto.FLOAT16
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [onnx.helper.make_tensor_value_info("x", half, ["batch", 16, 32])],
        [onnx.helper.make_tensor_value_info("y", half, ["batch", 16, 64])],
        [onnx.numpy_helper.from_array(np.ones((32, 64), np.float16), "w")],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return Artifact("fp16.onnx", path, Format.ONNX, Precision.FP16)


def test_a_real_build_leaves_a_plan_and_a_side_car_that_fits_it(tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    stage = Build("tensorrt_rtx", Precision.FP16, (1, 2, 4), ("8.6", "12.0"))
    assert stage.unavailable() is None
    assert stage.tools()["tensorrt_rtx"] == rtx.__version__
    parent, out, final = _linear(tmp_path / "a.onnx"), tmp_path / ".partial-a.rtx.plan", tmp_path / "a.rtx.plan"
    produced = stage.run(parent, out)
    facts = produced.facts
    assert facts["bytes"] == out.stat().st_size
    assert facts["targets"] == ["8.6", "12.0"]
    assert facts["kernels"]["12.0"]["gemms"] == 1
    assert facts["asked"] == {"linears": 1, "attentions": 0, "fp32_products": 0, "strongly_typed": True}
    assert parse_census(produced.listing)[0].facts() == facts["kernels"]["12.0"]
    assert any(note.startswith("The engine: 1 kernels; products: 1 FP16") for note in produced.notes)
    out.rename(final)  # as the pipeline does
    sidecar_path(final).write_text(json.dumps(dict(produced.sidecar or {})))
    sidecar = read_sidecar(final, check_hash=True)
    assert sidecar == PlanSidecar(
        "tensorrt_rtx", rtx.__version__, ("8.6", "12.0"), (1, 2, 4), file_sha256(parent.path), file_sha256(final)
    )
    assert json.loads(json.dumps(facts)) == facts  # goes into the manifest as it is


def test_the_inspector_is_preferred_to_a_log_that_hides_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT 8 logs a fused region as one layer; on its GPU the inspector says more."""
    tensor = {"Name": "x", "Dimensions": [1, 32], "Format/Datatype": "Half"}
    told = {"Layers": [{"Name": "a/MatMul", "LayerType": "gemm", "Inputs": [tensor], "Outputs": [tensor]}]}

    def imitated(onnx_path: Path, out: Path, *, log_path: Path, **_: object) -> BuildReport:
        out.write_bytes(b"plan")
        log_path.write_text(
            "Layers:\nLayer(Myelin): {ForeignNode[a...b]}, Tactic: 0x0, x (Half[1,32]) -> y (Half[1,64])\n"
        )
        censuses = parse_census(log_path.read_text())
        assert censuses[0].opaque == 1
        return BuildReport(1.0, 4, "tensorrt", "10.3", "strong", ("8.7",), censuses, inspector=json.dumps(told))

    monkeypatch.setattr("swin_deploy.stages.build.build_plan", imitated)
    produced = Build("tensorrt", Precision.FP16, (1, 2, 4)).run(_linear(tmp_path / "a.onnx"), tmp_path / "a.plan")
    assert produced.facts["kernels"]["8.7"]["gemms_by_type"]["fp16"] == 1
    assert json.loads(produced.listing) == told


def test_the_stage_raises_what_the_builder_found(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "a.onnx").write_text("not a graph")
    stage = Build("tensorrt_rtx", Precision.FP16, (1, 2, 4), ("8.6",))
    with pytest.raises(BadInput, match=r"a\.onnx"):
        stage.run(Artifact("a", tmp_path / "a.onnx", Format.ONNX, Precision.FP16), tmp_path / "a.plan")
    assert not (tmp_path / "a.plan").exists()


@pytest.mark.parametrize(
    ("flavor", "capabilities", "produces", "suffix"),
    [("tensorrt_rtx", ("8.6",), Format.RTX_PLAN, ".rtx.plan"), ("tensorrt", (), Format.TENSORRT_PLAN, ".plan")],
)
def test_what_goes_in_and_out_follows_the_flavor(
    flavor: str, capabilities: tuple[str, ...], produces: Format, suffix: str
) -> None:
    stage = Build(flavor, Precision.INT8, compute_capabilities=capabilities)
    assert stage.accepts == {(Format.ONNX, Precision.INT8)}
    assert stage.produces == (produces, Precision.INT8)
    assert (stage.name, stage.suffix) == ("build", suffix)


@pytest.mark.parametrize(
    "options",
    [
        {"flavor": "trt"},
        {"flavor": "tensorrt_rtx"},  # for which GPU?
        {"flavor": "tensorrt", "compute_capabilities": ("8.6",)},
        {"flavor": "tensorrt", "batch": (8, 1, 32)},
        {"flavor": "tensorrt", "time_limit_s": 0.0},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageFault):
        Build(precision=Precision.FP16, **options)


@pytest.mark.parametrize(
    ("flavor", "capabilities", "extra"), [("tensorrt_rtx", ("8.6",), "rtx"), ("tensorrt", (), "tensorrt")]
)
def test_a_missing_package_makes_the_stage_unavailable_and_names_the_extra(
    flavor: str, capabilities: tuple[str, ...], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, flavor, None)
    stage = Build(flavor, Precision.FP16, compute_capabilities=capabilities)
    assert f"swin-deploy[{extra}]" in str(stage.unavailable())
    assert stage.flavor not in stage.tools()


def test_only_tensorrt_needs_a_gpu_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", SimpleNamespace(__version__="1.7.1"))
    monkeypatch.setattr(cuda_memory, "unavailable", lambda: "no NVIDIA driver is here")
    assert "no NVIDIA driver" in str(Build("tensorrt", Precision.FP16).unavailable())
    assert Build("tensorrt_rtx", Precision.FP16, compute_capabilities=("8.6",)).unavailable() is None
