"""The build itself: one code path for TensorRT for RTX, 10, 11 and 8.6, run as a child of `build_in_child`.

By hand: `python -m swin_deploy.device.tensorrt_build JOB.json ANSWER.json`. It needs nothing but the
TensorRT package: no NumPy, torch or onnx, so that it also runs on a board that has only TensorRT.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.atomic import disk_faults
from swin_deploy.device import cuda_memory
from swin_deploy.device.build_job import BuildJob, BuildReport
from swin_deploy.device.kernel_census import parse_census
from swin_deploy.device.tensorrt_log import CapturedLog, captured_log
from swin_deploy.device.tensorrt_versions import ApiTraits, import_flavor
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError, Unavailable, UsageFault

__all__ = ["build", "main"]

_WARNINGS_KEPT = 10
# How TensorRT's log words an exhausted memory: its error code, and the two exceptions beneath it.
_MEMORY_WORDS = ("outofmemory", "out of memory", "bad_alloc")


def build(job: BuildJob, trt: Any, traits: ApiTraits, *, log_path: Path | None = None) -> BuildReport:
    """Parse, configure and build with the imported module `trt`, and write the plan to `job.out`.

    Raises:
        Unavailable, UsageFault, BadInput, EnvironmentFault: see `build_plan`.
    """
    _check_request(job, traits)
    log = captured_log(trt, echo_errors_to=sys.stderr)
    try:
        return _build(job, trt, traits, log)
    finally:
        if log_path is not None:
            log_path.write_text(log.text(), encoding="utf-8")


def _build(job: BuildJob, trt: Any, traits: ApiTraits, log: CapturedLog) -> BuildReport:
    targets = job.compute_capabilities or _present_gpu()
    builder = _builder(trt, traits, log)
    network = builder.create_network(_network_flags(trt, traits))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(job.onnx_path)):
        raise BadInput(
            f"{traits.package} {trt.__version__} cannot read {job.onnx_path.name}: {_parser_errors(parser, log)}",
            needed=f"a graph of the export profile {traits.profile!r} with operators that it supports",
        )
    config = builder.create_builder_config()
    _configure(job, trt, traits, config)
    _set_profile(job, builder, network, config)
    started = time.monotonic()
    plan = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - started
    if plan is None:
        raise _refusal(job, traits, log)
    with disk_faults(job.out):
        job.out.write_bytes(plan)
    return BuildReport(
        seconds=round(seconds, 3),
        bytes=job.out.stat().st_size,
        package=traits.package,
        version=str(trt.__version__),
        profile=traits.profile,
        targets=targets,
        censuses=parse_census(log.text()),
        warnings=log.warnings()[:_WARNINGS_KEPT],
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
    if traits.precision_flags and job.precision is Precision.BF16:
        raise UsageFault(
            f"BF16 was asked of {traits.package} {traits.since[0]}.{traits.since[1]}", needed="FP32, FP16 or INT8 there"
        )


def _present_gpu() -> tuple[str, ...]:
    reason = cuda_memory.unavailable()
    if reason is not None:
        raise Unavailable(f"tensorrt builds for the GPU present, and {reason}", do="Build there, or use tensorrt_rtx")
    return (cuda_memory.compute_capability(),)


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
    if job.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_mib << 20)
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


def _parser_errors(parser: Any, log: CapturedLog) -> str:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        # 8.6 knows the node's number only; its name and operator came with TensorRT 10.
        operator = error.node_operator() if hasattr(error, "node_operator") else ""
        name = error.node_name() if hasattr(error, "node_name") else ""
        place = f"node {error.node()}" + (f" ({operator} {name})".replace(" )", ")") if operator or name else "")
        found.append(f"{place}: {' '.join(str(error.desc()).split())}")
    return "; ".join(found) or log.errors() or "it gave no reason"


def _refusal(job: BuildJob, traits: ApiTraits, log: CapturedLog) -> ExplainedError:
    reason = log.errors() or "it gave no reason"
    if any(word in reason.lower() for word in _MEMORY_WORDS):
        return EnvironmentFault(
            f"{traits.package} ran out of memory while it built {job.onnx_path.name}: {reason}",
            do="Close other programs or lower the largest batch",
        )
    turing = "7.5" in job.compute_capabilities
    return BadInput(
        f"{traits.package} could not build {job.onnx_path.name}"
        + (f" for {', '.join(job.compute_capabilities)}" if job.compute_capabilities else "")
        + f": {reason}",
        needed="FP16 matrix products for compute capability 7.5, in some versions" if turing else "",
        do="Build an FP16 graph, or leave 7.5 out" if turing else "",
    )


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
