"""Search in a finished run: open its graphs and its images, judge mixtures, have the one that passes written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.preprocess import Preprocess
from swin_deploy.atomic import disk_faults, write_text
from swin_deploy.bisect.mixture_judge import Executor, MixtureJudge, executor_of
from swin_deploy.bisect.result import BisectResult
from swin_deploy.bisect.smallest_set import bound, smallest_set
from swin_deploy.bisect.subject import Subject, chosen_name, open_subject
from swin_deploy.bisect.trial import Metric, Need
from swin_deploy.bisect.trial_log import RememberedTrials
from swin_deploy.bisect.write_mixture import write_mixture
from swin_deploy.checkpoint.task import Classifier, task_from_json
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.fingerprint import configuration, key_of
from swin_deploy.manifest import Manifest, read_manifest
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.gates import GATES, GateName
from swin_deploy.parity.measure import Arrays, run_session
from swin_deploy.plan import ORACLE, default_view
from swin_deploy.request import judged_images
from swin_deploy.validation import artifact_of
from swin_deploy.versions import installed, machine

__all__ = ["Asked", "BisectListener", "bisect"]

# Images where none are asked for: a trial is one of dozens.
_IMAGES, _DENSE_IMAGES = 64, 8


@dataclass(frozen=True)
class Asked:
    """The options.

    Attributes:
        artifact: Which graph of the run; see `chosen_name`.
        metric: What mixtures are judged by.
        need: Its threshold, dB or a share; the gate's own without.
        data: Images, labelled or not; the run's own where they still lie where they did, else synthetic ones.
        images: How many of them; 0 for 64, or 8 of a network with maps or pictures.
        backend: `auto`, `onnxruntime`, `tensorrt` or `tensorrt_rtx`.
        resume: Go on with the log of an earlier search.
    """

    artifact: str | None = None
    metric: Metric = Metric.SQNR
    need: float | None = None
    data: str | None = None
    images: int = 0
    backend: str = "auto"
    resume: bool = False


class BisectListener:
    """Hears of a search; this one does not care."""

    def begun(self, subject: str, blocks: int, most: int, backend: str, images: str) -> None:
        """The graphs are open."""

    def judged(self, raised: str, figure: str, met: bool, remembered: bool) -> None:
        """A mixture was judged; `raised` names its blocks."""


def bisect(
    folder: Path,
    asked: Asked,
    listener: BisectListener | None = None,
    *,
    executor: Callable[[str, Subject, tuple[int, int, int]], Executor] = executor_of,
) -> BisectResult:
    """Find a smallest set of blocks to raise, and write the graph.

    Writes `<artifact>.bisect.jsonl`, the log; `<artifact>.bisect.json`, the result; and where there is a set
    `<artifact>.bisected.onnx`, which the manifest then knows, and for a quantized graph `<artifact>.bisected.plan`.

    Args:
        folder: A run's folder.
        asked: The options.
        listener: Hears of progress.
        executor: Finds what executes a graph.

    Raises:
        UsageFault: an option that cannot be honoured.
        Unavailable: an engine was asked for and cannot be built or run here.
        BadInput: the folder is no run, or one of its files is missing or was changed.
        EnvironmentFault: the machine gave out.
    """
    heard = listener or BisectListener()
    manifest = read_manifest(folder)
    subject = open_subject(folder, manifest, chosen_name(manifest, asked.artifact))
    low, usual, high = (int(size) for size in manifest.recipe["batch"])
    executes = executor(asked.backend, subject, (low, usual, high))
    stated = manifest.evaluation["task"]
    dense = stated is None or not isinstance(task_from_json(stated), Classifier)
    gate = subject.gate if executes.build is None else _of_engine(subject.gate)
    need = Need.of(asked.metric, asked.need, GATES[gate], dense=dense)
    images = _images(manifest, asked, (low, usual, high), dense)
    blocks = subject.toggle.blocks
    if not blocks:
        raise BadInput(f"{subject.name} has no block that differs from the float graph", needed="Q/DQ to remove")
    most = bound(len(blocks))
    shown = f"{len(images)} images, {images.images.source}"
    heard.begun(subject.name, len(blocks), most, executes.backend.name, shown)
    stem = folder / subject.stem
    log = stem.with_name(f"{stem.name}.bisect.jsonl")
    with disk_faults(log), tempfile.TemporaryDirectory(prefix="swin-deploy-bisect-") as work:
        if not asked.resume:
            log.unlink(missing_ok=True)
        judge = MixtureJudge(
            subject,
            executes,
            images,
            (low, usual, high),
            _oracle(folder, manifest, images, (low, usual, high)),
            Path(work),
        )
        trials = RememberedTrials(
            judge,
            log,
            _key(manifest, subject, executes, images),
            lambda raised, trial, known: heard.judged(
                _words(raised, blocks), need.figure(trial), need.met(trial), known
            ),
        )
        found = smallest_set(blocks, trials, need)
        result = BisectResult(
            subject.name,
            subject.precision.value,
            subject.high,
            need,
            executes.backend.name,
            len(images),
            images.images.source,
            blocks,
            found,
            most,
            trials.measured,
            trials.resumed,
        )
        if found.blocks:
            result = write_mixture(result, folder, manifest, judge)
    write_text(stem.with_name(f"{stem.name}.bisect.json"), json.dumps(result.to_json(), indent=1) + "\n")
    return result


def _words(high: frozenset[str], blocks: tuple[str, ...]) -> str:
    """A set of raised blocks, by the shorter list."""
    inside, outside = ([block for block in blocks if (block in high) is wanted] for wanted in (True, False))
    if not outside:
        return "all"
    return f"all but {', '.join(outside)}" if len(outside) < len(inside) else ", ".join(inside) or "none"


def _of_engine(gate: GateName) -> GateName:
    return GateName.FP16_ENGINE if gate is GateName.FP16_NUMERICS else gate


def _images(manifest: Manifest, asked: Asked, batch: tuple[int, int, int], dense: bool) -> EvaluationSet:
    if asked.images < 0:
        raise UsageFault(f"--images {asked.images}", needed="0 or more")
    before = manifest.recipe.get("eval_data")
    data = asked.data or (before if before and Path(before).exists() else None)
    classes, stated = manifest.checkpoint.get("classes"), manifest.evaluation["task"]
    return judged_images(
        data,
        asked.images or (_DENSE_IMAGES if dense else _IMAGES),
        int(manifest.recipe.get("seed", 0)),
        Preprocess.from_json(manifest.evaluation["preprocess"]),
        task=None if stated is None else task_from_json(stated),
        classes=tuple(classes) if classes else None,
        bytes_each=int(manifest.evaluation["output_bytes"]),
        batch=batch,
        option="--images",
    )


def _oracle(folder: Path, manifest: Manifest, images: EvaluationSet, batch: tuple[int, int, int]) -> Arrays:
    record = manifest.step(ORACLE)
    artifact, _, _ = artifact_of(folder / ((record and record.file) or "reference.safetensors"))
    usual = batch[1]
    with default_view(artifact).backend.open(artifact) as session:
        return run_session(session, images, (usual, usual, usual)).whole


def _key(manifest: Manifest, subject: Subject, executes: Executor, images: EvaluationSet) -> str:
    """Whatever a trial depends on beside its set; the need is not among it, so another one reuses the log."""
    record = manifest.step(ORACLE)
    return key_of(
        subject.name,
        subject.sources,
        record.sha256 if record else "",
        executes.backend.name,
        configuration(executes.backend),
        None if executes.build is None else configuration(executes.build),
        installed("onnx", "onnxruntime", "numpy", "torch", "tensorrt", "tensorrt-rtx"),
        machine()["gpu"],
        images.fingerprint,
        manifest.recipe["batch"],
    )
