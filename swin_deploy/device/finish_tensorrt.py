"""Make a bundle's engines with TensorRT or TensorRT for RTX: build or take back, prove, and only then give the name.

A plan that nothing was proved of has a name that ends in `.unproven`, one that failed a gate in `.rejected`; so what
stands under the final name has passed on this machine.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.atomic import disk_faults, write_bytes, write_text
from swin_deploy.device import cuda_memory
from swin_deploy.device.build_in_child import build_plan
from swin_deploy.device.build_job import BatchProfile, BuildReport
from swin_deploy.device.build_memory import estimated, free_memory_mib, require_memory
from swin_deploy.device.bundle_file import Bundle, BundleEngine
from swin_deploy.device.closeness import Closeness, Judgement, Verdict
from swin_deploy.device.engine_listing import listing_of, listing_path
from swin_deploy.device.finish_tool import Made
from swin_deploy.device.kernel_census import parse_inspector
from swin_deploy.device.plan_check import check_machine
from swin_deploy.device.plan_sidecar import read_sidecar, sidecar_of, sidecar_path
from swin_deploy.device.precision_audit import audited
from swin_deploy.device.tensorrt_session import open_plan
from swin_deploy.device.tensorrt_versions import import_flavor
from swin_deploy.device.triton_plan import place_plan, remove_plan
from swin_deploy.errors import BadInput, ExplainedError, Unavailable, UsageFault

__all__ = ["TensorRTTool"]

_UNPROVEN, _REJECTED = ".unproven", ".rejected"


@dataclass(frozen=True)
class TensorRTTool:
    """The package that builds and runs the plans; see `FinishTool`.

    Attributes:
        bundle: What is finished.
        folder: The unpacked bundle.
        out: Where plans are written.
        flavor: `tensorrt` or `tensorrt_rtx`.
        targets: Compute capabilities for `tensorrt_rtx`; empty for the GPU present.
        workspace_mib: Bound on scratch memory, or `None`.
        memory_limit_mib: Bound on what kernels are tried in, or `None`.
    """

    bundle: Bundle
    folder: Path
    out: Path
    flavor: str
    targets: tuple[str, ...] = ()
    workspace_mib: int | None = None
    memory_limit_mib: int | None = None

    def __post_init__(self) -> None:
        """Refuse what this machine cannot build at all.

        Raises:
            Unavailable: the package is missing, or there is no GPU to build for.
            UsageFault: targets were given to a package that takes none.
        """
        _, traits = import_flavor(self.flavor)
        if self.targets and not traits.capability_targets:
            raise UsageFault(f"--sm with {self.flavor}", needed="no --sm: it builds for the GPU of this machine")
        reason = cuda_memory.unavailable()
        if reason is not None and not self.targets:
            do = "Name GPUs to build for with --sm" if traits.capability_targets else "Run this on the device"
            raise Unavailable(f"{self.flavor} has no GPU to build for: {reason}", do=do)
        if not self.targets:
            check_machine(self.flavor)

    @property
    def backend(self) -> str:
        """See `FinishTool.backend`."""
        return self.flavor

    @property
    def facts(self) -> Mapping[str, str]:
        """See `FinishTool.facts`."""
        trt, traits = import_flavor(self.flavor)
        return {"package": self.flavor, "version": str(trt.__version__), "profile": traits.profile}

    def engines(self) -> tuple[BundleEngine, ...]:
        """See `FinishTool.engines`."""
        trt, traits = import_flavor(self.flavor)
        found = tuple(engine for engine in self.bundle.engines if engine.profile == traits.profile)
        if not found:
            held = ", ".join(dict.fromkeys(engine.profile for engine in self.bundle.engines))
            raise BadInput(
                f"{self.flavor} {trt.__version__} reads the profile {traits.profile}, and this bundle holds {held}",
                needed="a bundle for this version",
                do=f"Pack it with swin-deploy bundle --tensorrt {traits.since[0]}.{traits.since[1]}",
            )
        return found

    def gate(self, engine: BundleEngine) -> Closeness:
        """See `FinishTool.gate`."""
        return engine.engine_gate

    def not_executable(self, engine: BundleEngine) -> str | None:
        """See `FinishTool.not_executable`."""
        try:
            check_machine(self.flavor)
            capability = cuda_memory.compute_capability()
        except ExplainedError as error:
            return str(error)
        if capability not in self._targets:
            return f"the GPU here has compute capability {capability}, and the plan is for {', '.join(self._targets)}"
        return None

    @property
    def _targets(self) -> tuple[str, ...]:
        return self.targets or (cuda_memory.compute_capability(),)

    def make(self, engine: BundleEngine) -> Made:
        """See `FinishTool.make`; what an earlier call built from the same graph, tool and limits is taken back."""
        if engine.triton is not None:
            remove_plan(self.folder / engine.triton)
        final = self._final(engine)
        plan = final.with_name(final.name + _UNPROVEN)
        with disk_faults(final):
            self.out.mkdir(parents=True, exist_ok=True)
            for standing in (final, final.with_name(final.name + _REJECTED)):
                if standing.is_file():
                    _rename(standing, plan)
        record = self._built_before(engine, plan)
        reused = record is not None
        if record is None:
            record = self._build(engine, plan)
        report = BuildReport.from_json(record["report"])
        facts = {key: value for key, value in record["report"].items() if key not in ("censuses", "inspector")}
        return Made(plan, {**facts, **record["asked"], "reused": reused}, *self._audit(engine, report))

    def _asked(self, engine: BundleEngine) -> dict[str, Any]:
        """All that a plan depends on: one built for the same is not built again."""
        _, traits = import_flavor(self.flavor)
        return {
            **self.facts,
            "onnx_sha256": self.bundle.files[engine.onnx].sha256,
            "precision": engine.precision.value,
            "batches": list(self.bundle.batches),
            "targets": list(self._targets),
            "gpu": "" if traits.capability_targets else cuda_memory.gpu_model(),
            "workspace_mib": self.workspace_mib,
            "memory_limit_mib": self.memory_limit_mib,
        }

    def _built_before(self, engine: BundleEngine, plan: Path) -> Mapping[str, Any] | None:
        try:
            record: Mapping[str, Any] = json.loads(self._record(engine).read_text(encoding="utf-8"))
            sidecar = read_sidecar(plan, check_hash=True)
            BuildReport.from_json(record["report"])
            fits = record["asked"] == self._asked(engine) and isinstance(record["plan_sha256"], str)
        except (OSError, ValueError, KeyError, TypeError, BadInput):
            return None  # then it is built again
        # Two precisions may share a graph, and then only the plan itself says which of them it is.
        return record if fits and sidecar.plan_sha256 == record["plan_sha256"] else None

    def _build(self, engine: BundleEngine, plan: Path) -> Mapping[str, Any]:
        source = self.folder / engine.onnx
        needed = estimated(
            self.flavor,
            source.stat().st_size,
            engine.activation_mib,
            workspace_mib=self.workspace_mib,
            memory_limit_mib=self.memory_limit_mib,
        )
        require_memory(needed, free_memory_mib(), engine.name)
        log, batch = self.out / f"{engine.name}.build.log", BatchProfile(*self.bundle.batches)
        report = build_plan(
            source,
            plan,
            flavor=self.flavor,
            precision=engine.precision,
            shapes=batch,
            compute_capabilities=self.targets or (self._targets if self.flavor == "tensorrt_rtx" else ()),
            workspace_mib=self.workspace_mib,
            memory_limit_mib=self.memory_limit_mib,
            time_limit_s=self.bundle.limits.build_seconds,
            log_path=log,
            timing_cache=self.out / f"{self.flavor}.timing-cache" if self.flavor == "tensorrt" else None,
        )
        sidecar = sidecar_of(report, batch=batch, onnx=source, plan=plan)
        write_text(sidecar_path(plan), json.dumps(sidecar.facts(), indent=1) + "\n")
        # The log has a line for each kernel that was tried; what tells of the engine is kept, and all of it on failure.
        layers = listing_of(log.read_text(encoding="utf-8", errors="replace"))
        if layers:
            write_bytes(listing_path(self._final(engine)), gzip.compress(layers.encode("utf-8")))
        log.unlink()
        record = {"asked": self._asked(engine), "plan_sha256": sidecar.plan_sha256, "report": report.to_json()}
        write_text(self._record(engine), json.dumps(record, indent=1) + "\n")
        return json.loads(self._record(engine).read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def _audit(
        self, engine: BundleEngine, report: BuildReport
    ) -> tuple[tuple[Judgement, ...], Mapping[str, Any] | None]:
        """What the layers say: checks, and the figures."""
        _, traits = import_flavor(self.flavor)
        censuses = report.censuses
        if report.inspector:
            # The log of TensorRT 8 hides fused regions; what the finished engine says of itself shows more.
            told = parse_inspector(report.inspector)
            censuses = (told,) if told.by_type else censuses
        if not censuses:
            seen = "no layer listing was printed: whether the precision is what was asked for cannot be seen"
            return (Judgement("audit", Verdict.INFO, seen),), None
        checks = [
            Judgement(f"audit: {check.check}", Verdict(check.verdict), check.detail)
            for census in censuses  # one for each GPU that was built for; usually they say the same
            for check in audited(census, engine.precision, strongly_typed=traits.strongly_typed, **engine.asked)
        ]
        return tuple(dict.fromkeys(checks)), censuses[0].facts()

    def open(self, made: Made, engine: BundleEngine) -> Any:
        """See `FinishTool.open`."""
        return open_plan(made.path, flavor=self.flavor)

    def name(self, made: Made, engine: BundleEngine, verdict: Verdict) -> Path:
        """See `FinishTool.name`."""
        final = self._final(engine)
        if verdict is Verdict.SKIPPED:
            return made.path
        place = final.with_name(final.name + _REJECTED) if verdict is Verdict.FAIL else final
        with disk_faults(place):
            _rename(made.path, place)
        if engine.triton is not None and verdict is not Verdict.FAIL:
            place_plan(place, self.folder / engine.triton)
        return place

    def finished(self, engine: BundleEngine) -> Made:
        """See `FinishTool.finished`."""
        final = self._final(engine)
        if not final.is_file():
            raise BadInput(f"{final} does not exist", needed="a finished engine", do="Run runner.py finish first")
        if read_sidecar(final, check_hash=False).onnx_sha256 != self.bundle.files[engine.onnx].sha256:
            raise BadInput(
                f"{final} was built from another graph than {engine.onnx}",
                needed="an engine of this bundle",
                do="Run runner.py finish first",
            )
        return Made(final)

    def _final(self, engine: BundleEngine) -> Path:
        return self.out / (engine.name + (".rtx.plan" if self.flavor == "tensorrt_rtx" else ".plan"))

    def _record(self, engine: BundleEngine) -> Path:
        return self.out / f"{self._final(engine).name}.build.json"


def _rename(source: Path, place: Path) -> None:
    """Rename a plan and its side-car; the side-car first, so that no plan stands under `place` without one."""
    if sidecar_path(source).is_file():
        sidecar_path(source).replace(sidecar_path(place))
    source.replace(place)
