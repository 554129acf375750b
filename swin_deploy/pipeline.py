"""Run the steps of a plan: make each artifact, measure it on its backends, judge it, and write everything down.

The pipeline is the only judge. A stage that fails its gate keeps its file under a `.rejected` name, and nothing is
built on it; the other chains go on.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import disk_faults, file_sha256, replacing, write_bytes, write_text
from swin_deploy.backends.onnxruntime import OnnxRuntime
from swin_deploy.checkpoint.sidecar import find_sidecar
from swin_deploy.checkpoint.task import Restoration
from swin_deploy.device.engine_listing import listing_path
from swin_deploy.device.plan_sidecar import sidecar_path
from swin_deploy.engine_audit import all_fused, audit_row, is_engine
from swin_deploy.errors import ExplainedError, Unavailable, UsageFault
from swin_deploy.fingerprint import configuration, key_of
from swin_deploy.manifest import AUDIT, Manifest, Row, StepRecord, read_manifest, write_manifest
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.gates import GATES, Judgement, Verdict, judge, worst
from swin_deploy.parity.measure import Arrays, Measurement, Outputs, compare, run_session
from swin_deploy.parity.stored_outputs import read_outputs, write_outputs
from swin_deploy.parity.truth import write_truth
from swin_deploy.plan import ORACLE, Step, View
from swin_deploy.quantization.measure import VERSION, QuantizationMeasure, measure_quantization
from swin_deploy.recipe import Recipe
from swin_deploy.report.plan_figures import recommendation
from swin_deploy.report.write import report_files
from swin_deploy.stages.base import Produced
from swin_deploy.stages.quantize import BESIDE, LOGS
from swin_deploy.versions import installed, machine

__all__ = ["Listener", "Run", "Silent", "conclude", "judged", "run"]

_OUTPUTS = "outputs"
# Images that a Q/DQ graph's inside is measured on: their tokens are many, and the literal graph is slow. Those of a
# dense task have thousands of tokens each, and its tensors fill memory one image at a time.
_MEASURED_IMAGES, _MEASURED_DENSE, _MEASURED_BATCH = 64, 4, 8
# What each task is measured by, and the check that judges what an artifact costs in it.
_TASK_MEASURES: Mapping[str | None, tuple[str, str]] = MappingProxyType(
    {
        "classifier": ("top-1 accuracy", "top1-drop"),
        "restoration": ("PSNR-Y against pictures", "psnr-y-drop"),
    }
)


class Listener(Protocol):
    """Hears what the pipeline is doing; the command line shows it."""

    def stage_started(self, step: Step) -> None:
        """A stage begins."""

    def view_started(self, step: Step, view: View) -> None:
        """An artifact is about to be run on a backend."""

    def progress(self, done: int, total: int) -> None:
        """Images done, of the images of this view."""

    def step_finished(self, record: StepRecord, reused: bool) -> None:
        """A step is complete; `reused` when an earlier run had made it."""


class Silent:
    """A listener that does not care."""

    def stage_started(self, step: Step) -> None:
        """See `Listener`."""

    def view_started(self, step: Step, view: View) -> None:
        """See `Listener`."""

    def progress(self, done: int, total: int) -> None:
        """See `Listener`."""

    def step_finished(self, record: StepRecord, reused: bool) -> None:
        """See `Listener`."""


@dataclass
class Run:
    """A run in progress.

    Attributes:
        folder: Where everything is written.
        recipe: What was asked for.
        evaluation: The images to judge on.
        listener: Hears of progress.
        manifest: What is known so far.
        earlier: What an earlier run left in the folder, if it is to be resumed.
    """

    folder: Path
    recipe: Recipe
    evaluation: EvaluationSet
    listener: Listener
    manifest: Manifest
    earlier: Manifest | None = None
    _measured: dict[str, Arrays] = field(default_factory=dict)  # outputs of the oracle and of parents to come
    _artifacts: dict[str, Artifact] = field(default_factory=dict)
    _absent: dict[str, str] = field(default_factory=dict)  # artifact to why nothing can be built on it

    def execute(self, plan: tuple[Step, ...], checkpoint: Path) -> Manifest:
        """Run every step and return the finished manifest."""
        started = time.perf_counter()
        self._artifacts["checkpoint"] = Artifact("checkpoint", checkpoint, Format.SOURCE, Precision.FP32)
        self._write(plan)
        for position, step in enumerate(plan):
            record, reused = self._step(step, plan)
            self._forget({ORACLE, *(later.parent for later in plan[position + 1 :])})
            self.manifest = replace(
                self.manifest, steps=(*self.manifest.steps, record), seconds=time.perf_counter() - started
            )
            self._write(plan)
            self.listener.step_finished(record, reused)
        status, verdict = conclude(self.manifest, self.recipe.require)
        advice = recommendation(self.manifest)
        self.manifest = replace(
            self.manifest,
            status=status,
            verdict=verdict,
            recommendation=advice,
            seconds=time.perf_counter() - started,
        )
        write_manifest(self.manifest, self.folder)
        return self.manifest

    def _forget(self, needed: set[str]) -> None:
        """Drop the outputs that nothing will be compared with any more: those of dense tasks are large."""
        for artifact in set(self._measured) - needed:
            del self._measured[artifact]

    def _write(self, plan: tuple[Step, ...], unfinished: StepRecord | None = None) -> None:
        """Write what is known: this run's steps, and of an earlier run those that may still be reused."""
        done = [*self.manifest.steps, *([unfinished] if unfinished else [])]
        names = {record.artifact for record in done}
        planned = {step.artifact for step in plan} - names
        waiting = [step for step in (self.earlier.steps if self.earlier else ()) if step.artifact in planned]
        write_manifest(replace(self.manifest, steps=(*done, *waiting)), self.folder)

    def _step(self, step: Step, plan: tuple[Step, ...]) -> tuple[StepRecord, bool]:
        parent_sha = self._parent_sha(step)
        config, tools = configuration(step.stage), dict(step.stage.tools())
        form, precision = step.stage.produces
        record = StepRecord(
            artifact=step.artifact,
            stage=step.stage.name,
            parent=step.parent,
            config=config,
            tools=tools,
            key=key_of(parent_sha, step.stage.name, config, tools),
            file=None,
            format=form.value,
            precision=precision.value,
        )
        reason = self._absent.get(step.parent) or step.stage.unavailable()
        if reason:
            if not step.optional and step.parent not in self._absent:
                raise Unavailable(f"stage {step.stage.name} cannot run here: {reason}")
            self._absent[step.artifact] = f"its parent {step.artifact} was not made"
            _remove(self.folder / step.file)
            return replace(record, skipped=reason), False
        record, reused = self._make(step, record)
        self._write(plan, record)  # before it is measured, which may be interrupted: no file is without its record
        assert record.file is not None
        artifact = Artifact(step.artifact, self.folder / record.file, form, precision, step.parent)
        rows = []
        for view in step.views:
            row, measured_before = self._view(step, view, artifact, record)
            reused = reused and measured_before
            rows.append(row)
        if is_engine(record):
            rows.append(audit_row(record))
        record = record.with_rows(tuple(rows))
        if record.verdict is Verdict.FAIL:
            self._absent[step.artifact] = f"its parent {step.artifact} failed its gate"
            record = replace(record, file=_set_aside(artifact.path).name)
        else:
            self._artifacts[step.artifact] = artifact
        return record, reused

    def _parent_sha(self, step: Step) -> str:
        made = self.manifest.step(step.parent)
        if made:
            return made.sha256
        # What stands beside the checkpoint is part of it: a V2's window is in no tensor.
        return key_of(self.manifest.checkpoint["sha256"], self.manifest.checkpoint["sidecar_sha256"])

    def _make(self, step: Step, record: StepRecord) -> tuple[StepRecord, bool]:
        """Run the stage, unless an earlier run left the very file."""
        final = self.folder / step.file
        before = self.earlier.step(step.artifact) if self.earlier else None
        # An engine that was built before audits were is built again: what its graph asked for was not written down.
        told = before is not None and (not is_engine(record) or record.stage != "build" or "asked" in before.facts)
        if before and before.key == record.key and before.file and told:
            # A rejected file is judged again: a gate's margin may have changed, and the file has not.
            _take_back(self.folder / before.file, final)
            if final.is_file() and file_sha256(final) == before.sha256:
                return replace(before.with_rows(()), file=step.file), True
        self.listener.stage_started(step)
        _remove(final)
        parent = self._artifacts[step.parent]
        assert (parent.format, parent.precision) in step.stage.accepts, f"{step.artifact} cannot read {parent.name}"
        started = time.perf_counter()
        produced: Produced
        with replacing(final) as temporary:
            produced = step.stage.run(parent, temporary)
        if produced.sidecar is not None:
            write_text(sidecar_path(final), json.dumps(produced.sidecar, indent=1) + "\n")
        if produced.listing:
            # A megabyte of text for a large network, and a twentieth of that compressed; the same bytes each time.
            write_bytes(listing_path(final), gzip.compress(produced.listing.encode("utf-8"), mtime=0))
        return (
            replace(
                record,
                file=step.file,
                sha256=file_sha256(final),
                bytes=final.stat().st_size,
                seconds=time.perf_counter() - started,
                facts=produced.facts,
                notes=produced.notes,
            ),
            False,
        )

    def _view(self, step: Step, view: View, artifact: Artifact, record: StepRecord) -> tuple[Row, bool]:
        gate = view.gate.value if view.gate else None
        row = Row(view.label, view.backend.name, gate, Verdict.SKIPPED)
        reason = view.backend.unavailable(artifact)
        if reason:
            return replace(row, reason=reason), True
        key = key_of(
            record.sha256,
            configuration(view.backend),
            view.backend.name,
            installed(
                "torch", "onnxruntime", "numpy", "tensorrt", "tensorrt-rtx", "torch-tensorrt", "torch-tensorrt-rtx"
            ),
            self.manifest.machine["gpu"],
            self.evaluation.fingerprint,
            self.recipe.batch,
            view.limit,
        )
        row = replace(row, key=key)
        slot = f"{step.artifact}.{view.label}".replace(" ", "-").replace("/", "")
        outputs, reused = self._outputs(step, view, artifact, key, slot)
        self._measured.setdefault(step.artifact, outputs.whole)
        measurement = compare(outputs, self._measured[ORACLE], self._measured.get(step.parent), self.evaluation)
        restoration = isinstance(self.evaluation.task, Restoration)
        margin = self.recipe.max_psnr_drop if restoration else self.recipe.max_drop
        quantization = self._quantization(step, view, artifact, key)
        row = judged(row, view, measurement, outputs.seconds, margin, quantization)
        refused = record.facts.get("refused")
        if refused and view.gate is not None:
            # The stage found that nothing it can make is what was asked for; the file shows how far off it is.
            check = Judgement("search", Verdict.FAIL, str(refused))
            row = replace(row, verdict=Verdict.FAIL, judgements=(*row.judgements, check.to_json()))
        return replace(row, outputs=f"{_OUTPUTS}/{slot}.npz"), reused

    def _quantization(self, step: Step, view: View, artifact: Artifact, key: str) -> QuantizationMeasure | None:
        """What lies inside a Q/DQ graph that was made of a float one, or the figures that an earlier run left."""
        parent = self._artifacts[step.parent]
        literal = isinstance(view.backend, OnnxRuntime) and view.backend.literal
        from_float = parent.format is Format.ONNX and parent.precision is Precision.FP32
        if not (artifact.precision.quantized and view.gate and literal and from_float):
            return None
        old = self._earlier_row(step, view)
        if old and old.key == key and old.quantization and old.quantization["version"] == VERSION:
            return QuantizationMeasure.from_json(old.quantization)
        dense = self.evaluation.dense
        size = 1 if dense else min(self.recipe.batch[2], _MEASURED_BATCH)
        batches = list(self.evaluation.batches(size, _MEASURED_DENSE if dense else _MEASURED_IMAGES))
        return measure_quantization(artifact.path, parent.path, batches, representative=not self.evaluation.synthetic)

    def _earlier_row(self, step: Step, view: View) -> Row | None:
        before = self.earlier.step(step.artifact) if self.earlier else None
        return next((row for row in before.rows if row.label == view.label), None) if before else None

    def _outputs(self, step: Step, view: View, artifact: Artifact, key: str, slot: str) -> tuple[Outputs, bool]:
        """Run the backend, or take the outputs that an earlier run left under the same key."""
        path = self.folder / _OUTPUTS / f"{slot}.npz"
        usual = self.recipe.batch[1]
        old = self._earlier_row(step, view)
        if old and old.key == key:
            by_batch = read_outputs(path, key)
            if by_batch is not None:
                return Outputs(by_batch, usual, old.seconds), True
        self.listener.view_started(step, view)
        with view.backend.open(artifact) as session:
            outputs = run_session(session, self.evaluation, self.recipe.batch, view.limit, self.listener.progress)
        write_outputs(path, key, outputs)
        return outputs, False


