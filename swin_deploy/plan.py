"""From a recipe to steps: which stages run, on what, and on which backends each artifact is judged.

The whole tree of a build is written down here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from calib.preprocess import Preprocess
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.aot_inductor import AotInductor
from swin_deploy.backends.base import Backend
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.backends.onnxruntime_rounded import RoundedOnnxRuntime
from swin_deploy.backends.tensorrt import TensorRTBackend
from swin_deploy.backends.torch_compile import TorchCompile
from swin_deploy.backends.torch_eager import TorchEager
from swin_deploy.backends.torch_fused import TorchFused
from swin_deploy.backends.torch_tensorrt import TorchTensorRTBackend
from swin_deploy.device import cuda_memory
from swin_deploy.device.tensorrt_versions import import_flavor, package_unavailable
from swin_deploy.errors import Unavailable, UsageFault
from swin_deploy.onnx_graph.profiles import CPU, LOWERED, WRITTEN
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.gates import GATE_OF_ENGINE, GATE_OF_GRAPH, GATE_OF_NUMERICS, GateName
from swin_deploy.quantization.calibration import Calibration
from swin_deploy.quantization.find_plan import Search
from swin_deploy.quantization.solve import Settings
from swin_deploy.recipe import Recipe
from swin_deploy.stages.base import Stage
from swin_deploy.stages.build import Build
from swin_deploy.stages.capture import Capture
from swin_deploy.stages.cast import Cast
from swin_deploy.stages.compile import Compile
from swin_deploy.stages.constants import Constants
from swin_deploy.stages.export import Export
from swin_deploy.stages.fold import Fold
from swin_deploy.stages.half import Half
from swin_deploy.stages.load import Load
from swin_deploy.stages.lower import Lower
from swin_deploy.stages.quantize import Quantize
from swin_deploy.stages.simplify import Simplify
from swin_deploy.stages.torch_tensorrt import TorchTensorRT

__all__ = ["HALF_IMAGES", "ORACLE", "QuantizationData", "Step", "View", "default_view", "make_plan", "resolve_target"]

ORACLE = "reference"
Size = tuple[int, int]

# PyTorch computes half precision on a CPU about ten times slower than FP32, so numerics are judged on the first of the
# evaluation images; on a GPU on all.
HALF_IMAGES = 256

_FIRST_FP8 = 8.9


@dataclass(frozen=True)
class View:
    """One way of executing an artifact.

    Attributes:
        label: What this row shows, e.g. `engine`, `graph`, `numerics`.
        backend: The runtime.
        gate: The row of the gate table that judges it; `None` shows it without judging.
        limit: Run the first so many images only.
    """

    label: str
    backend: Backend
    gate: GateName | None
    limit: int | None = None


@dataclass(frozen=True)
class Step:
    """One stage with its place in the tree.

    Attributes:
        artifact: Name of what it makes.
        file: File name in the run's folder.
        stage: The stage.
        parent: Name of the artifact it reads.
        views: How the artifact is judged; the first one speaks for it when a child is compared with it.
        optional: Whether the run goes on, with a SKIPPED row, where the stage is unavailable.
    """

    artifact: str
    file: str
    stage: Stage
    parent: str
    views: tuple[View, ...]
    optional: bool = False


@dataclass(frozen=True)
class QuantizationData:
    """The images around INT8 and FP8.

    Attributes:
        preprocess: The model's transform.
        calibration: What ranges are found on; `None` where an earlier calibration is used.
        judged: What the run is judged on; `None` where only the plan is to be shown.
        selection: What plans are searched on; `None` without a search.
    """

    preprocess: Preprocess
    calibration: Calibration | None
    judged: EvaluationSet | None = None
    selection: EvaluationSet | None = None


def resolve_target(target: str) -> tuple[str, str]:
    """What `auto` means on this machine, and why.

    Raises:
        Unavailable: a target was named and its package is not installed.
    """
    no_gpu = cuda_memory.unavailable()
    if target == "auto":
        if no_gpu is None and package_unavailable("tensorrt") is None:
            return "tensorrt", "TensorRT and a GPU are present"
        if package_unavailable("tensorrt_rtx") is None:
            return "rtx", f"TensorRT for RTX builds ahead of time ({no_gpu or 'full TensorRT is not installed'})"
        return "onnxruntime", f"neither TensorRT nor TensorRT for RTX is usable here ({no_gpu or 'not installed'})"
    package = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}.get(target)
    reason = package_unavailable(package) if package else None
    if target == "torch-tensorrt":
        reason = TorchTensorRT(Precision.FP16).unavailable()
    if reason:
        raise Unavailable(f"--target {target} cannot be built here: {reason}")
    return target, "as asked"


def make_plan(
    recipe: Recipe, target: str, data: QuantizationData | None, own_size: Size | None = None
) -> tuple[Step, ...]:
    """The steps of a build in the order they run; parents come before children.

    Args:
        recipe: What was asked for.
        target: As `resolve_target` found it, never `auto`.
        data: The images of INT8 and FP8; `None` without either.
        own_size: Height and width in pixels of the user's own network, with `--model` only.

    Raises:
        UsageFault: the target has no such precision, or takes no network of the user's own.
    """
    for grid in recipe.quantized:
        if target in ("torch", "torch-tensorrt"):
            raise UsageFault(
                f"--{grid} with --target {target}",
                needed=f"rtx, tensorrt or onnxruntime: {grid.upper()} goes through ONNX with explicit Q/DQ",
                do=f"Leave --{grid} out or choose another --target",
            )
    asked = [profile for profile in WRITTEN if profile in recipe.profile]
    if asked and target in ("torch", "torch-tensorrt"):
        raise UsageFault(
            f"--profile {asked[0]} with --target {target}",
            needed="a target that goes through ONNX: rtx, tensorrt or onnxruntime",
        )
    largest = recipe.batch[2]
    engine_profile = import_flavor("tensorrt")[1].profile if target == "tensorrt" else "strong"
    profiles = {*recipe.profile, engine_profile}
    older = [profile for profile in LOWERED if profile in profiles]
    if recipe.fp32_blocks and older:
        raise UsageFault(
            f"--fp32-blocks with the profile {older[0]}",
            needed="TensorRT 10 or later, or for RTX: TensorRT 8 has one builder flag for the whole graph",
        )
    steps = _both_forms(recipe, target, own_size)
    if recipe.compile:
        steps.append(_compiled(recipe, "compiled", "deployment.pt2", "deployment", Precision.FP32))
    halves = [p for p, wanted in ((Precision.FP16, recipe.fp16), (Precision.BF16, recipe.bf16)) if wanted]
    through_onnx = target in ("rtx", "tensorrt", "onnxruntime")
    if through_onnx:
        graph = (View("graph", OnnxRuntime(), GateName.FP32),)
        steps.append(Step("exported", "exported.onnx", Export(largest), "deployment", graph))
        steps.append(Step("fp32", "fp32.onnx", Simplify(), "exported", graph))
        # Literal: ONNX Runtime's own optimisation makes one operator of a decomposed LayerNorm again.
        literal = (View("graph", OnnxRuntime(literal=True), GateName.FP32),)
        steps += _lowered_steps(Precision.FP32, "fp32", profiles, literal)
        steps += _cpu_steps(Precision.FP32, "fp32", profiles)
    for precision in halves:
        steps += _half_chain(recipe, target, precision, through_onnx)
        steps += _engine(recipe, target, precision, engine_profile)
    for grid in recipe.quantized:
        assert data is not None
        if grid == "fp8" and engine_profile in LOWERED:
            raise UsageFault("--fp8 with TensorRT 8", needed="TensorRT 10 or later, which has FP8")
        steps += _quantized_chain(recipe, Precision(grid), profiles, data)
        steps += _engine(recipe, target, Precision(grid), engine_profile)
    if not halves and not recipe.quantized:
        steps += _engine(recipe, target, Precision.FP32, engine_profile)
    return tuple(steps)


def _both_forms(recipe: Recipe, target: str, own_size: Size | None) -> list[Step]:
    """The oracle and the deployment form; of the user's own network, the captured graph and the folded one."""
    load: Stage
    fold: Stage
    if recipe.model:
        assert own_size is not None, "a network of the user's own without its image size"
        if target == "torch-tensorrt":
            raise UsageFault(
                "--model with --target torch-tensorrt",
                needed="rtx, tensorrt, onnxruntime or torch for a network of your own",
            )
        load = Capture(recipe.model, own_size, recipe.batch[2], recipe.ema)
        fold = Constants(recipe.batch[2])
        # The compiled package is deployment.pt2.
        oracle, folded = "reference.program.pt2", "deployment.program.pt2"
    else:
        load, fold = Load(**recipe.loading()), Fold()
        oracle, folded = "reference.safetensors", "deployment.safetensors"
    views: tuple[View, ...] = (View("eager", TorchEager(), GateName.FP32),)
    if recipe.compile:
        views = (*views, View("torch.compile", TorchCompile(), GateName.FP32))
    views += _fused(recipe, GateName.FP32)
    return [
        Step(ORACLE, oracle, load, "checkpoint", (View("oracle", TorchEager(), None),)),
        Step("deployment", folded, fold, ORACLE, views),
    ]


