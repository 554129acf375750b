"""Plans built for real by TensorRT for RTX on a machine with no GPU, and the control flow of the other versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorrt_fakes import FakeDriver, fake_tensorrt

from swin_deploy.artifact import Precision
from swin_deploy.device import build_in_child, cuda_memory
from swin_deploy.device.build_in_child import build_plan
from swin_deploy.device.build_job import BatchProfile, BuildJob, BuildReport
from swin_deploy.device.kernel_census import KernelCensus
from swin_deploy.device.tensorrt_build import build
from swin_deploy.device.tensorrt_log import captured_log
from swin_deploy.device.tensorrt_versions import FP32_MARK, parse_version, traits_of
from swin_deploy.errors import BadInput, EnvironmentFault, Unavailable, UsageFault

BATCHES = BatchProfile(1, 2, 4)
TOKENS, HEAD = 64, 32


def _save(path: Path, nodes: list[Any], inputs: list[Any], constants: dict[str, Any], outputs: list[str]) -> Path:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [onnx.helper.make_tensor_value_info(name, inputs[0].type.tensor_type.elem_type, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, str(path))
    return path


def attention_graph(path: Path, *, dtype: type[np.floating[Any]] = np.float16, batch: int | str = "batch") -> Path:
    """softmax(x x^T + bias) x with a constant bias, x [B, 2, 64, 32]."""
    onnx = pytest.importorskip("onnx")
    node, kind = onnx.helper.make_node, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        node("Transpose", ["x"], ["keys"], perm=[0, 1, 3, 2]),
        node("MatMul", ["x", "keys"], ["scores"]),
        node("Add", ["scores", "bias"], ["biased"]),
        node("Softmax", ["biased"], ["weights"], axis=-1),
        node("MatMul", ["weights", "x"], ["y"]),
    ]
    bias = np.random.default_rng(0).standard_normal((1, 2, TOKENS, TOKENS)).astype(dtype)
    value = onnx.helper.make_tensor_value_info("x", kind, [batch, 2, TOKENS, HEAD])
    return _save(path, nodes, [value], {"bias": bias}, ["y"])


def _rtx(path: Path, out: Path, capabilities: tuple[str, ...], **options: Any) -> BuildReport:
    pytest.importorskip("tensorrt_rtx")
    settings: dict[str, Any] = {"precision": Precision.FP16, "shapes": BATCHES, **options}
    return build_plan(path, out, flavor="tensorrt_rtx", compute_capabilities=capabilities, **settings)


def test_one_plan_for_three_architectures_is_built_and_its_attention_is_fused(tmp_path: Path) -> None:
    out, log = tmp_path / "a.rtx.plan", tmp_path / "a.log"
    report = _rtx(attention_graph(tmp_path / "a.onnx"), out, ("8.6", "8.9", "12.0"), log_path=log)
    assert report.bytes == out.stat().st_size > 0
    assert report.targets == ("8.6", "8.9", "12.0")
    assert (report.package, report.profile) == ("tensorrt_rtx", "strong")
    census = report.census_by_target()
    assert set(census) == {"8.6", "8.9", "12.0"}
    assert all(one.fused_attentions == 1 for one in census.values())
    assert "Number of target compute capabilities: 3" in log.read_text()
    assert "MaxShape: [4,2,64,32]" in log.read_text()
    json.dumps(report.to_json())


def test_the_real_builder_takes_every_option_and_says_what_it_did_not_use(tmp_path: Path) -> None:
    options = {"workspace_mib": 64, "memory_limit_mib": 32, "optimization_level": 1, "timing_cache": tmp_path / "times"}
    report = _rtx(attention_graph(tmp_path / "a.onnx"), tmp_path / "a.plan", ("8.6",), **options)
    assert report.bytes > 0
    assert "times no kernels" in report.warnings[0]
    assert (report.gpu, report.fp32_layers) == ("", 0)


def test_the_real_parser_keeps_the_names_by_which_layers_are_held_to_fp32(tmp_path: Path) -> None:
    onnx, trt = pytest.importorskip("onnx"), pytest.importorskip("tensorrt_rtx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 8])
    names = [f"/norm{FP32_MARK}Pow", f"/norm{FP32_MARK}ReduceMean", "/norm/Sqrt"]
    nodes = [
        onnx.helper.make_node("Mul", ["x", "x"], ["a"], name=names[0]),
        onnx.helper.make_node("ReduceMean", ["a"], ["b"], name=names[1]),
        onnx.helper.make_node("Sqrt", ["b"], ["y"], name=names[2]),
    ]
    path = _save(tmp_path / "a.onnx", nodes, [value], {}, ["y"])
    log = captured_log(trt)
    network = trt.Builder(log).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(path)), log.errors()
    assert [network.get_layer(index).name for index in range(network.num_layers)] == names


def test_an_operator_that_the_parser_lacks_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 8])
    path = _save(tmp_path / "a.onnx", [onnx.helper.make_node("Det2", ["x"], ["y"])], [value], {}, ["y"])
    with pytest.raises(BadInput, match=r"cannot read a\.onnx: node 0 \(Det2\)"):
        _rtx(path, tmp_path / "a.plan", ("8.6",))
    assert not (tmp_path / "a.plan").exists()


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("not a graph")
    with pytest.raises(BadInput, match=r"cannot read a\.onnx"):
        _rtx(tmp_path / "a.onnx", tmp_path / "a.plan", ("8.6",))
    with pytest.raises(BadInput, match="does not exist"):
        _rtx(tmp_path / "b.onnx", tmp_path / "a.plan", ("8.6",))


def test_a_target_that_the_package_does_not_know_is_refused_with_those_it_knows(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"capability 9\.0\. Needed: one of .*8\.6.*12\.0"):
        _rtx(attention_graph(tmp_path / "a.onnx"), tmp_path / "a.plan", ("9.0",))


def test_an_fp32_product_for_turing_is_refused_with_what_to_do(tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    if parse_version(rtx.__version__) < (1, 7):
        pytest.skip(f"TensorRT for RTX {rtx.__version__} still builds it")
    path = attention_graph(tmp_path / "a.onnx", dtype=np.float32)
    with pytest.raises(BadInput, match=r"for 7\.5: .*FP32 GEMM is not supported.*leave 7\.5 out"):
        _rtx(path, tmp_path / "a.plan", ("7.5",), precision=Precision.FP32)


def test_a_build_past_its_time_limit_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"took more than 0\.05 s"):
        _rtx(attention_graph(tmp_path / "a.onnx"), tmp_path / "a.plan", ("8.6",), time_limit_s=0.05)


@pytest.mark.parametrize(
    ("child", "kind", "message"),
    [
        ("import os; os.abort()", EnvironmentFault, "crashed with SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", EnvironmentFault, "enough memory"),
        ("raise MemoryError", EnvironmentFault, "enough memory"),
        ("raise ValueError('ours')", RuntimeError, "ours"),  # a bug of ours keeps its traceback
    ],
)
def test_a_child_that_dies_does_not_take_us_along(
    child: str, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.onnx").write_text("")
    (tmp_path / "a.plan").write_text("half a plan")
    monkeypatch.setattr(build_in_child, "_START", child)
    with pytest.raises(kind, match=message):
        build_plan(
            tmp_path / "a.onnx", tmp_path / "a.plan", flavor="tensorrt_rtx", precision=Precision.FP16, shapes=BATCHES
        )
    assert not (tmp_path / "a.plan").exists()


def test_a_crash_after_the_answer_does_not_lose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = BuildReport(1.5, 3, "tensorrt_rtx", "1.7", "strong", ("8.6",))
    (tmp_path / "a.onnx").write_text("")
    answer = json.dumps({"report": report.to_json()})
    monkeypatch.setattr(
        build_in_child,
        "_START",
        f"import os, sys; f = open(sys.argv[2], 'w'); f.write({answer!r}); f.close(); os.kill(os.getpid(), 11)",
    )
    done = build_plan(
        tmp_path / "a.onnx", tmp_path / "a.plan", flavor="tensorrt_rtx", precision=Precision.FP16, shapes=BATCHES
    )
    assert done == report


def test_the_worker_imports_neither_numpy_nor_torch_nor_onnx() -> None:
    code = (
        "import sys; import swin_deploy.device.tensorrt_build; "
        "print(sorted({'numpy', 'torch', 'onnx', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _fake_build(
    tmp_path: Path,
    version: str,
    precision: Precision,
    *,
    package: str = "tensorrt",
    options: dict[str, Any] | None = None,
    **behaviour: Any,
) -> tuple[BuildReport, dict[str, Any]]:
    module = fake_tensorrt(version, **behaviour)
    capabilities = ("8.6", "12.0") if package == "tensorrt_rtx" else ()
    settings = {"workspace_mib": 256, **(options or {})}
    job = BuildJob(tmp_path / "a.onnx", tmp_path / "a.plan", package, precision, BATCHES, capabilities, **settings)
    return build(job, module, traits_of(package, version)), module.asked


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    driver = FakeDriver("8.7")
    monkeypatch.setattr(cuda_memory, "_initialised", lambda library: driver)
    return driver


@pytest.mark.parametrize(
    ("precision", "flags"),
    [(Precision.FP32, set()), (Precision.FP16, {"FP16"}), (Precision.INT8, {"FP16", "INT8"})],
)
@pytest.mark.parametrize(("version", "profile"), [("8.5.3.1", "trt85"), ("8.6.1", "trt86")])
def test_version_8_is_asked_with_builder_flags(
    version: str, profile: str, precision: Precision, flags: set[str], tmp_path: Path, gpu: FakeDriver
) -> None:
    report, asked = _fake_build(tmp_path, version, precision)
    assert asked["flags"] == flags
    assert asked["cleared"] == ({"TF32"} if precision is Precision.FP32 else set())
    assert asked["network_flags"] == 0b01  # EXPLICIT_BATCH; STRONGLY_TYPED does not exist there
    # cuBLAS, cuBLAS-LT and cuDNN are off in 8.6; 8.5 keeps what it has by default
    assert asked.get("tactics") == (0b11000 if version.startswith("8.6") else None)
    assert (report.profile, report.targets) == (profile, ("8.7",))
    assert report.gpu == "Imaginary GPU (28 multiprocessors)"


@pytest.mark.parametrize(("version", "network_flags"), [("10.3.0", 0b10), ("10.13.3.9", 0b10), ("11.4.0.106", 0b01)])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8])
def test_later_versions_are_asked_for_strong_typing_and_no_precision(
    precision: Precision, version: str, network_flags: int, tmp_path: Path, gpu: FakeDriver
) -> None:
    report, asked = _fake_build(tmp_path, version, precision, layers=(("/norm/fp32/Pow", "FLOAT"),))
    assert asked["flags"] == set()
    assert asked["held"] == {}  # the graph's types say it
    assert asked["network_flags"] == network_flags  # the member's value differs between the versions
    assert "tactics" not in asked
    assert asked["cleared"] == ({"TF32"} if precision is Precision.FP32 else set())
    assert (report.profile, report.fp32_layers) == ("strong", 0)


@pytest.mark.parametrize("version", ["8.5.3.1", "8.6.1"])
@pytest.mark.parametrize(("precision", "held"), [(Precision.FP32, 0), (Precision.FP16, 2), (Precision.INT8, 2)])
def test_marked_layers_are_held_to_fp32_where_flags_allow_less(
    version: str, precision: Precision, held: int, tmp_path: Path, gpu: FakeDriver
) -> None:
    layers = (
        ("/block/norm/fp32/Pow", "FLOAT"),
        ("/block/norm/fp32/ReduceMean", "FLOAT"),
        ("/block/norm/fp32/Shape", "INT32"),  # no float type to hold it to
        ("/block/qkv/MatMul", "FLOAT"),
    )
    report, asked = _fake_build(tmp_path, version, precision, layers=layers)
    assert report.fp32_layers == held
    assert ("OBEY_PRECISION_CONSTRAINTS" in asked["flags"]) == bool(held)
    assert "TF32" in asked["cleared"]
    expected = {name: ["FLOAT", (0, "FLOAT")] for name, _ in layers[:held]}
    assert asked["held"] == expected  # the type it computes in, and the one it stores


@pytest.mark.parametrize(("version", "tactics"), [("8.5.3.1", False), ("8.6.1", True), ("10.3.0", True)])
def test_a_memory_limit_bounds_the_trials_where_it_can_and_the_scratch_memory_everywhere(
    version: str, tactics: bool, tmp_path: Path, gpu: FakeDriver
) -> None:
    _, asked = _fake_build(tmp_path, version, Precision.FP16, options={"memory_limit_mib": 128})
    assert asked["pools"] == {"WORKSPACE": 128 << 20, **({"TACTIC_DRAM": 128 << 20} if tactics else {})}
    assert asked["level"] == 3


@pytest.mark.parametrize("version", ["8.6.1", "10.13.3.9", "11.4.0.106"])
def test_an_optimization_level_is_passed_on(version: str, tmp_path: Path, gpu: FakeDriver) -> None:
    _, asked = _fake_build(tmp_path, version, Precision.FP16, options={"optimization_level": 1})
    assert asked["level"] == 1


def test_version_8_5_has_no_optimization_levels(tmp_path: Path, gpu: FakeDriver) -> None:
    with pytest.raises(UsageFault, match="it has no levels"):
        _fake_build(tmp_path, "8.5.3.1", Precision.FP16, options={"optimization_level": 1})


@pytest.mark.parametrize("version", ["8.5.3.1", "8.6.1", "10.3.0", "10.13.3.9", "11.4.0.106"])
def test_kernel_times_are_kept_for_the_next_build_of_the_same_version_and_gpu(
    version: str, tmp_path: Path, gpu: FakeDriver
) -> None:
    options = {"timing_cache": tmp_path / "times"}
    first, asked = _fake_build(tmp_path, version, Precision.FP16, options=options, times=b"1st")
    assert asked["caches"] == [(b"", False)]
    second, asked = _fake_build(tmp_path, version, Precision.FP16, options=options, times=b"2nd")
    assert asked["caches"] == [(b"1st", False)]
    assert first.warnings == second.warnings == ("a warning",)
    gpu.multiprocessors = 8  # another model of the family
    third, asked = _fake_build(tmp_path, version, Precision.FP16, options=options)
    assert asked["caches"] == [(b"", False)]
    assert "8 multiprocessors" in third.warnings[0]


def test_a_cache_that_the_builder_refuses_is_left_out_with_a_warning(tmp_path: Path, gpu: FakeDriver) -> None:
    options = {"timing_cache": tmp_path / "times"}
    _fake_build(tmp_path, "10.3.0", Precision.FP16, options=options)
    report, asked = _fake_build(tmp_path, "10.3.0", Precision.FP16, options=options, takes_cache=False)
    assert asked["caches"] == [(b"", False)]
    assert "does not take it" in report.warnings[0]


def test_a_cache_that_cannot_be_written_does_not_cost_the_plan(tmp_path: Path, gpu: FakeDriver) -> None:
    (tmp_path / "file").write_text("")
    options = {"timing_cache": tmp_path / "file" / "times"}  # a file stands where the folder should be
    report, _ = _fake_build(tmp_path, "10.3.0", Precision.FP16, options=options)
    assert "could not be written" in report.warnings[0]
    assert (tmp_path / "a.plan").exists()


def test_rtx_times_no_kernels_and_says_so(tmp_path: Path) -> None:
    options = {"timing_cache": tmp_path / "times", "memory_limit_mib": 64}
    report, asked = _fake_build(tmp_path, "1.7.1.116", Precision.FP16, package="tensorrt_rtx", options=options)
    assert asked["caches"] == []
    assert "times no kernels" in report.warnings[0]
    assert asked["pools"] == {"WORKSPACE": 64 << 20}
    assert not (tmp_path / "times").exists()


def test_the_inspector_is_read_where_a_gpu_loads_the_plan(tmp_path: Path, gpu: FakeDriver) -> None:
    report, asked = _fake_build(tmp_path, "10.3.0", Precision.FP16, inspector="{}")
    assert (report.inspector, asked["inspected"]) == ("{}", "JSON")
    # The GPU here is 8.7, and this plan is for 8.6 and 12.0.
    report, asked = _fake_build(tmp_path, "1.7.1.116", Precision.FP16, package="tensorrt_rtx")
    assert report.inspector is None
    report, _ = _fake_build(tmp_path, "10.3.0", Precision.FP16, plan=b"damaged")
    assert report.inspector is None


def test_rtx_is_given_its_targets_and_needs_no_gpu(tmp_path: Path) -> None:
    report, asked = _fake_build(tmp_path, "1.7.1.116", Precision.FP16, package="tensorrt_rtx")
    assert asked["targets"] == ["SM86", "SM120"]
    assert asked["shapes"] == {"images": ((1, 3, 4, 4), (2, 3, 4, 4), (4, 3, 4, 4))}
    assert asked["pools"] == {"WORKSPACE": 256 << 20}
    assert asked["verbosity"].name == "DETAILED"
    assert report.warnings == ("a warning",)
    assert report.censuses[0].gemms == 1
    assert (tmp_path / "a.plan").read_bytes() == b"plan"


def test_all_parser_errors_are_reported_together(tmp_path: Path, gpu: FakeDriver) -> None:
    with pytest.raises(BadInput, match=r"node 0: no kernel; node 1: no\s+shape.*'trt86'"):
        _fake_build(tmp_path, "8.6.0", Precision.FP16, parser_errors=("no kernel", "no\n shape"))
    with pytest.raises(BadInput, match=r"node 0 \(Op a\): no kernel.*'strong'"):
        _fake_build(tmp_path, "10.3.0", Precision.FP16, parser_errors=("no kernel",))


@pytest.mark.parametrize(
    ("shape", "message"), [((8, 3, 4, 4), "fixed batch 8"), ((-1, 3, -1, -1), "only dynamic axis is the batch")]
)
def test_a_graph_whose_shape_cannot_serve_the_batches_is_refused(
    shape: tuple[int, ...], message: str, tmp_path: Path, gpu: FakeDriver
) -> None:
    with pytest.raises(BadInput, match=message):
        _fake_build(tmp_path, "10.3.0", Precision.FP16, input_shape=shape)


def test_what_the_builder_refuses_is_told_in_its_words_with_a_hint_for_turing(tmp_path: Path) -> None:
    module = fake_tensorrt("1.7.1.116", refuses="no kernel for FP32 MatMul on SM75")
    job = BuildJob(tmp_path / "a.onnx", tmp_path / "a.plan", "tensorrt_rtx", Precision.FP32, BATCHES, ("7.5",))
    with pytest.raises(BadInput, match=r"for 7\.5: no kernel for FP32 MatMul on SM75.*leave 7\.5 out"):
        build(job, module, traits_of("tensorrt_rtx", "1.7.1.116"))
    assert not job.out.exists()


@pytest.mark.parametrize(
    ("error", "warning"),
    [
        ("[virtualMemoryBuffer] Error Code 2: OutOfMemory", ""),
        (
            "Error Code 10: Could not find any implementation for node {ForeignNode[a...b]}.",
            "Tactic Device request: 900MB Available: 300MB. Device memory is insufficient to use tactic.",
        ),
        (
            "Error[10]: Could not find any implementation for node /conv2/Conv + Add.",
            "UNSUPPORTED_STATE: Skipping tactic 0 due to insufficient memory on requested size of 1290442752",
        ),
    ],
)
def test_a_builder_that_ran_out_of_memory_is_a_fault_of_the_environment(
    error: str, warning: str, tmp_path: Path, gpu: FakeDriver
) -> None:
    with pytest.raises(EnvironmentFault, match=r"asked for: workspace 256 MiB.*largest batch"):
        _fake_build(tmp_path, "10.3.0", Precision.FP16, refuses=error, warns=(warning,))


def test_a_node_without_a_kernel_is_no_matter_of_memory(tmp_path: Path, gpu: FakeDriver) -> None:
    with pytest.raises(BadInput, match="any implementation"):
        _fake_build(tmp_path, "10.3.0", Precision.FP16, refuses="Could not find any implementation for node a")


def test_a_log_that_the_disk_refuses_is_a_fault_of_the_environment(tmp_path: Path, gpu: FakeDriver) -> None:
    (tmp_path / "log").mkdir()  # a folder where the file should be
    job = BuildJob(tmp_path / "a.onnx", tmp_path / "a.plan", "tensorrt", Precision.FP16, BatchProfile(1, 1, 1))
    with pytest.raises(EnvironmentFault, match="log could not be written"):
        build(job, fake_tensorrt("10.3.0"), traits_of("tensorrt", "10.3.0"), log_path=tmp_path / "log")


def test_tensorrt_without_a_gpu_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_memory, "unavailable", lambda: "no NVIDIA driver is here")
    with pytest.raises(Unavailable, match="builds for the GPU present, and no NVIDIA driver"):
        _fake_build(tmp_path, "10.3.0", Precision.FP16)


@pytest.mark.parametrize(
    ("package", "version", "precision", "capabilities"),
    [
        ("tensorrt", "10.3.0", Precision.FP16, ("8.6",)),  # it builds for the GPU present
        ("tensorrt", "8.5.3.1", Precision.BF16, ()),  # no such builder flag there
        ("tensorrt", "8.6.0", Precision.BF16, ()),
        ("tensorrt", "8.6.0", Precision.FP8, ()),
        ("tensorrt_rtx", "1.7.1.116", Precision.FP16, ()),  # for which GPU?
    ],
)
def test_a_request_that_the_version_cannot_honour_is_a_usage_fault(
    package: str, version: str, precision: Precision, capabilities: tuple[str, ...], tmp_path: Path, gpu: FakeDriver
) -> None:
    job = BuildJob(tmp_path / "a.onnx", tmp_path / "a.plan", package, precision, BATCHES, capabilities)
    with pytest.raises(UsageFault):
        build(job, fake_tensorrt(version), traits_of(package, version))


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_a_batch_profile_out_of_order_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UsageFault, match="1 <= min <= opt <= max"):
        BatchProfile(*sizes)


@pytest.mark.parametrize("capabilities", [("86",), ("8.6", "8.6"), ("x.y",)])
def test_a_malformed_capability_is_refused(capabilities: tuple[str, ...]) -> None:
    with pytest.raises(UsageFault):
        BuildJob(Path("a"), Path("b"), "tensorrt_rtx", Precision.FP16, BATCHES, capabilities)


@pytest.mark.parametrize("options", [{"workspace_mib": 0}, {"memory_limit_mib": -1}, {"optimization_level": 6}])
def test_a_bound_that_means_nothing_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageFault):
        BuildJob(Path("a"), Path("b"), "tensorrt", Precision.FP16, BATCHES, **options)


def test_job_and_report_survive_json() -> None:
    job = BuildJob(Path("a"), Path("b"), "tensorrt_rtx", Precision.BF16, BATCHES, ("8.6",), 7, Path("c"), 8, 1)
    assert BuildJob.from_json(json.loads(json.dumps(job.to_json()))) == job
    report = BuildReport(1.5, 3, "tensorrt_rtx", "1.7", "strong", ("8.6",), (KernelCensus(2, 1, 1, 0, 0, {"g": 2}),))
    assert BuildReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_listings_that_do_not_fit_the_targets_are_not_attributed() -> None:
    census = KernelCensus(1, 0, 1, 0, 0, {"gemm": 1})
    report = BuildReport(1.0, 1, "tensorrt_rtx", "1.7", "strong", ("8.6", "8.9", "12.0"), (census, census))
    assert report.census_by_target() == {}