def _rejected_name(final: Path) -> Path:
    return final.with_name(final.name + ".rejected")


def _set_aside(final: Path) -> Path:
    """Rename a file that failed its gate, with what stands beside it, so that nobody deploys it by accident."""
    rejected = _rejected_name(final)
    with disk_faults(final):
        final.replace(rejected)
        _move_beside(final, rejected)
    return rejected


def _take_back(rejected: Path, final: Path) -> None:
    """Undo `_set_aside`."""
    if rejected == _rejected_name(final) and rejected.is_file():
        rejected.replace(final)
        _move_beside(rejected, final)


def _beside(made: Path) -> tuple[Path, ...]:
    """What may stand beside a file: its side-car, and the list of its layers."""
    return sidecar_path(made), listing_path(made)


def _move_beside(old: Path, new: Path) -> None:
    for source, target in zip(_beside(old), _beside(new), strict=True):
        if source.is_file():
            source.replace(target)


def _remove(final: Path) -> None:
    """Remove a file of an earlier run, whether it passed or not, with what stands beside it."""
    with disk_faults(final):
        for made in (final, _rejected_name(final)):
            for file in (made, *_beside(made)):
                file.unlink(missing_ok=True)


def judged(
    row: Row,
    view: View,
    measurement: Measurement,
    seconds: float,
    max_drop: float,
    quantization: QuantizationMeasure | None = None,
) -> Row:
    """`row` with what was measured and the verdict on it; a view without a gate is shown only.

    `max_drop` is the margin of the task's own measure: percentage points of top-1, or dB of PSNR-Y.
    """
    inside = None if quantization is None else quantization.to_json()
    row = replace(row, measurement=measurement.to_json(), seconds=seconds, quantization=inside)
    if view.gate is None:
        return replace(row, verdict=Verdict.INFO)
    judgements = judge(GATES[view.gate], measurement.oracle, measurement.drop, max_drop, quantization)
    checks = tuple(judgement.to_json() for judgement in judgements)
    return replace(row, verdict=worst(judgements), judgements=checks)


