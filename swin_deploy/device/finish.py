"""Finish a bundle on the machine that will run it: check, build, prove on the engine, measure, report.

Needs Python 3.8, NumPy and TensorRT (the last not for kernel programs). `main` is what `runner.py` of a bundle calls,
and the only part that prints.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import swin_deploy
from swin_deploy.artifact import Precision
from swin_deploy.atomic import disk_faults
from swin_deploy.device import cuda_memory
from swin_deploy.device.bundle_file import Bundle, read_bundle
from swin_deploy.device.closeness import Verdict, worst
from swin_deploy.device.engine_timing import TimedEngine, time_engines
from swin_deploy.device.finish_kernels import KernelTool
from swin_deploy.device.finish_onnxruntime import OnnxRuntimeTool
from swin_deploy.device.finish_report import markdown, write_report
from swin_deploy.device.finish_result import EngineResult, FinishResult, conclude
from swin_deploy.device.finish_tensorrt import TensorRTTool
from swin_deploy.device.fixture_replay import Fixtures, read_fixtures, replay
from swin_deploy.device.telemetry.board import board_name, jetson_linux
from swin_deploy.errors import ExplainedError, Unavailable, UsageFault

if TYPE_CHECKING:
    from swin_deploy.device.finish_tool import FinishTool, Made

    Say = Callable[[str], None]

__all__ = ["BACKENDS", "FOLDER", "FinishOptions", "bench", "finish", "main"]

BACKENDS = ("auto", "tensorrt", "tensorrt_rtx", "kernels", "onnxruntime")
FOLDER = "finished"
# Backends whose report must not stand in the place of the engines' own.
_APART = ("kernels", "onnxruntime")
_DOING = {"kernels": "trying", "onnxruntime": "opening"}
_INTERRUPTED = 130


@dataclass(frozen=True)
class FinishOptions:
    """What `finish` was asked for.

    Attributes:
        precisions: Finish these engines only; empty for all.
        backend: One of `BACKENDS`.
        workspace_mib: In place of the bundle's own limit.
        memory_limit_mib: Likewise.
        bench: Time the engines.
        sm: Compute capabilities for `tensorrt_rtx`; empty for the GPU present.
        require_engine: Whether an engine that was not executed is a failure.
    """

    precisions: tuple[str, ...] = ()
    backend: str = "auto"
    workspace_mib: int | None = None
    memory_limit_mib: int | None = None
    bench: bool = True
    sm: tuple[str, ...] = ()
    require_engine: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.backend not in BACKENDS:
            raise UsageFault(f"--backend {self.backend}", needed="one of " + ", ".join(BACKENDS))
        known = [precision.value for precision in Precision]
        unknown = [name for name in self.precisions if name not in known]
        if unknown:
            raise UsageFault(f"--precision {unknown[0]}", needed="one of " + ", ".join(known))


@dataclass(frozen=True)
class _Job:
    """An engine with what makes it.

    Attributes:
        tool: What makes and runs it.
        engine: One of the tool's.
        beside: Whether the tool is one beside that which was asked for, whose failing must not keep others from theirs.
    """

    tool: FinishTool[Any]
    engine: Any
    beside: bool

    @property
    def name(self) -> str:
        """The engine's."""
        return str(self.engine.name)


