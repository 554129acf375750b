"""Measure a graph with some blocks raised: write it, build it where the backend is an engine's, run it, compare."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swin_deploy.artifact import Artifact, Format
from swin_deploy.atomic import write_text
from swin_deploy.backends.base import Backend
from swin_deploy.backends.onnxruntime_rounded import RoundedOnnxRuntime
from swin_deploy.backends.tensorrt import TensorRTBackend
from swin_deploy.bisect.subject import Subject
from swin_deploy.bisect.trial import Trial
from swin_deploy.device import cuda_memory
from swin_deploy.device.plan_sidecar import sidecar_path
from swin_deploy.device.tensorrt_versions import FLAVORS, import_flavor, package_unavailable
from swin_deploy.errors import Unavailable
from swin_deploy.parity.evaluation import EvaluationSet
from swin_deploy.parity.measure import Arrays, Measurement, compare, run_session
from swin_deploy.stages.base import Stage
from swin_deploy.stages.build import Build

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Executor", "MixtureJudge", "executor_of", "save"]


@dataclass(frozen=True)
class Executor:
    """How a graph is executed.

    Attributes:
        backend: The runtime.
        build: Makes what the runtime opens; `None` where it opens graphs.
    """

    backend: Backend
    build: Stage | None = None


def executor_of(name: str, subject: Subject, batch: tuple[int, int, int]) -> Executor:
    """The executor of that name; `auto` is an engine where one can be built and run, else the CPU.

    Raises:
        Unavailable: an engine was named and cannot be built or run here.
    """
    if name == "auto":
        name = next((flavor for flavor in reversed(FLAVORS) if _no_engine(flavor) is None), "onnxruntime")
    if name == "onnxruntime":
        return Executor(RoundedOnnxRuntime())
    reason = _no_engine(name)
    if reason is not None:
        raise Unavailable(
            f"--backend {name}: {reason}", do="--backend onnxruntime needs none of that, and rounds on the CPU"
        )
    targets = (cuda_memory.compute_capability(),) if name == "tensorrt_rtx" else ()
    return Executor(TensorRTBackend(name), Build(name, subject.precision, batch, targets))


def _no_engine(flavor: str) -> str | None:
    """Why no engine of a typed graph can be built and run here."""
    reason = package_unavailable(flavor) or cuda_memory.unavailable()
    if reason is None:
        _, traits = import_flavor(flavor)
        if traits.profile != "strong":
            return "this version takes precision from builder flags, so that no block can be raised"
    return reason


@dataclass(frozen=True, eq=False)
class MixtureJudge:
    """Measures mixtures of one subject.

    Attributes:
        subject: What is searched in.
        executor: What executes it.
        images: What it is shown.
        batch: Smallest, usual and largest batch of the run's profile.
        oracle: The oracle's outputs on the images.
        work: An existing folder for files that are deleted again.
    """

    subject: Subject
    executor: Executor
    images: EvaluationSet
    batch: tuple[int, int, int]
    oracle: Arrays
    work: Path

    def __call__(self, high: Collection[str]) -> Trial:
        """Measure with the blocks `high` raised. A graph that cannot be written so is a failed trial, and not an error.

        Raises:
            ExplainedError: the builder refuses the graph, or the machine gave out.
        """
        from swin_deploy.onnx_graph.typing_pass import WeightBeyondType

        try:
            model = self.subject.toggle.raised(high)
        except WeightBeyondType as error:
            return Trial.impossible(error.seen, classes=not self.images.dense)
        path = self.work / "trial.onnx"
        try:
            save(model, path)
            measurement, _ = self.measured(path)
            return Trial.of(measurement.oracle)
        finally:
            path.unlink(missing_ok=True)

    def measured(self, path: Path) -> tuple[Measurement, float]:
        """Run a graph on disk, at every batch as a gate wants it, and compare; also the seconds of inference."""
        artifact = Artifact(path.stem, path, Format.ONNX, self.subject.precision, self.subject.parent)
        plan = None
        try:
            if self.executor.build is not None:
                stage = self.executor.build
                plan = self.work / f"trial{stage.suffix}"
                produced = stage.run(artifact, plan)
                if produced.sidecar is not None:
                    write_text(sidecar_path(plan), json.dumps(produced.sidecar) + "\n")
                artifact = Artifact(path.stem, plan, *stage.produces, self.subject.parent)
            with self.executor.backend.open(artifact) as session:
                outputs = run_session(session, self.images, self.batch)
        finally:
            if plan is not None:
                plan.unlink(missing_ok=True)
                sidecar_path(plan).unlink(missing_ok=True)
        return compare(outputs, self.oracle, None, self.images), outputs.seconds


def save(model: ModelProto, path: Path) -> None:
    """Check a graph and write it."""
    import onnx

    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
