"""What a build is asked for and what it answers, as JSON between the process that asks and the child that builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.device.kernel_census import KernelCensus
from swin_deploy.errors import UsageFault

__all__ = ["BatchProfile", "BuildJob", "BuildReport"]


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