def default_view(artifact: Artifact) -> View:
    """How `validate` and `bench` execute an artifact on its own, and which gate judges it."""
    precision = artifact.precision
    captured = None if artifact.name == ORACLE else GATE_OF_NUMERICS[precision]
    slow = precision in (Precision.FP16, Precision.BF16) and cuda_memory.unavailable() is not None
    return {
        Format.CHECKPOINT: View("oracle", TorchEager(), None),
        Format.CAPTURED: View("oracle" if artifact.name == ORACLE else "eager", TorchEager(), captured),
        Format.DEPLOYMENT: View("eager", TorchEager(), GATE_OF_NUMERICS[precision], HALF_IMAGES if slow else None),
        Format.AOTINDUCTOR: View("package", AotInductor(), GATE_OF_NUMERICS[precision]),
        Format.ONNX: View("graph", OnnxRuntime(literal=precision.quantized), GATE_OF_GRAPH[precision]),
        Format.RTX_PLAN: View("engine", TensorRTBackend("tensorrt_rtx"), GATE_OF_ENGINE[precision]),
        Format.TENSORRT_PLAN: View("engine", TensorRTBackend("tensorrt"), GATE_OF_ENGINE[precision]),
        Format.TORCH_TENSORRT_PLAN: View("engine", TorchTensorRTBackend(), GATE_OF_ENGINE[precision]),
    }[artifact.format]