def conclude(manifest: Manifest, require: tuple[str, ...]) -> tuple[int, str]:
    """The exit status of a finished run and the line that explains it."""
    failed = [step for step in manifest.steps if step.verdict is Verdict.FAIL]
    if failed:
        names = ", ".join(step.artifact for step in failed)
        return 4, f"FAIL: {names} did not pass its gate" if len(failed) == 1 else f"FAIL: {names} failed their gates"
    measure, check = _TASK_MEASURES.get(manifest.task, ("", ""))
    untold = _untold(manifest, check)
    engines = [row for step in manifest.steps for row in step.rows if row.label == "engine"]
    if "engine" in require and (not engines or any(row.verdict is Verdict.SKIPPED for row in engines)):
        reason = next((row.reason for row in engines if row.verdict is Verdict.SKIPPED), "no engine was built")
        return 3, f"an executed engine is required, and was not executed: {reason}"
    if "fused" in require:
        audits = {step.artifact: row for step in manifest.steps for row in step.rows if row.label == AUDIT}
        if not audits:
            return 3, "fused attention is required, and no engine was built"
        apart = [artifact for artifact, row in audits.items() if not all_fused(row)]
        if apart:
            return 4, f"fused attention is required, and was not seen throughout {', '.join(apart)}"
    unclear = [step.artifact for step in manifest.steps if step.verdict is Verdict.INCONCLUSIVE]
    if "accuracy" in require and (unclear or untold):
        return 4, "accuracy is required, and was not shown for: " + ", ".join([*unclear, *untold])
    skipped = sum(row.verdict is Verdict.SKIPPED for step in manifest.steps for row in step.rows)
    skipped += sum(bool(step.skipped) for step in manifest.steps)
    if unclear:
        parts = [f"INCONCLUSIVE: {', '.join(unclear)}; more images would tell; every other gate judged here passed"]
    else:
        parts = ["PASS: every gate that could be judged here passed"]
    if untold:
        known = (
            "a backbone has none of its own" if manifest.task == "backbone" else "these outputs have none of their own"
        )
        parts.append(f"{measure} NOT JUDGED for {', '.join(untold)}" if check else f"no task measure: {known}")
    unpictured = _without_pictures(manifest)
    if unpictured:
        parts.append(
            f"PSNR-Y against the oracle NOT JUDGED for {', '.join(unpictured)}: its outputs do not lie within 0..1"
        )
    if skipped:
        parts.append(f"{skipped} SKIPPED (not executed, so not proven)")
    return 0, "; ".join(parts)


