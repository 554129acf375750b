"""The stage that builds an ONNX graph into a TensorRT or TensorRT-RTX plan."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.device import cuda_memory
from swin_deploy.device.build_in_child import build_plan
from swin_deploy.device.build_job import BatchProfile, BuildReport
from swin_deploy.device.engine_listing import listing_of
from swin_deploy.device.kernel_census import KernelCensus, parse_inspector
from swin_deploy.device.plan_sidecar import sidecar_of
from swin_deploy.device.precision_audit import summary
from swin_deploy.device.tensorrt_versions import FLAVORS, import_flavor, package_unavailable
from swin_deploy.errors import Unavailable, UsageFault
from swin_deploy.stages.base import Produced
from swin_deploy.versions import installed

if TYPE_CHECKING:
    from swin_deploy.onnx_graph.asked_products import AskedProducts

__all__ = ["Build"]


@dataclass(frozen=True)
class Build:
    """ONNX to plan.

    The side-car that a plan is checked against when it is loaded is in `Produced.sidecar`: `run` writes to a temporary
    name, so whoever gives the plan its final name writes the side-car to `plan_sidecar.sidecar_path` of it.

    Attributes:
        flavor: `tensorrt_rtx`, which needs no GPU to build, or `tensorrt`, which builds for the GPU present.
        precision: Of the ONNX graph, and so of the plan.
        profile: Export profile of the ONNX graph: `strong`, whose types are the precision, or `trt86` or `trt85`,
            whose tensors are FP32 and whose precision is asked for with builder flags.
        batch: Smallest, usual and largest batch.
        compute_capabilities: Targets of `tensorrt_rtx`; left empty for `tensorrt`.
        workspace_mib: Bound on the scratch memory that kernels may use.
        time_limit_s: The builder is stopped after that many seconds.
    """

    flavor: str
    precision: Precision
    batch: tuple[int, int, int] = (1, 8, 32)
    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    time_limit_s: float = 1800.0
    profile: str = "strong"

    def __post_init__(self) -> None:
        if self.flavor not in FLAVORS:
            raise UsageFault(f"the flavor {self.flavor!r} is unknown", needed=" or ".join(FLAVORS))
        if self.flavor == "tensorrt_rtx" and not self.compute_capabilities:
            raise UsageFault("tensorrt_rtx was given no compute capability", needed="targets such as --sm 8.6,8.9,12.0")
        if self.flavor == "tensorrt" and self.compute_capabilities:
            raise UsageFault("tensorrt was given compute capabilities", needed="none: it builds for the GPU present")
        if self.time_limit_s <= 0:
            raise UsageFault(f"a time limit of {self.time_limit_s} s was asked for", needed="more than 0")
        BatchProfile(*self.batch)

    @property
    def name(self) -> str:
        """The stage's kind."""
        return "build"

    @property
    def accepts(self) -> frozenset[tuple[Format, Precision]]:
        """ONNX of the same precision; of the profiles for TensorRT 8, FP32 with or without Q/DQ."""
        if self.profile != "strong":
            return frozenset({(Format.ONNX, Precision.INT8 if self.precision is Precision.INT8 else Precision.FP32)})
        return frozenset({(Format.ONNX, self.precision)})

    @property
    def produces(self) -> tuple[Format, Precision]:
        """The flavor's plan."""
        return (Format.RTX_PLAN if self.flavor == "tensorrt_rtx" else Format.TENSORRT_PLAN), self.precision

    @property
    def suffix(self) -> str:
        """The plan's ending; the flavor shows in it, since neither loads the other's."""
        return ".rtx.plan" if self.flavor == "tensorrt_rtx" else ".plan"

    def tools(self) -> Mapping[str, str]:
        """The builder's version, if it is here, and for `tensorrt` the GPU that the plan is bound to."""
        found = installed()
        try:
            module, _ = import_flavor(self.flavor)
        except Unavailable:
            return found
        found[self.flavor] = str(module.__version__)
        if self.flavor == "tensorrt" and cuda_memory.unavailable() is None:
            found["gpu"] = f"{cuda_memory.device_name()} ({cuda_memory.compute_capability()})"
        return found

    def unavailable(self) -> str | None:
        """Why it cannot build here."""
        reason = package_unavailable(self.flavor)
        if reason is None and self.flavor == "tensorrt" and (no_gpu := cuda_memory.unavailable()) is not None:
            return f"tensorrt builds for the GPU present, and {no_gpu}"
        return reason

    def run(self, parent: Artifact, out: Path) -> Produced:
        """Build `parent` into `out`.

        Raises:
            ExplainedError: see `build_plan`.
        """
        with tempfile.TemporaryDirectory(prefix="swin-deploy-log-") as folder:
            log = Path(folder, "builder.log")
            report = build_plan(
                parent.path,
                out,
                flavor=self.flavor,
                precision=self.precision,
                shapes=BatchProfile(*self.batch),
                compute_capabilities=self.compute_capabilities,
                workspace_mib=self.workspace_mib,
                time_limit_s=self.time_limit_s,
                log_path=log,
            )
            listing = listing_of(log.read_text(encoding="utf-8", errors="replace"))
        censuses = report.census_by_target()
        if report.inspector is not None:
            # TensorRT 8's log shows a fused region as one layer, and never what a layer reads of constants.
            listing = report.inspector
            censuses = dict.fromkeys(report.targets, parse_inspector(report.inspector))
        sidecar = sidecar_of(report, batch=BatchProfile(*self.batch), onnx=parent.path, plan=out)
        asked = self._asked(parent.path)
        return Produced(
            facts={
                "seconds": report.seconds,
                "bytes": report.bytes,
                "package": report.package,
                "version": report.version,
                "export_profile": report.profile,
                "targets": list(report.targets),
                "kernels": {target: census.facts() for target, census in censuses.items()},
                "asked": {**asked.facts(), "strongly_typed": self.profile == "strong"},
                "builder_warnings": list(report.warnings),
            },
            notes=_notes(report, censuses, asked),
            sidecar=sidecar.facts(),
            listing=listing,
        )

    def _asked(self, graph: Path) -> AskedProducts:
        """What the audit holds the engine to."""
        import onnx

        from swin_deploy.onnx_graph.asked_products import asked_products

        model = onnx.load(graph, load_external_data=False)
        return asked_products(model, self.precision, by_flags=self.profile != "strong")


def _notes(report: BuildReport, censuses: Mapping[str, KernelCensus], asked: AskedProducts) -> tuple[str, ...]:
    notes = []
    if not censuses:
        notes.append(f"{report.package} printed no layer listing that fits the targets: kernels were not counted.")
    elif len(set(map(str, censuses.values()))) == 1 and len(report.targets) > 1:
        notes.append("The builder printed one layer listing, which holds for all targets.")
    for line in dict.fromkeys(summary(census, asked.attentions) for census in censuses.values()):
        notes.append(f"The engine: {line}.")
    if any(census.opaque for census in censuses.values()):
        notes.append("The layer listing hides the kernels of fused regions: every count is a lower bound.")
    return tuple(notes)