def _half_chain(recipe: Recipe, target: str, precision: Precision, through_onnx: bool) -> list[Step]:
    name = precision.value
    graph = View("graph", OnnxRuntime(), GATE_OF_GRAPH[precision])
    typed = Step(name, f"{name}.onnx", Cast(precision, recipe.fp32_blocks), "fp32", (graph,))
    if recipe.model or recipe.fp32_blocks:
        # A network of one's own minds its types itself in PyTorch, and a mixture has no form there: half precision
        # begins at the graph, and its numerics are those of ONNX Runtime that rounds every result.
        if not through_onnx:
            raise UsageFault(
                f"--{name} with {'--model' if recipe.model else '--fp32-blocks'} and --target {target}",
                needed="a target that goes through ONNX: rtx, tensorrt or onnxruntime",
            )
        numerics = View("numerics", RoundedOnnxRuntime(), GATE_OF_NUMERICS[precision], HALF_IMAGES)
        return [replace(typed, views=(graph, numerics))]
    gpu = cuda_memory.unavailable() is None
    limit, gate = None if gpu else HALF_IMAGES, GATE_OF_NUMERICS[precision]
    weights = f"deployment-{name}"
    steps = [
        Step(
            weights,
            f"deployment.{name}.safetensors",
            Half(precision),
            "deployment",
            (View("numerics", TorchEager(), gate, limit), *_fused(recipe, gate, limit)),
        )
    ]
    if recipe.compile and (gpu or target == "torch"):
        steps.append(_compiled(recipe, f"compiled-{name}", f"deployment.{name}.pt2", weights, precision, limit))
    if through_onnx:
        steps.append(typed)
    return steps


