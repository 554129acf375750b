"""The ONNX graphs of a bundle: of each precision in each profile, checked before they are packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.bundle.targets import Target
from swin_deploy.device.closeness import Verdict, worst
from swin_deploy.device.fixture_replay import Fixtures, replay
from swin_deploy.device.tensorrt_versions import ApiTraits
from swin_deploy.errors import BadInput, GateFailed, UsageFault
from swin_deploy.manifest import Manifest, StepRecord
from swin_deploy.parity.gates import GATE_OF_ENGINE, GATE_OF_GRAPH, GATES, Gate
from swin_deploy.validation import artifact_of

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["PackedGraph", "asked_precisions", "check_graph", "make_graphs"]

_DEFAULTS = (Precision.FP16, Precision.BF16, Precision.INT8, Precision.FP8)
# Times the largest tensor: TensorRT for RTX 1.6 reported an activation memory of 2.2 to 2.7 times, at batch 32, for
# Swin-T in FP16, Swin V2-T in FP32 and the demo model in FP16 and INT8.
_LIVE_TENSORS = 3


@dataclass(frozen=True)
class PackedGraph:
    """One graph for one engine.

    Attributes:
        name: Of the engine.
        precision: What the engine computes in.
        profile: The graph's profile.
        file: Name of the graph's file; engines may share one.
        model: The graph.
        engine_gate: What the engine must reach.
        graph_gate: What the graph must reach in ONNX Runtime.
        asked: What it asks an engine to compute, for the audit.
        activation_mib: What its tensors are estimated to take at the largest batch.
    """

    name: str
    precision: Precision
    profile: str
    file: str
    model: ModelProto
    engine_gate: Gate
    graph_gate: Gate
    asked: Mapping[str, int]
    activation_mib: int


def asked_precisions(manifest: Manifest, target: Target, asked: tuple[str, ...]) -> tuple[Precision, ...]:
    """Those to pack: what was asked for, or all of the run that the target has; FP32 where it has no other.

    Raises:
        UsageFault: a precision that the target or the run does not have.
        BadInput: a precision whose graph failed its gate.
    """
    made = {Precision(step.precision) for step in manifest.steps if step.format == Format.ONNX.value and step.file}
    if not asked:
        found = tuple(entry for entry in _DEFAULTS if entry in made and entry not in target.lacks)
        return found or (Precision.FP32,)
    chosen = []
    for name in dict.fromkeys(asked):
        known = {precision.value: precision for precision in Precision}
        if name not in known:
            raise UsageFault(f"--precision {name}", needed="some of " + ", ".join(known))
        precision = known[name]
        if precision in target.lacks:
            raise UsageFault(f"--precision {name} with --target {target.name}", needed=f"what {target.devices} has")
        if precision not in made:
            raise UsageFault(
                f"--precision {name}, which this run did not make",
                needed="some of " + ", ".join(sorted(entry.value for entry in made)),
                do=f"Build with --{name} first",
            )
        chosen.append(precision)
    return tuple(chosen)


def make_graphs(
    folder: Path, manifest: Manifest, precisions: tuple[Precision, ...], releases: tuple[ApiTraits, ...]
) -> tuple[PackedGraph, ...]:
    """The graphs of each precision in each profile that has it.

    Raises:
        BadInput: a graph of the run is missing, changed, or failed its gate, or a profile has no form for it.
        UsageFault: no profile of the target takes a precision.
    """
    made: list[PackedGraph] = []
    shared: dict[tuple[str, str], ModelProto] = {}
    for precision in precisions:
        beyond_flags = {Precision.BF16, Precision.FP8}
        if manifest.recipe.get("fp32_blocks"):
            beyond_flags.add(Precision.FP16)  # a flag would give the blocks that stay in FP32 away
        fitting = [row for row in releases if not (row.precision_flags and precision in beyond_flags)]
        if not fitting:
            raise UsageFault(
                f"--precision {precision.value} for {releases[0].versions}",
                needed="a TensorRT that takes it from the graph's types, 10 or later",
            )
        for row in fitting:
            made.append(_graph(folder, manifest, precision, row, shared))
    return tuple(made)


def _graph(
    folder: Path, manifest: Manifest, precision: Precision, row: ApiTraits, shared: dict[tuple[str, str], ModelProto]
) -> PackedGraph:
    from swin_deploy.onnx_graph.asked_products import asked_products
    from swin_deploy.onnx_graph.profiles import in_profile

    by_flags = row.precision_flags
    # Builder flags ask for a precision of FP32 tensors; elsewhere the graph's own types do.
    source = "int8-qdq" if by_flags and precision is Precision.INT8 else "fp32" if by_flags else precision.value
    typed = precision if not by_flags or precision is Precision.INT8 else Precision.FP32
    if (source, row.profile) not in shared:
        shared[source, row.profile] = in_profile(_run_graph(folder, manifest, source), row.profile)
    model = shared[source, row.profile]
    suffix = "" if row.profile == "strong" else f"-{row.profile}"
    return PackedGraph(
        name=precision.value + suffix,
        precision=precision,
        profile=row.profile,
        file=f"onnx/{typed.value}.{row.profile}.onnx",
        model=model,
        engine_gate=GATES[GATE_OF_ENGINE[precision]],
        graph_gate=GATES[GATE_OF_GRAPH[typed]],
        asked=asked_products(model, precision, by_flags=by_flags).facts(),
        activation_mib=_activation_mib(model, int(manifest.recipe["batch"][2])),
    )


def _run_graph(folder: Path, manifest: Manifest, name: str) -> ModelProto:
    import onnx

    step = manifest.step(name)
    if step is None or not step.file:
        why = step.skipped if step is not None and step.skipped else "the run has no such artifact"
        raise BadInput(
            f"{folder} holds no graph {name}: {why}", needed="a run of --target rtx, tensorrt or onnxruntime"
        )
    origin: StepRecord | None = step
    while origin is not None:  # a graph is no better than what it was made of
        if origin.verdict is Verdict.FAIL:
            raise BadInput(
                f"{origin.file or origin.artifact} of {folder} failed its gate",
                needed="graphs that passed",
                do="Mend it and build again",
            )
        origin = manifest.step(origin.parent)
    artifact, _, _ = artifact_of(folder / step.file)
    return onnx.load(artifact.path)


def _activation_mib(model: ModelProto, largest: int) -> int:
    """A rough bound on what a graph's tensors take at once at the largest batch."""
    import onnx
    from onnx.helper import tensor_dtype_to_np_dtype

    most = 0
    for value in onnx.shape_inference.infer_shapes(model).graph.value_info:
        kind = value.type.tensor_type
        count = tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        for axis in kind.shape.dim:
            count *= axis.dim_value or largest
        most = max(most, count)
    return max(1, _LIVE_TENSORS * most >> 20)


def check_graph(graph: PackedGraph, path: Path, fixtures: Fixtures, batches: tuple[int, int, int]) -> None:
    """Replay the fixtures on a packed graph in ONNX Runtime, by its gate.

    Raises:
        GateFailed: it is not close enough to the oracle.
    """
    artifact = Artifact(graph.name, path, Format.ONNX, graph.precision)
    with OnnxRuntime(literal=graph.precision.quantized).open(artifact) as session:
        found = replay(session.infer, fixtures, batches, graph.graph_gate)
    if worst(found.judgements) is Verdict.FAIL:
        told = "; ".join(
            f"{check.check}: {check.detail}" for check in found.judgements if check.verdict is Verdict.FAIL
        )
        raise GateFailed(
            f"{graph.file} failed on the fixtures: {told}",
            needed="graphs as close to the original as the gates ask",
            do="Nothing was packed: leave that precision out with --precision, or build again",
        )
