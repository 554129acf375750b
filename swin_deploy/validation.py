"""Judge one artifact of a finished run again, on other images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from calib.preprocess import Preprocess
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.checkpoint.task import Restoration, task_from_json
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import FILE_NAME, Manifest, Row, StepRecord, read_manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.parity.measure import compare, run_session
from swin_deploy.pipeline import Listener, Silent, judged
from swin_deploy.plan import ORACLE, Step, default_view
from swin_deploy.request import judged_images
from swin_deploy.stages.load import Load

__all__ = ["artifact_of", "validate"]


def artifact_of(path: Path) -> tuple[Artifact, StepRecord, Manifest]:
    """What the manifest beside a file says of it, after checking that the file is the one it speaks of.

    Raises:
        BadInput: no manifest, a file it does not know, or one that was changed since.
    """
    needed = "a file that swin-deploy build left in a run's folder"
    if path.is_dir():
        raise BadInput(f"{path} is a folder", needed=needed, do=f"Name one, for example {path / 'fp32.onnx'}")
    if not path.is_file():
        raise BadInput(f"{path} does not exist", needed=needed)
    if not (path.parent / FILE_NAME).is_file():
        raise BadInput(f"no {FILE_NAME} stands beside {path}", needed=needed)
    manifest = read_manifest(path.parent)
    record = next((step for step in manifest.steps if step.file == path.name), None)
    if record is None:
        known = ", ".join(step.file for step in manifest.steps if step.file)
        raise BadInput(f"the manifest beside {path} does not know it", needed=f"one of {known}")
    if file_sha256(path) != record.sha256:
        raise BadInput(
            f"{path} is not the file that was built: its sha256 differs from the manifest's",
            needed="the file as swin-deploy build left it",
            do="Build again",
        )
    artifact = Artifact(record.artifact, path, Format(record.format), Precision(record.precision), record.parent)
    return artifact, record, manifest


def validate(
    path: Path,
    *,
    data: str | None,
    images: int,
    max_drop: float,
    max_psnr_drop: float = 0.1,
    listener: Listener | None = None,
) -> Manifest:
    """Run the oracle and `path` over the images and judge.

    Args:
        path: The artifact.
        data: Images, or pairs of them for restoration; synthetic ones without.
        images: Use at most so many; 0 for all, or for the usual number of synthetic ones.
        max_drop: Margin of the top-1 gate, in percentage points.
        max_psnr_drop: Margin of restoration's gate against pictures, in dB.
        listener: Hears of progress.

    Returns:
        A manifest of two rows, oracle and artifact, with the exit status in `status`.
    """
    if not 0 <= max_drop <= 100:
        raise UsageFault(f"--max-drop {max_drop}", needed="percentage points, from 0 to 100")
    if not 0 <= max_psnr_drop <= 100:
        raise UsageFault(f"--max-psnr-drop {max_psnr_drop}", needed="dB, from 0 to 100")
    heard = listener or Silent()
    artifact, record, manifest = artifact_of(path)
    known = manifest.step(ORACLE)
    oracle, oracle_record, _ = artifact_of(path.parent / ((known and known.file) or "reference.safetensors"))
    classes, stated = manifest.checkpoint.get("classes"), manifest.evaluation["task"]
    task = None if stated is None else task_from_json(stated)
    batch = tuple(int(size) for size in manifest.recipe["batch"])
    assert len(batch) == 3
    evaluation = judged_images(
        data,
        images,
        int(manifest.recipe.get("seed", 0)),
        Preprocess.from_json(manifest.evaluation["preprocess"]),
        task=task,
        classes=tuple(classes) if classes else None,
        bytes_each=int(manifest.evaluation["output_bytes"]),
        batch=batch,
        option="--images",
    )
    rows = []
    wanted = None
    pieces = ((oracle, oracle_record), (artifact, record))
    for piece, made in pieces if artifact.name != ORACLE else pieces[:1]:
        view = default_view(piece)
        row = Row(view.label, view.backend.name, view.gate.value if view.gate else None, Verdict.SKIPPED)
        reason = view.backend.unavailable(piece)
        if reason:
            rows.append(made.with_rows((replace(row, reason=reason),)))
            continue
        heard.view_started(Step(piece.name, piece.path.name, Load(), ORACLE, (view,)), view)
        with view.backend.open(piece) as session:
            outputs = run_session(session, evaluation, batch, view.limit, heard.progress)
        wanted = outputs.whole if wanted is None else wanted
        measurement = compare(outputs, wanted, None, evaluation)
        margin = max_psnr_drop if isinstance(task, Restoration) else max_drop
        rows.append(made.with_rows((judged(row, view, measurement, outputs.seconds, margin),)))
    status, verdict_line = _conclude(rows[-1])
    return replace(
        manifest,
        recipe={**manifest.recipe, "max_drop": max_drop, "max_psnr_drop": max_psnr_drop},
        evaluation=evaluation.to_json(),
        steps=tuple(rows),
        status=status,
        verdict=verdict_line,
        seconds=sum(row.seconds for step in rows for row in step.rows),
    )


def _conclude(record: StepRecord) -> tuple[int, str]:
    (row,) = record.rows
    details = "; ".join(f"{check['check']}: {check['detail']}" for check in row.judgements)
    if row.verdict is Verdict.SKIPPED:
        return 3, f"SKIPPED: {row.reason}"
    return (4 if row.verdict is Verdict.FAIL else 0), f"{row.verdict.value}: {details or json.dumps(row.label)}"