def finish(folder: Path, options: FinishOptions, say: Say) -> FinishResult:
    """Finish an unpacked bundle into its folder `finished`.

    One engine that cannot be made does not keep the others from being finished; what is done is written after each.

    Args:
        folder: The bundle.
        options: What was asked for.
        say: Told of progress, a sentence at a time.

    Raises:
        BadInput: the bundle is damaged, or holds nothing for the TensorRT that is here.
        Unavailable: no TensorRT, or no GPU to build for.
        UsageFault: an option that this bundle or backend does not know.
    """
    started = time.perf_counter()
    bundle, fixtures = _opened(folder, say)
    tool = _tool(bundle, folder, options)
    out = _report_folder(folder, tool)
    with disk_faults(out):
        for stale in out.glob("*.times.json"):
            stale.unlink()
    say(f"{tool.facts['package']} {tool.facts['version']}, Python {platform.python_version()}, NumPy {np.__version__}")
    result = FinishResult(bundle, _device(), tool.facts, require_engine=options.require_engine)
    write_report(result, out)  # at once: what an earlier call concluded holds no longer
    made: dict[str, Made] = {}
    jobs = _chosen(tool, bundle, folder, options.precisions)
    for job in jobs:
        say(f"{job.name}: {_DOING.get(job.tool.backend, 'building')}")
        entry = _finished(job, fixtures, bundle.batches, made)
        say(f"{job.name}: {entry.verdict.value}{_because(entry)}")
        result = replace(result, engines=(*result.engines, entry), seconds=time.perf_counter() - started)
        write_report(result, out)
    if options.bench:
        result = _timed(result, jobs, fixtures, made, say)
    result = replace(result, seconds=time.perf_counter() - started, complete=True)
    write_report(result, out)
    say(f"written: {out}/finish.md, finish.json" + (" and the engines" if any(e.file for e in result.engines) else ""))
    return result


def _opened(folder: Path, say: Say) -> tuple[Bundle, Fixtures]:
    bundle = read_bundle(folder)
    size = bundle.check_files(folder)
    say(f"{bundle.name} for {bundle.target}: {len(bundle.files)} files, {size / 2**20:.1f} MiB, hashes as packed")
    return bundle, read_fixtures(folder, bundle)


def _tool(bundle: Bundle, folder: Path, options: FinishOptions) -> FinishTool[Any]:
    if options.backend == "onnxruntime":
        return OnnxRuntimeTool(bundle, folder)
    if options.backend == "kernels":
        return KernelTool(bundle, folder, folder / FOLDER)
    if options.backend != "auto":
        return _tensorrt(bundle, folder, options, options.backend)
    reasons = []
    for package in bundle.packages:
        try:
            return _tensorrt(bundle, folder, options, package)
        except Unavailable as error:
            reasons.append(str(error).rstrip("."))
    ways = ["Install it", "prove the bundle on the CPU with --backend onnxruntime"]
    if bundle.programs:
        ways.insert(1, "run its kernels alone with --backend kernels")
    raise Unavailable(
        "; ".join(reasons),
        needed=f"{' or '.join(bundle.packages)}, and a GPU",
        do=", or ".join(ways),
    )


def _tensorrt(bundle: Bundle, folder: Path, options: FinishOptions, package: str) -> TensorRTTool:
    limits = bundle.limits
    return TensorRTTool(
        bundle,
        folder,
        folder / FOLDER,
        package,
        options.sm,
        options.workspace_mib or limits.workspace_mib,
        options.memory_limit_mib or limits.memory_limit_mib,
    )


def _report_folder(folder: Path, tool: FinishTool[Any]) -> Path:
    return folder / FOLDER / tool.backend if tool.backend in _APART else folder / FOLDER


def _chosen(tool: FinishTool[Any], bundle: Bundle, folder: Path, precisions: tuple[str, ...]) -> tuple[_Job, ...]:
    """The tool's engines, and behind TensorRT's the kernel programs: a fault of theirs comes last."""
    jobs = [_Job(tool, engine, beside=False) for engine in tool.engines()]
    if tool.backend not in _APART and bundle.programs:
        kernels = KernelTool(bundle, folder, folder / FOLDER)
        jobs += [_Job(kernels, program, beside=True) for program in kernels.engines()]
    # Not the kernels': a call for a type that only they have would require nothing.
    held = {job.engine.precision.value for job in jobs if not job.beside}
    missing = [name for name in precisions if name not in held]
    if missing:
        raise UsageFault(
            f"--precision {missing[0]}",
            needed="a precision that the bundle holds for this TensorRT: " + ", ".join(sorted(held)),
        )
    return tuple(job for job in jobs if not precisions or job.engine.precision.value in precisions)


