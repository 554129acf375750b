"""The side-car of a plan: what it was built with and for, checked before the plan is loaded.

Trust boundary: deserialising a plan runs native code out of it, and no check of ours makes a stranger's plan safe.
The side-car's hash catches a plan that was damaged or swapped by mistake; whoever can write the plan can write the
side-car. Open only plans that you or someone you trust built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swin_deploy.atomic import file_sha256
from swin_deploy.device.build_job import BatchProfile, BuildReport
from swin_deploy.errors import BadInput

__all__ = ["SCHEMA", "PlanSidecar", "read_sidecar", "sidecar_of", "sidecar_path"]

SCHEMA = 1


@dataclass(frozen=True)
class PlanSidecar:
    """What must hold where a plan is loaded.

    Attributes:
        package: `tensorrt_rtx` or `tensorrt`; a plan of one does not load in the other.
        version: The package's version at the build; a plan loads in that version only.
        targets: Compute capabilities it runs on, e.g. `("8.6", "8.9")`.
        batch: Smallest, usual and largest batch of its optimization profile.
        onnx_sha256: Hash of the graph it was built from.
        plan_sha256: Hash of the plan itself.
        gpu: The GPU model that it was built on, where it is bound to that; empty otherwise.
    """

    package: str
    version: str
    targets: tuple[str, ...]
    batch: tuple[int, int, int]
    onnx_sha256: str
    plan_sha256: str
    gpu: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON, with the schema's number."""
        return {"schema": SCHEMA, **asdict(self), "targets": list(self.targets), "batch": list(self.batch)}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], *, source: str) -> PlanSidecar:
        """Read `facts` back; `source` names them in errors.

        Raises:
            BadInput: another schema, or a field is missing or of another type.
        """
        needed = "the file that the build wrote beside the plan"
        if facts.get("schema") != SCHEMA:
            raise BadInput(f"{source} has schema {facts.get('schema')!r}", needed=f"schema {SCHEMA}", do="Build again")
        try:
            low, usual, high = (int(size) for size in facts["batch"])
            texts = {key: facts[key] for key in ("package", "version", "onnx_sha256", "plan_sha256")}
            texts["gpu"] = facts.get("gpu", "")  # written since plans are bound to a model and not to its family
            targets = tuple(facts["targets"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{source} lacks or garbles {error}", needed=needed, do="Build again") from error
        if not all(isinstance(text, str) for text in (*texts.values(), *targets)):
            raise BadInput(f"{source} holds fields of the wrong type", needed=needed, do="Build again")
        return cls(**texts, targets=targets, batch=(low, usual, high))


def sidecar_of(report: BuildReport, *, batch: BatchProfile, onnx: Path, plan: Path) -> PlanSidecar:
    """The side-car of the `plan` that was built from `onnx`, for these batches, as `report` tells.

    Reads both files for their hashes. Write its `facts` as JSON to `sidecar_path` of the plan's final name.
    """
    return PlanSidecar(
        package=report.package,
        version=report.version,
        targets=report.targets,
        batch=batch.sizes(),
        onnx_sha256=file_sha256(onnx),
        plan_sha256=file_sha256(plan),
        gpu=report.gpu,
    )


def sidecar_path(plan: Path) -> Path:
    """Where the side-car of `plan` lies: `x.rtx.plan` has `x.rtx.plan.json`."""
    return plan.with_name(plan.name + ".json")


def read_sidecar(plan: Path, *, check_hash: bool) -> PlanSidecar:
    """The side-car of `plan`.

    Args:
        plan: The plan file.
        check_hash: Also read the whole plan and compare its hash.

    Raises:
        BadInput: the plan or its side-car is missing, damaged, or they do not belong together.
    """
    path = sidecar_path(plan)
    if not plan.is_file():
        raise BadInput(f"{plan} does not exist", needed="a plan that the build wrote")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"the side-car {path} of the plan cannot be read ({error})",
            needed="the JSON file that the build wrote beside the plan",
            do="Keep both files together, or build again",
        ) from error
    if not isinstance(facts, dict):
        raise BadInput(f"{path} is not a JSON object", needed="the file that the build wrote", do="Build again")
    sidecar = PlanSidecar.from_facts(facts, source=str(path))
    if check_hash and (digest := file_sha256(plan)) != sidecar.plan_sha256:
        raise BadInput(
            f"{plan} has SHA-256 {digest[:12]}..., its side-car says {sidecar.plan_sha256[:12]}...",
            needed="the plan that the side-car was written for",
            do="The plan is damaged or was exchanged: build again",
        )
    return sidecar
