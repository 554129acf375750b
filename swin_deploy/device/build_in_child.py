"""Build a TensorRT or TensorRT-RTX plan from ONNX in a child process.

The builder is a large native library: it can crash, grow without bound or run for hours, and none of that may take
the pipeline with it. So `build_plan` writes a JSON job, starts a fresh interpreter on `tensorrt_build`, waits
at most `time_limit_s` and reads the JSON answer. A child that was killed, crashed or ran too long is an
`EnvironmentFault`; a graph that the parser or the builder refuses is a `BadInput` with their own words.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from swin_deploy import errors
from swin_deploy.artifact import Precision
from swin_deploy.device.build_job import MEMORY_ADVICE, BatchProfile, BuildJob, BuildReport
from swin_deploy.device.child_process import signal_name, start_code
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError

__all__ = ["build_plan"]

_START = start_code("swin_deploy.device.tensorrt_build")


def build_plan(
    onnx_path: Path,
    out: Path,
    *,
    flavor: str,
    precision: Precision,
    shapes: BatchProfile,
    compute_capabilities: tuple[str, ...] = (),
    workspace_mib: int | None = None,
    time_limit_s: float = 1800.0,
    log_path: Path | None = None,
    timing_cache: Path | None = None,
    memory_limit_mib: int | None = None,
    optimization_level: int | None = None,
) -> BuildReport:
    """Build `onnx_path` into the plan `out`, in a child process.

    Args:
        onnx_path: The graph, of the export profile that the installed version reads.
        out: Where the plan is written; removed again when the build fails.
        flavor: `tensorrt_rtx` or `tensorrt`.
        precision: What the graph asks for.
        shapes: Smallest, usual and largest batch.
        compute_capabilities: Targets of `tensorrt_rtx`; `tensorrt` builds for the GPU present.
        workspace_mib: Bound on scratch memory.
        time_limit_s: The child is killed after that many seconds.
        log_path: Where to keep the builder's verbose log, if anywhere.
        timing_cache: See `BuildJob`.
        memory_limit_mib: See `BuildJob`.
        optimization_level: See `BuildJob`.

    Raises:
        Unavailable: the package, or for `tensorrt` a GPU, is missing.
        UsageFault: a target or an option that the package, or its version, does not know.
        BadInput: the parser or the builder refuses the graph.
        EnvironmentFault: out of time, out of memory, killed, or crashed.
    """
    job = BuildJob(
        onnx_path,
        out,
        flavor,
        precision,
        shapes,
        compute_capabilities,
        workspace_mib,
        timing_cache,
        memory_limit_mib,
        optimization_level,
    )
    if not onnx_path.is_file():
        raise BadInput(f"{onnx_path} does not exist", needed="an ONNX file")
    try:
        return _run_child(job, time_limit_s, log_path)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _run_child(job: BuildJob, time_limit_s: float, log_path: Path | None) -> BuildReport:
    with tempfile.TemporaryDirectory(prefix="swin-deploy-build-") as folder:
        job_path, answer_path, stderr_path = (Path(folder, name) for name in ("job.json", "answer.json", "stderr"))
        request = {
            "search_path": sys.path,
            "job": job.to_json(),
            "log_path": None if log_path is None else str(log_path),
        }
        job_path.write_text(json.dumps(request), encoding="utf-8")
        unwritten = ["-B"] if sys.dont_write_bytecode else []  # a bundle's code is checked file by file
        with stderr_path.open("wb") as stderr:
            try:
                status = subprocess.run(
                    [sys.executable, *unwritten, "-c", _START, str(job_path), str(answer_path)],
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    timeout=time_limit_s,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                raise EnvironmentFault(
                    f"{job.flavor} took more than {time_limit_s:g} s for {job.onnx_path.name} and was stopped",
                    needed="a build within the time limit",
                    do="Name fewer compute capabilities, lower the optimization level, or build on an idle machine",
                ) from None
        said = stderr_path.read_text(encoding="utf-8", errors="replace").strip()
        # The answer is renamed into place, so it is whole: a crash after it, while native objects die at exit, is moot.
        if not answer_path.is_file():
            if status < 0:
                raise _killed(job, -status, said)
            if "MemoryError" in said:
                raise _out_of_memory(job, "MemoryError")
            # The child catches every error a user can cause: what is left is a bug of ours, and keeps its traceback.
            raise RuntimeError(f"the build process ended with status {status} and no answer:\n{said[-4000:]}")
        answer = json.loads(answer_path.read_text(encoding="utf-8"))
    if "error" in answer:
        raise _rebuilt(answer["error"])
    return BuildReport.from_json(answer["report"])


def _killed(job: BuildJob, number: int, said: str) -> EnvironmentFault:
    name = signal_name(number)
    last = " ".join(said.splitlines()[-3:])
    if number == signal.SIGKILL:
        return _out_of_memory(job, "the build process was killed (SIGKILL)")
    return EnvironmentFault(
        f"{job.flavor} crashed with {name} while it built {job.onnx_path.name}" + (f": {last}" if last else ""),
        do="This is the builder's own fault: try another version of it, or a simpler graph",
    )


def _out_of_memory(job: BuildJob, seen: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{seen} while {job.flavor} built {job.onnx_path.name}",
        needed="enough memory for the builder",
        do=MEMORY_ADVICE,
    )


def _rebuilt(values: Mapping[str, str]) -> ExplainedError:
    kind = getattr(errors, values["kind"])
    assert issubclass(kind, ExplainedError)
    error: ExplainedError = kind(values["seen"], needed=values["needed"], do=values["do"])
    return error