def _untold(manifest: Manifest, check: str) -> list[str]:
    """The precisions of which no executed row had images enough to judge `check`, the drop of the task's measure."""
    precisions: dict[str, bool] = {}
    for step in manifest.steps:
        if step.artifact == ORACLE:
            continue
        told = any(found["check"] == check for row in step.rows for found in row.judgements)
        precisions[step.precision] = precisions.get(step.precision, False) or told
    return [precision for precision, told in precisions.items() if not told]


def _without_pictures(manifest: Manifest) -> list[str]:
    """Restoration only: the artifacts that were judged, but not by PSNR-Y, since the oracle gave no pictures."""
    if manifest.task != "restoration":
        return []
    judged_rows = [
        (step.artifact, row.judgements)
        for step in manifest.steps
        for row in step.rows
        if row.judgements and row.measurement is not None
    ]
    named = [artifact for artifact, checks in judged_rows if all(check["check"] != "psnr-y" for check in checks)]
    return list(dict.fromkeys(named))


def _refuse_overwriting(recipe: Recipe, plan: tuple[Step, ...], folder: Path) -> None:
    """A run must not write over what it reads.

    Raises:
        UsageFault: an input has the name of one of the run's own files.
    """
    names = [step.file for step in plan] + [f"{grid}.{kind}" for grid in recipe.quantized for kind in BESIDE]
    written = {(folder / name).resolve() for name in names}
    for given in recipe.inputs():
        if given and Path(given).resolve() in written:
            raise UsageFault(
                f"{given} would be overwritten by this run",
                needed="inputs outside the run's folder",
                do="Choose another --out",
            )


