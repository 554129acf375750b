"""Write the graph that a search found, judge that file at every batch, and say how a run is built with it."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calib.precision_plan import PrecisionPlan
from swin_deploy.artifact import Format
from swin_deploy.atomic import file_sha256, replacing, write_text
from swin_deploy.bisect.mixture_judge import MixtureJudge, save
from swin_deploy.bisect.result import BisectResult, Verified
from swin_deploy.bisect.subject import Subject
from swin_deploy.bisect.trial import Trial
from swin_deploy.fingerprint import key_of
from swin_deploy.manifest import Manifest, Row, StepRecord, read_manifest, write_manifest
from swin_deploy.onnx_graph.profiles import LOWERED
from swin_deploy.parity.gates import Verdict
from swin_deploy.parity.measure import Measurement
from swin_deploy.versions import installed

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["write_mixture"]

_NO_PLAN = "linears-and-attention"  # a placement that `build` takes no precision plan with


def write_mixture(result: BisectResult, folder: Path, manifest: Manifest, judge: MixtureJudge) -> BisectResult:
    """Write the graph with the found blocks raised, judge the file, and name it in the run's manifest.

    Args:
        result: With a set of at least one block.
        folder: The run's folder.
        manifest: The run's.
        judge: Of the search.

    Returns:
        `result` with the final run, the plan and the command. A file that does not pass ends in `.rejected`.
    """
    from swin_deploy.onnx_graph.names import set_metadata
    from swin_deploy.onnx_graph.quantization_audit import require_as_written

    subject, raised = judge.subject, result.found.blocks
    assert raised, "nothing to write"
    model = subject.toggle.raised(raised)
    set_metadata(model, precision=subject.precision.value, raised=json.dumps({"to": subject.high, "blocks": raised}))
    require_as_written(model)
    final = folder / f"{subject.stem}.bisected.onnx"
    rejected = final.with_name(final.name + ".rejected")
    for before in (final, rejected, folder / _plan_name(subject)):
        before.unlink(missing_ok=True)
    with replacing(final) as temporary:
        save(model, temporary)
    measurement, seconds = judge.measured(final)
    trial = Trial.of(measurement.oracle)
    met = result.need.met(trial)
    if not met:
        final = final.replace(rejected)
    verified = Verified(trial, met, final.name, file_sha256(final))
    result = replace(result, verified=verified)
    if met:
        plan = _plan(folder, manifest, subject, model, raised)
        result = replace(result, plan_file=plan, rebuild=_rebuild(folder, manifest, subject, plan, raised))
    _record(folder, subject, result, measurement, seconds, final)
    return result


def _plan_name(subject: Subject) -> str:
    return f"{subject.stem}.bisected.plan"


def _plan(folder: Path, manifest: Manifest, subject: Subject, model: ModelProto, raised: tuple[str, ...]) -> str:
    """The linears that are still quantized, as a precision plan; its name, or nothing where there is none to write."""
    stated = next((entry.value for entry in model.metadata_props if entry.key == "swin_deploy.quantization"), "")
    if not subject.precision.quantized or not stated:
        return ""
    from swin_deploy.onnx_graph.placement import POLICIES, placed

    grid = subject.precision.value
    names = [linear.module for linear in placed(subject.toggle.model, POLICIES[manifest.recipe["placement"]])]
    left = json.loads(stated)["linears"]
    if not left or not set(left) <= set(names):
        return ""
    text = PrecisionPlan.quantizing(names, left, grid).to_text()
    path = folder / _plan_name(subject)
    write_text(path, f"# {grid} but for the blocks {', '.join(raised)}, as swin-deploy bisect found\n{text}")
    return path.name


def _rebuild(folder: Path, manifest: Manifest, subject: Subject, plan: str, raised: tuple[str, ...]) -> str:
    """The command that makes a run with the plan, or with the blocks of an FP16 or BF16 chain in FP32."""
    recipe = folder / "recipe.toml"
    if not recipe.is_file():
        return ""
    words = ["swin-deploy", "build", "--recipe", str(recipe)]
    if not subject.precision.quantized:
        if any(profile in LOWERED for profile in manifest.recipe.get("profile", ())):
            words += ["--profile", "strong"]  # the others have no blocks in FP32
        return shlex.join([*words, "--fp32-blocks", ",".join(raised), "--out", f"{folder}.bisected"])
    if not plan or manifest.recipe["placement"] == _NO_PLAN:
        return ""
    words += ["--precision-plan", str(folder / plan)]
    calibration = folder / f"{subject.precision.value}.calibration.npz"
    both = manifest.recipe.get("int8") and manifest.recipe.get("fp8")
    if calibration.is_file() and not both:
        words += ["--calibration", str(calibration)]
    return shlex.join([*words, "--out", f"{folder}.bisected"])


def _record(
    folder: Path, subject: Subject, result: BisectResult, measurement: Measurement, seconds: float, final: Path
) -> None:
    """Tell the manifest of the file, so that `validate` and `bench` know it; the run's own verdict stays as it is."""
    verified = result.verified
    assert verified is not None
    row = Row(
        "bisected",
        result.backend,
        None,
        Verdict.INFO if verified.met else Verdict.FAIL,
        measurement=measurement.to_json(),
        seconds=seconds,
    )
    manifest = read_manifest(folder)  # afresh: trials may have taken hours
    parent = manifest.step(subject.parent)
    record = StepRecord(
        artifact=f"{subject.name}-bisected",
        stage="bisect",
        parent=subject.parent,
        config={"raised": list(result.found.blocks or ()), "to": subject.high},
        tools=installed("onnx", "onnxruntime", "numpy"),
        key=key_of(parent.sha256 if parent else "", list(result.found.blocks or ())),
        file=final.name,
        format=Format.ONNX.value,
        precision=subject.precision.value,
        sha256=verified.sha256,
        bytes=final.stat().st_size,
        facts={"bisect": result.to_json()},
        notes=(result.verdict,),
        rows=(row,),
    )
    others = tuple(step for step in manifest.steps if step.artifact != record.artifact)
    write_manifest(replace(manifest, steps=(*others, record)), folder)
