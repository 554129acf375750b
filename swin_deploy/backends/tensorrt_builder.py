"""Build a TensorRT or TensorRT-RTX plan from ONNX in a child process.

The builder is a large native library: it can crash, grow without bound or run for hours, and none of that may take
the pipeline with it. So `build_plan` writes a JSON job, starts a fresh interpreter on `tensorrt_build_worker`, waits
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swin_deploy import errors
from swin_deploy.artifact import Precision
from swin_deploy.backends.kernel_census import KernelCensus
from swin_deploy.errors import BadInput, EnvironmentFault, ExplainedError, UsageFault

__all__ = ["BatchProfile", "BuildJob", "BuildReport", "build_plan"]

# `-c` and not `-m`: the child must find this very package, installed or not, so it takes the parent's search path.
_START = (
    "import json, runpy, sys; sys.path[:] = json.load(open(sys.argv[1], encoding='utf-8'))['search_path']; "
    "runpy.run_module('swin_deploy.backends.tensorrt_build_worker', run_name='__main__')"
)


@dataclass(frozen=True)
class BatchProfile:
    """The batches one plan serves.

    Attributes:
        minimum: Smallest batch accepted.
        optimum: The batch that the kernels are chosen for.
        maximum: Largest batch accepted; it sets the activation memory.
    """

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise UsageFault(
                f"the batch profile {self.minimum},{self.optimum},{self.maximum} is not ordered",
                needed="1 <= min <= opt <= max, such as 1,8,32",
            )

    def sizes(self) -> tuple[int, int, int]:
        """Minimum, optimum, maximum."""
        return self.minimum, self.optimum, self.maximum


@dataclass(frozen=True)
class BuildJob:
    """Everything the child needs, JSON-ready.

    Attributes:
        onnx_path: The graph; external data is found beside it.
        out: Where the plan is written.
        flavor: `tensorrt_rtx` or `tensorrt`.
        precision: What the graph asks for: it decides TF32, and the builder flags of TensorRT 8.6.
        batch: The optimization profile.
        compute_capabilities: Targets such as `"8.6"`, for `tensorrt_rtx` only.
        workspace_mib: Bound on scratch memory, or `None` for the tool's own.
    """

    onnx_path: Path
    out: Path
    flavor: str
    precision: Precision
    batch: BatchProfile
    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None

    def __post_init__(self) -> None:
        for capability in self.compute_capabilities:
            major, dot, minor = capability.partition(".")
            if not (dot and major.isdecimal() and minor.isdecimal()):
                raise UsageFault(f"the compute capability {capability!r} cannot be read", needed="one such as 8.6")
        if len(set(self.compute_capabilities)) != len(self.compute_capabilities):
            raise UsageFault(f"a compute capability is named twice in {', '.join(self.compute_capabilities)}")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageFault(f"a workspace of {self.workspace_mib} MiB was asked for", needed="at least 1 MiB")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "onnx_path": str(self.onnx_path),
            "out": str(self.out),
            "flavor": self.flavor,
            "precision": self.precision.value,
            "batch": list(self.batch.sizes()),
            "compute_capabilities": list(self.compute_capabilities),
            "workspace_mib": self.workspace_mib,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BuildJob:
        """Read `to_json` back."""
        return cls(
            onnx_path=Path(values["onnx_path"]),
            out=Path(values["out"]),
            flavor=values["flavor"],
            precision=Precision(values["precision"]),
            batch=BatchProfile(*values["batch"]),
            compute_capabilities=tuple(values["compute_capabilities"]),
            workspace_mib=values["workspace_mib"],
        )


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        seconds: Time inside the builder, parsing excluded.
        bytes: Size of the plan.
        package: The module that built it.
        version: Its version.
        profile: The export profile that this version reads.
        targets: Compute capabilities of the plan.
        censuses: One census for each engine listing of the log; one for all targets is usual, none is possible.
        warnings: The builder's and parser's first warnings, each once.
    """

    seconds: float
    bytes: int
    package: str
    version: str
    profile: str
    targets: tuple[str, ...]
    censuses: tuple[KernelCensus, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def census_by_target(self) -> dict[str, KernelCensus]:
        """The census that holds for each target; empty when the log had none, or cannot be told apart."""
        if len(self.censuses) == 1:
            return dict.fromkeys(self.targets, self.censuses[0])
        if len(self.censuses) == len(self.targets):
            return dict(zip(self.targets, self.censuses, strict=True))
        return {}

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BuildReport:
        """Read `to_json` back."""
        return cls(
            **{
                **values,
                "targets": tuple(values["targets"]),
                "censuses": tuple(KernelCensus(**census) for census in values["censuses"]),
                "warnings": tuple(values["warnings"]),
            }
        )


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

    Raises:
        Unavailable: the package, or for `tensorrt` a GPU, is missing.
        UsageFault: a target that the package does not know.
        BadInput: the parser or the builder refuses the graph.
        EnvironmentFault: out of time, out of memory, killed, or crashed.
    """
    job = BuildJob(onnx_path, out, flavor, precision, shapes, compute_capabilities, workspace_mib)
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
        with stderr_path.open("wb") as stderr:
            try:
                status = subprocess.run(
                    [sys.executable, "-c", _START, str(job_path), str(answer_path)],
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
                    do="Name fewer compute capabilities, or build when the machine is less busy",
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
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
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
        do="Close other programs or lower the largest batch",
    )


def _rebuilt(values: Mapping[str, str]) -> ExplainedError:
    kind = getattr(errors, values["kind"])
    assert issubclass(kind, ExplainedError)
    error: ExplainedError = kind(values["seen"], needed=values["needed"], do=values["do"])
    return error
