"""The build itself: one code path for every version of TensorRT and of TensorRT for RTX, a child of `build_in_child`.

By hand: `python -m swin_deploy.device.tensorrt_build JOB.json ANSWER.json`. It needs nothing but the
TensorRT package: no NumPy, torch or onnx, so that it also runs on a board that has only TensorRT.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.atomic import disk_faults
from swin_deploy.device import cuda_memory
from swin_deploy.device.build_job import MEMORY_ADVICE, BuildJob, BuildReport
from swin_deploy.device.kernel_census import parse_census
from swin_deploy.device.tensorrt_log import CapturedLog, captured_log, tells_of_exhausted_memory
from swin_deploy.device.tensorrt_versions import FP32_MARK, ApiTraits, import_flavor
from swin_deploy.device.timing_cache import read_timing_cache, write_timing_cache
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError, Unavailable, UsageFault

__all__ = ["build", "main"]

_WARNINGS_KEPT = 10
# A board with little memory warns of each kernel that found no room to be tried, and in the end has none to choose.
_NO_ROOM, _NO_KERNEL = ("memory is insufficient", "due to insufficient memory"), "could not find any implementation"


@dataclass(frozen=True)
class _Gpu:
    """What a build without targets is for."""

    capability: str
    model: str


def build(job: BuildJob, trt: Any, traits: ApiTraits, *, log_path: Path | None = None) -> BuildReport:
    """Parse, configure and build with the imported module `trt`, and write the plan to `job.out`.

    Raises:
        Unavailable, UsageFault, BadInput, EnvironmentFault: see `build_plan`.
    """
    _check_request(job, traits)
    log = captured_log(trt, echo_errors_to=sys.stderr)
    try:
        report = _build(job, trt, traits, log)
        # The builder's own objects are gone by now: the plan's weights are on a small board once, not twice.
        return replace(report, inspector=_inspected(job, trt, report.targets, log))
    finally:
        if log_path is not None:
            with disk_faults(log_path):  # tens of megabytes, often more than the plan
                log_path.write_text(log.text(), encoding="utf-8")


def _build(job: BuildJob, trt: Any, traits: ApiTraits, log: CapturedLog) -> BuildReport:
    gpu = None if traits.capability_targets else _present_gpu()
    builder = _builder(trt, traits, log)
    network = builder.create_network(_network_flags(trt, traits))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(job.onnx_path)):
        reasons = _parser_errors(parser, traits, log)
        raise BadInput(
            f"{traits.package} {trt.__version__} cannot read {job.onnx_path.name}: {reasons}",
            needed=f"a graph of the export profile {traits.profile!r} with operators that it supports",
        )
    config = builder.create_builder_config()
    _configure(job, trt, traits, config)
    fp32_layers = _hold_to_fp32(job, trt, traits, network, config)
    _set_profile(job, builder, network, config)
    notes = []
    bound_to = f"{traits.package} {trt.__version__} on {gpu.model if gpu else 'any GPU'}"
    if job.timing_cache is not None:
        notes += _load_timing_cache(job.timing_cache, bound_to, traits, config)
    started = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - started
    if plan is None:
        raise _refusal(job, traits, log)
    with disk_faults(job.out):
        job.out.write_bytes(plan)
    if job.timing_cache is not None and traits.timing_cache:
        notes += _save_timing_cache(job.timing_cache, bound_to, config)
    return BuildReport(
        seconds=round(seconds, 3),
        bytes=job.out.stat().st_size,
        package=traits.package,
        version=str(trt.__version__),
        profile=traits.profile,
        targets=job.compute_capabilities if gpu is None else (gpu.capability,),
        censuses=parse_census(log.text()),
        warnings=(*notes, *log.warnings()[:_WARNINGS_KEPT]),
        gpu="" if gpu is None else gpu.model,
        fp32_layers=fp32_layers,
    )


def _check_request(job: BuildJob, traits: ApiTraits) -> None:
    if traits.capability_targets and not job.compute_capabilities:
        raise UsageFault(f"no compute capability to build for was named to {traits.package}", needed="one such as 8.6")
    if job.compute_capabilities and not traits.capability_targets:
        raise UsageFault(
            f"{traits.package} was asked to build for {', '.join(job.compute_capabilities)}",
            needed="no target: it builds for the GPU of this machine",
            do="Leave the compute capabilities out, or build with tensorrt_rtx",
        )
    version = f"{traits.package} {traits.since[0]}.{traits.since[1]}"
    if traits.precision_flags and job.precision in (Precision.BF16, Precision.FP8):
        raise UsageFault(f"{job.precision.name} was asked of {version}", needed="FP32, FP16 or INT8 there")
    if job.optimization_level is not None and not traits.optimization_level:
        raise UsageFault(
            f"the optimization level {job.optimization_level} was asked of {version}", needed="none: it has no levels"
        )


def _present_gpu() -> _Gpu:
    reason = cuda_memory.unavailable()
    if reason is not None:
        raise Unavailable(f"tensorrt builds for the GPU present, and {reason}", do="Build there, or use tensorrt_rtx")
    return _Gpu(cuda_memory.compute_capability(), cuda_memory.gpu_model())


def _builder(trt: Any, traits: ApiTraits, log: CapturedLog) -> Any:
    try:
        builder = trt.Builder(log)
    except (TypeError, RuntimeError) as error:  # pybind11 words a null builder as a TypeError
        raise Unavailable(f"{traits.package} cannot make a builder here: {log.errors() or error}") from error
    if builder is None:
        raise Unavailable(f"{traits.package} cannot make a builder here: {log.errors()}")
    return builder


def _network_flags(trt: Any, traits: ApiTraits) -> int:
    flags = 0
    if traits.explicit_batch:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if traits.strongly_typed:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def _configure(job: BuildJob, trt: Any, traits: ApiTraits, config: Any) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the listing has no types
    bounds = [mib for mib in (job.workspace_mib, job.memory_limit_mib) if mib is not None]
    if bounds:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, min(bounds) << 20)
    if job.memory_limit_mib is not None and traits.tactic_memory:
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, job.memory_limit_mib << 20)
    if job.optimization_level is not None:
        config.builder_optimization_level = job.optimization_level
    if job.precision is Precision.FP32:
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and it rounds FP32 products to 10 bits
    if traits.precision_flags:
        if job.precision in (Precision.FP16, Precision.INT8):
            config.set_flag(trt.BuilderFlag.FP16)
        if job.precision is Precision.INT8:
            config.set_flag(trt.BuilderFlag.INT8)
    if traits.tactics_off:
        off = sum(1 << int(getattr(trt.TacticSource, name)) for name in traits.tactics_off)
        config.set_tactic_sources(config.get_tactic_sources() & ~off)
    if traits.capability_targets:
        config.num_compute_capabilities = len(job.compute_capabilities)
        for index, capability in enumerate(job.compute_capabilities):
            if not config.set_compute_capability(_capability(trt, traits, capability), index):
                raise UsageFault(f"{traits.package} {trt.__version__} refuses compute capability {capability}")


def _hold_to_fp32(job: BuildJob, trt: Any, traits: ApiTraits, network: Any, config: Any) -> int:
    """Hold the layers of nodes that are marked to FP32, where flags would allow less; how many there are.

    The sum of squares inside a decomposed LayerNorm leaves FP16's range; so does the norm of a cosine attention at the
    other end. (8.6 computes the LayerNormalization operator in FP32 by itself.)
    """
    if not traits.precision_flags or job.precision is Precision.FP32:
        return 0
    count = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(place) for place in range(layer.num_outputs)]
        # Shapes and indices beside it have no float type to be held to.
        if FP32_MARK not in layer.name or any(tensor.dtype != trt.DataType.FLOAT for tensor in outputs):
            continue
        layer.precision = trt.DataType.FLOAT
        for place in range(layer.num_outputs):
            layer.set_output_type(place, trt.DataType.FLOAT)
        count += 1
    if count:
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        config.clear_flag(trt.BuilderFlag.TF32)  # a product that must be in FP32 is not to be rounded either
    return count


def _load_timing_cache(path: Path, bound_to: str, traits: ApiTraits, config: Any) -> list[str]:
    """Give the builder the times in `path`; sentences about what was not used."""
    if not traits.timing_cache:
        return [f"{traits.package} times no kernels: the timing cache {path} was not used."]
    content, ignored = read_timing_cache(path, bound_to)
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        ignored = f"the timing cache {path} was ignored: {traits.package} does not take it"
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return [] if ignored is None else [ignored]


def _save_timing_cache(path: Path, bound_to: str, config: Any) -> list[str]:
    """Write the times that the builder has now; a sentence when that was not possible."""
    cache = config.get_timing_cache()
    content = None if cache is None else cache.serialize()
    if content is None:
        return [f"the timing cache {path} was not written: the builder gave none"]
    try:
        write_timing_cache(path, bound_to, bytes(content))
    except EnvironmentFault as error:  # the plan is worth more than the times
        return [str(error)]
    return []


def _inspected(job: BuildJob, trt: Any, targets: tuple[str, ...], log: CapturedLog) -> str | None:
    """What the engine says of its layers, if a GPU here can load the plan."""
    if cuda_memory.unavailable() is not None or cuda_memory.compute_capability() not in targets:
        return None
    engine = trt.Runtime(log).deserialize_cuda_engine(job.out.read_bytes())
    if engine is None:
        return None  # its reason is in the log, and whoever opens the plan is told
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def _capability(trt: Any, traits: ApiTraits, capability: str) -> Any:
    member = getattr(trt.ComputeCapability, "SM" + capability.replace(".", ""), None)
    if member is None:
        names = (name[2:] for name in trt.ComputeCapability.__members__ if name.startswith("SM"))
        raise UsageFault(
            f"{traits.package} {trt.__version__} does not build for compute capability {capability}",
            needed="one of " + ", ".join(f"{name[:-1]}.{name[-1]}" for name in names),
        )
    return member


def _set_profile(job: BuildJob, builder: Any, network: Any, config: Any) -> None:
    profile, dynamic = builder.create_optimization_profile(), False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(int(size) for size in tensor.shape)
        if any(size < 0 for size in shape[1:]):
            raise BadInput(
                f"input {tensor.name!r} of {job.onnx_path.name} has shape {shape}",
                needed="a graph whose only dynamic axis is the batch",
                do="Export again with a fixed image size",
            )
        if shape[:1] == (-1,):
            dynamic = True
            # min, opt, max, each [B, ...]
            profile.set_shape(tensor.name, *((batch, *shape[1:]) for batch in job.batch.sizes()))
        elif shape and set(job.batch.sizes()) != {shape[0]}:
            raise BadInput(
                f"input {tensor.name!r} of {job.onnx_path.name} has the fixed batch {shape[0]}",
                needed=f"a dynamic batch, since batches {job.batch.minimum} to {job.batch.maximum} were asked for",
                do=f"Export with a dynamic batch, or ask for --batch {shape[0]},{shape[0]},{shape[0]}",
            )
    if dynamic and config.add_optimization_profile(profile) < 0:
        raise BadInput(f"the batch profile {job.batch.sizes()} does not fit the inputs of {job.onnx_path.name}")


def _parser_errors(parser: Any, traits: ApiTraits, log: CapturedLog) -> str:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        operator, name = (error.node_operator(), error.node_name()) if traits.node_names else ("", "")
        place = f"node {error.node()}" + (f" ({operator} {name})".replace(" )", ")") if operator or name else "")
        found.append(f"{place}: {' '.join(str(error.desc()).split())}")
    return "; ".join(found) or log.errors() or "it gave no reason"


def _refusal(job: BuildJob, traits: ApiTraits, log: CapturedLog) -> ExplainedError:
    reason = log.errors() or "it gave no reason"
    skipped = any(words in said.lower() for said in log.warnings() for words in _NO_ROOM)
    if (skipped and _NO_KERNEL in reason.lower()) or tells_of_exhausted_memory(reason):
        return EnvironmentFault(
            f"{traits.package} ran out of memory while it built {job.onnx_path.name}: {reason}",
            needed="more free memory than this machine has now" + _bounds(job),
            do=MEMORY_ADVICE,
        )
    turing = "7.5" in job.compute_capabilities
    return BadInput(
        f"{traits.package} could not build {job.onnx_path.name}"
        + (f" for {', '.join(job.compute_capabilities)}" if job.compute_capabilities else "")
        + f": {reason}",
        needed="FP16 matrix products for compute capability 7.5, in some versions" if turing else "",
        do="Build an FP16 graph, or leave 7.5 out" if turing else "",
    )


def _bounds(job: BuildJob) -> str:
    asked = [("workspace", job.workspace_mib), ("memory limit", job.memory_limit_mib)]
    named = [f"{what} {mib} MiB" for what, mib in asked if mib is not None]
    return f" (asked for: {', '.join(named)})" if named else ""


def main(arguments: list[str]) -> int:
    """Run the job in `arguments[0]` and write the answer to `arguments[1]`, both JSON."""
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    job = BuildJob.from_json(request["job"])
    log_path = None if request.get("log_path") is None else Path(request["log_path"])
    try:
        trt, traits = import_flavor(job.flavor)
        answer: dict[str, Any] = {"report": build(job, trt, traits, log_path=log_path).to_json()}
    except ExplainedError as error:
        parts = {"kind": type(error).__name__, "seen": error.seen, "needed": error.needed, "do": error.do}
        answer = {"error": parts}
    whole, half = Path(arguments[1]), Path(arguments[1] + ".partial")
    half.write_text(json.dumps(answer), encoding="utf-8")
    half.replace(whole)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