def _finished(job: _Job, fixtures: Fixtures, batches: tuple[int, int, int], kept: dict[str, Made]) -> EngineResult:
    """Make one engine, replay the fixtures on it, and give it the name it earned."""
    tool, engine = job.tool, job.engine
    entry = EngineResult(engine, Verdict.FAIL, beside=job.beside)
    try:
        made = tool.make(engine)
        entry = replace(entry, judgements=made.checks, build=made.build, audit=made.audit)
        reason = tool.not_executable(engine)
        if reason is not None:
            verdict = Verdict.FAIL if worst(made.checks) is Verdict.FAIL else Verdict.SKIPPED
            return replace(entry, verdict=verdict, file=_file(tool.name(made, engine, verdict)), reason=reason)
        with tool.open(made, engine) as session:
            seen = replay(session.infer, fixtures, batches, tool.gate(engine))
    except ExplainedError as error:
        if job.beside and isinstance(error, Unavailable):  # say, a driver that is too old for the compiled kernels
            return replace(entry, verdict=Verdict.SKIPPED, reason=str(error))
        return replace(entry, error=error)
    judgements = (*seen.judgements, *made.checks)
    verdict = worst(judgements)
    path = tool.name(made, engine, verdict)
    if path is not None:
        kept[job.name] = replace(made, path=path)
    return replace(entry, verdict=verdict, file=_file(path), judgements=judgements, replay=seen)


def _file(path: Path | None) -> str | None:
    return None if path is None else path.name


def _because(entry: EngineResult) -> str:
    if entry.error is not None:
        return f", {entry.error}"
    told = [f"{check.check} {check.detail}" for check in entry.judgements if check.verdict is Verdict.FAIL]
    ratio = [f"{check.detail}" for check in entry.judgements if check.check == "sqnr"]
    return "".join(f", {text}" for text in (told or ratio)) + (
        f", not executed: {entry.reason}" if entry.reason else ""
    )


def _timed(
    result: FinishResult, jobs: tuple[_Job, ...], fixtures: Fixtures, made: dict[str, Made], say: Say
) -> FinishResult:
    """Time what passed."""
    failed = {entry.engine.name for entry in result.engines if entry.verdict is Verdict.FAIL}
    sound = [job for job in jobs if job.name in made and job.name not in failed]
    if not sound:
        return result
    say("timing " + ", ".join(job.name for job in sound))
    timed = []
    with ExitStack() as stack:
        for job in sound:
            try:
                session = stack.enter_context(job.tool.open(made[job.name], job.engine))
                if job.beside:  # what a first call takes, it takes here, where that costs the others nothing
                    for size in sorted(set(result.bundle.batches)):
                        session.infer(np.ascontiguousarray(fixtures.images[:size]))
            except ExplainedError as error:
                if not job.beside:  # it may only be the memory, which the others have first
                    raise
                say(f"{job.name}: not timed, {error}")
                continue
            timed.append(TimedEngine(job.name, job.engine.precision.value, job.tool.backend, session))
        found = time_engines(tuple(timed), fixtures.images, result.bundle.batches)
    engines = tuple(replace(entry, timing=found.get(entry.engine.name)) for entry in result.engines)
    return replace(result, engines=engines)


def bench(folder: Path, options: FinishOptions, say: Say) -> FinishResult:
    """Time engines that an earlier call finished, again; nothing is built, proven or renamed.

    Raises:
        BadInput: the bundle is damaged, or an engine is missing, damaged, or of another TensorRT.
        Unavailable: no TensorRT, no GPU, or another one than the engines were built for.
        UsageFault: an option that this bundle or backend does not know.
    """
    started = time.perf_counter()
    bundle, fixtures = _opened(folder, say)
    tool = _tool(bundle, folder, options)
    jobs = _chosen(tool, bundle, folder, options.precisions)
    made: dict[str, Made] = {}
    entries = tuple(_finished_before(job, made) for job in jobs)
    result = _timed(FinishResult(bundle, _device(), tool.facts, entries), jobs, fixtures, made, say)
    result = replace(result, seconds=time.perf_counter() - started, complete=True)
    write_report(result, _report_folder(folder, tool), "bench")
    return result