def _clear(folder: Path, earlier: Manifest, keep: set[str]) -> None:
    """Remove what an earlier run made and this one does not, so that no file in the folder is without its record."""
    outputs = folder / _OUTPUTS
    with disk_faults(folder):
        for step in earlier.steps:
            name = (step.file or "").removesuffix(".rejected")
            # A manifest is a file that anybody may have written: only names within the folder are followed.
            if not name or name != Path(name).name or name in keep:
                continue
            _remove(folder / name)
            for row in step.rows:
                if row.outputs and (outputs / Path(row.outputs).name) == folder / row.outputs:
                    (folder / row.outputs).unlink(missing_ok=True)
        # What stands beside a quantized graph; a resumed run may have use for its search's log.
        grids = {step.precision for step in earlier.steps if Precision(step.precision).quantized} if not keep else ()
        for name in (*report_files(), *(f"{grid}.{kind}" for grid in grids for kind in (*BESIDE, *LOGS))):
            (folder / name).unlink(missing_ok=True)


def run(
    plan: tuple[Step, ...],
    recipe: Recipe,
    target: str,
    evaluation: EvaluationSet,
    folder: Path,
    *,
    classes: tuple[str, ...] | None = None,
    listener: Listener | None = None,
    resume: bool = False,
) -> Manifest:
    """Execute a plan into `folder`.

    Args:
        plan: See `make_plan`.
        recipe: What was asked for; written beside the manifest.
        target: As resolved.
        evaluation: The images to judge on.
        folder: Created if needed.
        classes: Names of the logits, for a later validation on images in folders of those names.
        listener: Hears of progress.
        resume: Reuse what an earlier run left there, where keys are unchanged.

    Returns:
        The finished manifest; its `status` is the exit status.

    Raises:
        ExplainedError: a stage could not do its work; what was finished before stands in the manifest.
    """
    _refuse_overwriting(recipe, plan, folder)
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        earlier = read_manifest(folder)
    except ExplainedError:
        earlier = None  # an empty folder, or nothing usable to go on from: a resumed run then is a fresh one
    checkpoint = Path(recipe.checkpoint)
    sidecar = find_sidecar(checkpoint)
    manifest = Manifest(
        recipe=configuration(recipe),
        target=target,
        machine=machine(),
        checkpoint={
            "file": checkpoint.name,
            "sha256": file_sha256(checkpoint),
            "sidecar_sha256": file_sha256(sidecar) if sidecar else None,
            "classes": list(classes) if classes else None,
        },
        evaluation=evaluation.to_json(),
    )
    write_text(folder / "recipe.toml", replace(recipe.resolved(), target=target).to_toml())
    write_truth(evaluation, folder / _OUTPUTS)
    if earlier:
        if not resume:
            write_manifest(manifest, folder)  # first, so that an interruption leaves no old verdict behind
        _clear(folder, earlier, keep={step.file for step in plan} if resume else set())
    return Run(folder, recipe, evaluation, listener or Silent(), manifest, earlier if resume else None).execute(
        plan, checkpoint
    )
