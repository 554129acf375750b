"""What a build is asked for and what it answers, as JSON between the process that asks and the child that builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.device.kernel_census import KernelCensus
from swin_deploy.errors import UsageFault

__all__ = ["MEMORY_ADVICE", "BatchProfile", "BuildJob", "BuildReport"]

MEMORY_ADVICE = (
    "Close other programs (on a board the desktop too), or lower the largest batch, the memory limit, the workspace or"
    " the optimization level"
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
        precision: What the graph asks for: it decides TF32, and the builder flags of TensorRT 8.
        batch: The optimization profile.
        compute_capabilities: Targets such as `"8.6"`, for `tensorrt_rtx` only.
        workspace_mib: Bound on the scratch memory that the engine's kernels may use, or `None` for the tool's own.
        timing_cache: File of kernel times to start from and to add to; made when missing. Ignored, with a warning,
            by a package that times nothing.
        memory_limit_mib: Bound on what the builder may take while it tries kernels, for small boards; also bounds the
            scratch memory. Versions that cannot bound the trials have the second bound alone.
        optimization_level: How long the builder looks, 0 (first kernel that works) to 5; `None` for the tool's own, 3.
    """

    onnx_path: Path
    out: Path
    flavor: str
    precision: Precision
    batch: BatchProfile
    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    memory_limit_mib: int | None = None
    optimization_level: int | None = None

    def __post_init__(self) -> None:
        for capability in self.compute_capabilities:
            major, dot, minor = capability.partition(".")
            if not (dot and major.isdecimal() and minor.isdecimal()):
                raise UsageFault(f"the compute capability {capability!r} cannot be read", needed="one such as 8.6")
        if len(set(self.compute_capabilities)) != len(self.compute_capabilities):
            raise UsageFault(f"a compute capability is named twice in {', '.join(self.compute_capabilities)}")
        for what, mib in (("workspace", self.workspace_mib), ("memory limit", self.memory_limit_mib)):
            if mib is not None and mib < 1:
                raise UsageFault(f"a {what} of {mib} MiB was asked for", needed="at least 1 MiB")
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise UsageFault(f"the optimization level {self.optimization_level} was asked for", needed="0 to 5")

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
            "timing_cache": None if self.timing_cache is None else str(self.timing_cache),
            "memory_limit_mib": self.memory_limit_mib,
            "optimization_level": self.optimization_level,
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
            timing_cache=None if values["timing_cache"] is None else Path(values["timing_cache"]),
            memory_limit_mib=values["memory_limit_mib"],
            optimization_level=values["optimization_level"],
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
        gpu: The GPU that `tensorrt` built for, as `cuda_memory.gpu_model` names it; empty from `tensorrt_rtx`.
        fp32_layers: Layers held to FP32 by `FP32_MARK`; always 0 where the graph's own types decide.
        inspector: What the engine's inspector says of it, JSON text; `None` where no GPU could load the plan.
    """

    seconds: float
    bytes: int
    package: str
    version: str
    profile: str
    targets: tuple[str, ...]
    censuses: tuple[KernelCensus, ...] = ()
    warnings: tuple[str, ...] = ()
    gpu: str = ""
    fp32_layers: int = 0
    inspector: str | None = None

    def census_by_target(self) -> dict[str, KernelCensus]:
        """The census that holds for each target; empty when the log had none, or cannot be told apart."""
        if len(self.censuses) == 1:
            return dict.fromkeys(self.targets, self.censuses[0])
        if len(self.censuses) == len(self.targets):
            return dict(zip(self.targets, self.censuses))
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