def _finished_before(job: _Job, kept: dict[str, Made]) -> EngineResult:
    try:
        found = kept[job.name] = job.tool.finished(job.engine)
    except ExplainedError as error:
        if not job.beside:
            raise
        return EngineResult(job.engine, Verdict.SKIPPED, reason=str(error), beside=True)
    return EngineResult(job.engine, Verdict.INFO, found.path.name, beside=job.beside)


def _device() -> dict[str, Any]:
    """The machine, by what a reader knows it by."""
    root = Path("/")
    gpu = None if cuda_memory.unavailable() is not None else cuda_memory.device_name()
    return {
        "name": board_name(root) or gpu or f"{platform.machine()} with no GPU",
        "system": f"{platform.system()} {platform.machine()}",
        "jetson_linux": jetson_linux(root),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "gpu": gpu,
        "compute_capability": None if gpu is None else cuda_memory.compute_capability(),
    }


def main(arguments: Sequence[str], folder: Path) -> int:
    """The command line of `runner.py`.

    Args:
        arguments: Without the program's name.
        folder: The unpacked bundle.

    Returns:
        The exit status: 0 fine, 2 usage, 3 something is unavailable, 4 a gate failed, 5 unusable input, 6 the
        environment, 130 interrupted.
    """
    asked = _parser().parse_args(list(arguments))

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        if asked.command == "check":
            _opened(folder, say)
            return 0
        options = FinishOptions(
            precisions=tuple(filter(None, (asked.precision or "").split(","))),
            backend=asked.backend,
            workspace_mib=getattr(asked, "workspace", None),
            memory_limit_mib=getattr(asked, "memory_limit", None),
            bench=not getattr(asked, "no_bench", False),
            sm=tuple(filter(None, (getattr(asked, "sm", None) or "").split(","))),
            require_engine=getattr(asked, "require", None) == "engine",
        )
        result = (finish if asked.command == "finish" else bench)(folder, options, say)
    except ExplainedError as error:
        say(f"Error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted. What was finished stands in the folder finished; the same command goes on from there.")
        return _INTERRUPTED
    except MemoryError:
        say("Error: memory ran out. Needed: more free memory. Close other programs and try again.")
        return 6
    except OSError as error:
        say(f"Error: the system refused: {error}. Needed: free disk space, and files and folders that can be used.")
        return 6
    print(json.dumps(result.facts(), indent=1) if asked.json else markdown(result))
    status, _ = conclude(result)
    assert status is not None, "a call that ends is complete"
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runner.py", description="Finish this bundle on this machine: check, build, prove, measure."
    )
    parser.add_argument("--version", action="version", version=f"swin-deploy {swin_deploy.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="finish|check|bench")
    commands.required = True
    commands.add_parser("check", help="compare every file with its hash, and nothing else")
    command = commands.add_parser("finish", help="build the engines, prove them on the fixtures, time them")
    again = commands.add_parser("bench", help="time finished engines again")
    for both in (command, again):
        both.add_argument("--precision", metavar="fp16,int8", help="these engines only")
        both.add_argument("--backend", choices=BACKENDS, default="auto", help="what builds and runs (default: auto)")
        both.add_argument("--json", action="store_true", help="print JSON instead of the report")
    command.add_argument("--workspace", type=_mebibytes, metavar="MIB", help="scratch memory of the kernels")
    command.add_argument("--memory-limit", type=_mebibytes, metavar="MIB", help="memory for trying kernels")
    command.add_argument("--no-bench", action="store_true", help="do not time the engines")
    command.add_argument("--sm", metavar="8.6,8.9", help="GPUs that tensorrt_rtx builds for, where none is here")
    command.add_argument("--require", choices=("engine",), help="status 3 where an engine was not executed")
    return parser


def _mebibytes(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number
