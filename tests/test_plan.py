"""The tree of a build: what each target and precision brings, and how single artifacts are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calib.images import ImageSet
from swin_deploy import plan as module
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.device.tensorrt_versions import traits_of
from swin_deploy.errors import Unavailable, UsageFault
from swin_deploy.onnx_graph.profiles import LOWERED, PROFILES, WRITTEN
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.gates import GateName
from swin_deploy.plan import HALF_IMAGES, QuantizationData, Step, default_view, make_plan, resolve_target
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.find_plan import Search
from swin_deploy.quantization.solve import Settings
from swin_deploy.recipe import Recipe
from swin_deploy.stages.capture import Capture
from swin_deploy.stages.constants import Constants
from swin_deploy.stages.lower import Lower
from swin_deploy.stages.quantize import Quantize
from tests.chain import PREPROCESS

IMAGES = ImageSet("none", ("one",), None, None, (None,))  # type: ignore[arg-type] # none of them is decoded
DATA = QuantizationData(PREPROCESS, Calibration(IMAGES, PREPROCESS, 1, None))


def files(recipe: Recipe, target: str) -> set[str]:
    return {step.file for step in make_plan(recipe, target, DATA if recipe.quantized else None)}


def test_without_a_precision_the_fp32_chain_ends_in_the_engine() -> None:
    assert {"fp32.onnx", "fp32.rtx.plan"} <= files(Recipe("a"), "rtx")


def test_each_precision_makes_a_chain_of_its_own() -> None:
    made = files(Recipe("a", fp16=True, bf16=True), "rtx")
    assert {"fp16.onnx", "fp16.rtx.plan", "bf16.onnx", "bf16.rtx.plan"} <= made
    assert "fp32.rtx.plan" not in made


def test_the_fused_form_is_judged_beside_each_deployment_form_and_asked_of_the_compiler() -> None:
    halves = Recipe("a", fp16=True, bf16=True)
    gates = {
        "deployment": GateName.FP32,
        "deployment-fp16": GateName.FP16_NUMERICS,
        "deployment-bf16": GateName.BF16,
    }
    plan = {step.artifact: step for step in make_plan(halves, "torch", None)}
    for artifact, gate in gates.items():
        assert [view.gate for view in plan[artifact].views if view.label == "fused"] == [gate]
        assert plan[artifact].views[0].label != "fused"  # a child is compared with PyTorch's own arithmetic
    compiled = [step for step in plan.values() if step.stage.name == "compile"]
    assert [step.stage.fused for step in compiled] == [True] * 3  # type: ignore[attr-defined]
    for without in (replace(halves, fused=False), replace(halves, attention="linformer")):
        steps = make_plan(without, "torch", None)
        assert not any(view.label == "fused" for step in steps for view in step.views)
    left = [step.stage for step in make_plan(replace(halves, fused=False), "torch", None)]
    assert [stage.fused for stage in left if stage.name == "compile"] == [False] * 3  # type: ignore[attr-defined]


def test_each_older_profile_is_lowered_from_the_simplified_graph_and_judged() -> None:
    plan = {step.artifact: step for step in make_plan(Recipe("a", profile=PROFILES), "onnxruntime", None)}
    for profile in LOWERED:
        step = plan[f"fp32-{profile}"]
        assert (step.file, step.parent, step.stage) == (f"fp32.{profile}.onnx", "fp32", Lower(Precision.FP32, profile))
        assert [view.gate for view in step.views] == [GateName.FP32]
    left = {step.artifact for step in make_plan(Recipe("a", profile=("trt85",)), "onnxruntime", None)}
    assert "fp32-trt85" in left and "fp32-trt86" not in left
    assert not any("trt8" in step.artifact for step in make_plan(Recipe("a"), "onnxruntime", None))


def test_the_graph_for_cpus_is_judged_as_it_is_deployed_and_made_only_when_asked_for() -> None:
    asked = quantized_recipe(int8=True, profile=("strong", "cpu"))
    plan = {step.artifact: step for step in make_plan(asked, "rtx", DATA)}
    for name, parent, gate in (("fp32", "fp32", GateName.FP32), ("int8", "int8-qdq", GateName.INT8)):
        step = plan[f"{name}-cpu"]
        assert (step.file, step.parent) == (f"{name}.cpu.onnx", parent)
        assert [(view.backend, view.gate) for view in step.views] == [(OnnxRuntime(), gate)]
    # The last graph of a chain speaks for its engine, in the recommendation.
    assert list(plan).index("int8-cpu") < list(plan).index("int8")
    assert not any("cpu" in step.artifact for step in make_plan(quantized_recipe(int8=True), "rtx", DATA))


@pytest.mark.parametrize("profile", WRITTEN)
def test_a_profile_of_onnx_without_onnx_is_refused(profile: str) -> None:
    with pytest.raises(UsageFault, match=f"--profile {profile} with --target torch"):
        make_plan(Recipe("a", profile=(profile,)), "torch", None)


@pytest.mark.parametrize("grid", ["int8", "fp8"])
@pytest.mark.parametrize("target", ["torch", "torch-tensorrt"])
def test_a_quantized_chain_without_onnx_is_refused(target: str, grid: str) -> None:
    with pytest.raises(UsageFault, match=rf"--{grid} with --target {target}.*explicit Q/DQ"):
        make_plan(Recipe("a", **{grid: True}, calib_data="b"), target, DATA)


def quantized_recipe(**options: Any) -> Recipe:
    return Recipe("a", calib_data="b", batch=(1, 1, 2), **options)


def test_int8_and_fp8_go_the_same_way_and_fp8_has_no_graph_for_tensorrt_8() -> None:
    both = quantized_recipe(int8=True, fp8=True, profile=PROFILES)
    steps = {step.artifact: step for step in make_plan(both, "rtx", DATA)}
    for grid, precision in (("int8", Precision.INT8), ("fp8", Precision.FP8)):
        assert [steps[name].parent for name in (f"{grid}-qdq", grid, f"{grid}-engine")] == ["fp32", f"{grid}-qdq", grid]
        assert steps[f"{grid}-qdq"].stage.produces == (Format.ONNX, precision)
        gates = {view.gate for name in (f"{grid}-qdq", grid, f"{grid}-engine") for view in steps[name].views}
        assert gates - {None} == {GateName[grid.upper()]}
    for profile in LOWERED:
        step = steps[f"int8-{profile}"]
        assert (step.file, step.parent) == (f"int8.{profile}.onnx", "int8-qdq")
        assert [view.gate for view in step.views] == [GateName.INT8]
        assert f"fp8-{profile}" not in steps


def test_fp8_is_built_for_the_targets_that_have_it_and_refused_where_none_has() -> None:
    def built_for(grid: str, *sm: str) -> tuple[str, ...]:
        plan = make_plan(quantized_recipe(**{grid: True}, sm=sm), "rtx", DATA)
        stage: Any = next(step.stage for step in plan if step.artifact == f"{grid}-engine")
        return tuple(stage.compute_capabilities)

    assert built_for("fp8", "8.6", "8.9", "12.0") == ("8.9", "12.0")
    assert built_for("int8", "8.6", "8.9", "12.0") == ("8.6", "8.9", "12.0")  # the control
    with pytest.raises(UsageFault, match=r"--fp8 with --sm 8\.0,8\.6"):
        built_for("fp8", "8.0", "8.6")


@pytest.mark.parametrize(("version", "profile"), [("8.6.1", "trt86"), ("8.5.3.1", "trt85")])
def test_fp8_with_tensorrt_8_is_refused(monkeypatch: pytest.MonkeyPatch, version: str, profile: str) -> None:
    monkeypatch.setattr(module, "import_flavor", lambda package: (None, traits_of("tensorrt", version)))
    with pytest.raises(UsageFault, match="--fp8 with TensorRT 8"):
        make_plan(quantized_recipe(fp8=True), "tensorrt", DATA)
    steps = {step.artifact: step for step in make_plan(quantized_recipe(int8=True), "tensorrt", DATA)}
    assert steps["int8-engine"].parent == f"int8-{profile}"


def test_every_option_of_the_quantization_reaches_its_stage() -> None:
    recipe = quantized_recipe(
        fp8=True,
        eval_data="c",
        calib_method="mse",
        calib_tools=("balance",),
        calib_seeds=2,
        placement="no-fc2",
        exclude=("merge",),
        search=True,
        timings="times.csv",
        max_drop=0.5,
        seed=3,
    )
    images = EvaluationSet(IMAGES, PREPROCESS)
    data = replace(DATA, selection=images, judged=images)
    stage = next(step.stage for step in make_plan(recipe, "onnxruntime", data) if step.artifact == "fp8-qdq")
    settings = Settings("fp8", "mse", ("balance",), 3)
    search = Search(images, 0.5, timings="times.csv")
    assert stage == Quantize(
        DATA.calibration, settings, "no-fc2", ("merge",), None, None, search, 2, images, PREPROCESS
    )
    alone = next(
        step.stage
        for step in make_plan(replace(recipe, calib_seeds=1), "onnxruntime", data)
        if step.artifact == "fp8-qdq"
    )
    assert alone == replace(stage, seeds=1, judged=None)  # other images to judge on leave the graph as it is
    reusing = Recipe("a", int8=True, calibration="d.npz", precision_plan="e.plan", calib_tools=("none",))
    stage = next(
        step.stage
        for step in make_plan(reusing, "onnxruntime", replace(DATA, calibration=None))
        if step.artifact == "int8-qdq"
    )
    assert isinstance(stage, Quantize)
    assert (stage.calibration, stage.reuse, stage.plan_file, stage.settings.tools, stage.search) == (
        None, "d.npz", "e.plan", (), None
    )  # fmt: skip


def test_torch_tensorrt_converts_the_typed_deployment_form() -> None:
    plan = {step.artifact: step for step in make_plan(Recipe("a", fp16=True), "torch-tensorrt", None)}
    assert plan["fp16-engine"].parent == "deployment-fp16"
    assert not any(step.file.endswith(".onnx") for step in plan.values())


@pytest.mark.parametrize(("version", "profile"), [("8.6.1", "trt86"), ("8.5.3.1", "trt85")])
def test_tensorrt_8_builds_from_the_fp32_graph_and_its_flags(
    monkeypatch: pytest.MonkeyPatch, version: str, profile: str
) -> None:
    monkeypatch.setattr(module, "import_flavor", lambda package: (None, traits_of("tensorrt", version)))
    steps = {step.artifact: step for step in make_plan(Recipe("a", fp16=True), "tensorrt", None)}
    assert steps["fp16-engine"].parent == f"fp32-{profile}"
    assert (Format.ONNX, Precision.FP32) in steps["fp16-engine"].stage.accepts


def test_tensorrt_10_builds_from_the_typed_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "import_flavor", lambda package: (None, traits_of("tensorrt", "10.3.0")))
    steps = {step.artifact: step for step in make_plan(Recipe("a", fp16=True), "tensorrt", None)}
    assert steps["fp16-engine"].parent == "fp16" and not any("trt8" in name for name in steps)


def test_auto_takes_what_is_there_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    here: set[str] = set()
    monkeypatch.setattr(module, "package_unavailable", lambda package: None if package in here else "missing")
    monkeypatch.setattr(module.cuda_memory, "unavailable", lambda: "no GPU")
    assert resolve_target("auto")[0] == "onnxruntime"
    here.add("tensorrt_rtx")
    assert resolve_target("auto")[0] == "rtx"
    here.add("tensorrt")
    assert resolve_target("auto")[0] == "rtx"  # full TensorRT builds for the GPU present, and there is none
    monkeypatch.setattr(module.cuda_memory, "unavailable", lambda: None)
    assert resolve_target("auto")[0] == "tensorrt"
    with pytest.raises(Unavailable, match="missing"):
        here.clear()
        resolve_target("rtx")


@pytest.mark.parametrize(
    ("form", "precision", "gate"),
    [
        (Format.DEPLOYMENT, Precision.FP32, GateName.FP32),
        (Format.DEPLOYMENT, Precision.FP16, GateName.FP16_NUMERICS),
        (Format.ONNX, Precision.FP16, GateName.FP16_GRAPH),
        (Format.ONNX, Precision.INT8, GateName.INT8),
        (Format.ONNX, Precision.FP8, GateName.FP8),
        (Format.RTX_PLAN, Precision.FP8, GateName.FP8),
        (Format.RTX_PLAN, Precision.FP16, GateName.FP16_ENGINE),
        (Format.TENSORRT_PLAN, Precision.INT8, GateName.INT8),
        (Format.AOTINDUCTOR, Precision.BF16, GateName.BF16),
    ],
)
def test_every_kind_of_file_has_its_gate(form: Format, precision: Precision, gate: GateName) -> None:
    assert default_view(Artifact("a", Path("a"), form, precision)).gate is gate


def test_quantized_graphs_are_judged_literally_and_half_precision_on_a_subset_without_a_gpu(monkeypatch) -> None:
    for grid in (Precision.INT8, Precision.FP8):
        assert default_view(Artifact("a", Path("a"), Format.ONNX, grid)).backend == OnnxRuntime(literal=True)
    monkeypatch.setattr(module.cuda_memory, "unavailable", lambda: "no GPU")
    assert default_view(Artifact("a", Path("a"), Format.DEPLOYMENT, Precision.FP16)).limit == HALF_IMAGES
    monkeypatch.setattr(module.cuda_memory, "unavailable", lambda: None)
    assert default_view(Artifact("a", Path("a"), Format.DEPLOYMENT, Precision.FP16)).limit is None


# A network of the user's own

OWN = Recipe("a", model="my.module:make", batch=(1, 4, 8))


def own_plan(recipe: Recipe, target: str) -> dict[str, Step]:
    data = DATA if recipe.quantized else None
    return {step.artifact: step for step in make_plan(recipe, target, data, own_size=(16, 32))}


def test_an_own_network_is_captured_and_its_constants_folded_in_place_of_load_and_fold() -> None:
    plan = own_plan(OWN, "onnxruntime")
    assert list(plan) == ["reference", "deployment", "compiled", "exported", "fp32"]
    assert plan["reference"].stage == Capture("my.module:make", (16, 32), 8)
    assert plan["deployment"].stage == Constants(8)
    assert [plan[name].file for name in plan] == [
        "reference.program.pt2", "deployment.program.pt2", "deployment.pt2", "exported.onnx", "fp32.onnx"
    ]  # fmt: skip
    # The control: without --model it is the other pair.
    stages = [step.stage.name for step in make_plan(Recipe("a"), "onnxruntime", None)]
    assert stages[:2] == ["load", "fold"]
    assert [step.stage.name for step in plan.values()][2:] == stages[2:]


@pytest.mark.parametrize("target", ["onnxruntime", "rtx", "torch"])
def test_parents_come_first_and_each_reads_what_it_accepts(target: str) -> None:
    made = {"checkpoint": (Format.SOURCE, Precision.FP32)}
    for name, step in own_plan(OWN, target).items():
        assert made[step.parent] in step.stage.accepts
        made[name] = step.stage.produces
        for view in step.views:
            reason = view.backend.unavailable(Artifact(name, Path("nowhere"), *step.stage.produces))
            assert reason is None or "does not open" not in reason


def test_the_oracle_of_an_own_network_is_not_judged_and_its_constants_are() -> None:
    plan = own_plan(OWN, "torch")
    assert [view.gate for view in plan["reference"].views] == [None]
    assert [view.gate for view in plan["deployment"].views] == [GateName.FP32, GateName.FP32]
    for name, gate in (("reference", None), ("deployment", GateName.FP32)):
        view = default_view(Artifact(name, Path("a.pt2"), Format.CAPTURED, Precision.FP32))
        assert (view.gate, view.backend.name) == (gate, "torch")


def test_half_precision_of_an_own_network_begins_at_the_graph() -> None:
    plan = own_plan(replace(OWN, fp16=True, bf16=True), "onnxruntime")
    assert not any(step.stage.name == "half" for step in plan.values())
    assert [plan[name].parent for name in ("fp16", "bf16")] == ["fp32", "fp32"]
    # The control: of a Swin there is one for each.
    stages = [step.stage.name for step in make_plan(Recipe("a", fp16=True, bf16=True), "onnxruntime", None)]
    assert stages.count("half") == 2


def test_int8_of_an_own_network_goes_through_its_graph() -> None:
    plan = own_plan(replace(OWN, int8=True, calib_data="b"), "onnxruntime")
    assert (plan["int8-qdq"].parent, plan["int8"].parent) == ("fp32", "int8-qdq")


@pytest.mark.parametrize(
    ("recipe", "target", "words"),
    [
        (OWN, "torch-tensorrt", "--model with --target torch-tensorrt"),
        (replace(OWN, fp16=True), "torch", "--fp16 with --model and --target torch"),
        (replace(OWN, bf16=True), "torch", "--bf16 with --model and --target torch"),
    ],
)
def test_targets_that_take_no_own_network_are_refused(recipe: Recipe, target: str, words: str) -> None:
    with pytest.raises(UsageFault, match=words):
        own_plan(recipe, target)
    make_plan(replace(recipe, model=None), target, None)  # the control


@pytest.mark.parametrize("profile", LOWERED)
def test_blocks_in_fp32_with_tensorrt_8_are_refused_since_its_flag_is_for_the_whole_graph(
    monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    mixed = Recipe("a", fp16=True, fp32_blocks=("head",))
    assert make_plan(mixed, "onnxruntime", None)
    with pytest.raises(UsageFault, match=f"--fp32-blocks with the profile {profile}"):
        make_plan(replace(mixed, profile=("strong", profile)), "onnxruntime", None)
    version = {"trt86": "8.6.1", "trt85": "8.5.3.1"}[profile]
    monkeypatch.setattr(module, "import_flavor", lambda package: (None, traits_of("tensorrt", version)))
    with pytest.raises(UsageFault, match=f"--fp32-blocks with the profile {profile}"):
        make_plan(mixed, "tensorrt", None)