def _quantized_chain(recipe: Recipe, precision: Precision, profiles: set[str], data: QuantizationData) -> list[Step]:
    name, gate = precision.value, GATE_OF_GRAPH[precision]
    search = None
    if recipe.search:
        assert data.selection is not None
        search = Search(data.selection, recipe.max_drop, recipe.int8_share, timings=recipe.timings)
    quantize = Quantize(
        data.calibration,
        Settings(name, recipe.calib_method, tuple(tool for tool in recipe.calib_tools if tool != "none"), recipe.seed),
        recipe.placement,
        recipe.exclude,
        recipe.precision_plan,
        recipe.calibration,
        search,
        recipe.calib_seeds,
        data.judged if recipe.calib_seeds > 1 else None,  # else other images to judge on would mean another graph
        data.preprocess,
    )
    literal = View("literal Q/DQ", OnnxRuntime(literal=True), gate)
    optimised = (View("optimised", OnnxRuntime(), None),) if precision is Precision.INT8 else ()
    steps = [Step(f"{name}-qdq", f"{name}.qdq.onnx", quantize, "fp32", (literal, *optimised))]
    if precision is Precision.INT8:
        steps += _cpu_steps(precision, f"{name}-qdq", profiles)
    # Behind that for CPUs, since the last graph of a chain speaks for its engine.
    steps.append(Step(name, f"{name}.onnx", Cast(precision), f"{name}-qdq", (literal,)))
    if precision is Precision.INT8:
        steps += _lowered_steps(precision, f"{name}-qdq", profiles, (literal,))
    return steps


def _lowered_steps(precision: Precision, parent: str, profiles: set[str], views: tuple[View, ...]) -> list[Step]:
    """The graph of `parent` in each of the older profiles that are asked for."""
    name = precision.value
    return [
        Step(f"{name}-{profile}", f"{name}.{profile}.onnx", Lower(precision, profile), parent, views)
        for profile in LOWERED
        if profile in profiles
    ]


def _cpu_steps(precision: Precision, parent: str, profiles: set[str]) -> list[Step]:
    """The graph of `parent` for ONNX Runtime on a CPU, judged as it is deployed, if it is asked for."""
    if CPU not in profiles:
        return []
    name = precision.value
    views = (View("graph", OnnxRuntime(), GATE_OF_GRAPH[precision]),)
    return [Step(f"{name}-{CPU}", f"{name}.{CPU}.onnx", Lower(precision, CPU), parent, views)]


def _engine(recipe: Recipe, target: str, precision: Precision, profile: str) -> list[Step]:
    """The engine at the end of a chain, for the targets that have one."""
    name, gate = f"{precision.value}-engine", GATE_OF_ENGINE[precision]
    source = precision.value
    stage: Stage
    backend: Backend
    if target == "rtx":
        stage = Build("tensorrt_rtx", precision, recipe.batch, _capable(recipe.sm, precision))
        backend = TensorRTBackend("tensorrt_rtx")
    elif target == "tensorrt":
        stage = Build("tensorrt", precision, recipe.batch, profile=profile)
        backend = TensorRTBackend("tensorrt")
        if profile in LOWERED:
            # Its graphs stay FP32: builder flags ask for the precision.
            source = f"{'int8' if precision is Precision.INT8 else 'fp32'}-{profile}"
    elif target == "torch-tensorrt":
        stage = TorchTensorRT(precision, recipe.batch)
        backend = TorchTensorRTBackend()
        source = "deployment" if precision is Precision.FP32 else f"deployment-{precision.value}"
    else:
        return []
    return [Step(name, f"{precision.value}{stage.suffix}", stage, source, (View("engine", backend, gate),))]


def _capable(sm: tuple[str, ...], precision: Precision) -> tuple[str, ...]:
    """The targets that have the precision at all: FP8 came with Ada."""
    if precision is not Precision.FP8:
        return sm
    capable = tuple(entry for entry in sm if float(entry) >= _FIRST_FP8)
    if not capable:
        raise UsageFault(
            f"--fp8 with --sm {','.join(sm)}", needed=f"a compute capability of {_FIRST_FP8} or later, which has FP8"
        )
    return capable


def _fused(recipe: Recipe, gate: GateName, limit: int | None = None) -> tuple[View, ...]:
    """The row of the fused form; an attention of one's own has none."""
    if not recipe.fused or recipe.model or recipe.attention:
        return ()
    return (View("fused", TorchFused(), gate, limit),)


def _compiled(
    recipe: Recipe, name: str, file: str, parent: str, precision: Precision, limit: int | None = None
) -> Step:
    views = (View("package", AotInductor(), GATE_OF_NUMERICS[precision], limit),)
    stage = Compile(precision, recipe.batch[2], recipe.fused)
    return Step(name, file, stage, parent, views, optional=True)
