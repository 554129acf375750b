"""The manifest: what ran, where, from what, how close. Everything a report or a resumed run needs, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swin_deploy.atomic import write_text
from swin_deploy.errors import BadInput
from swin_deploy.parity.gates import TASK_IMAGES, TASK_PAIRS, Verdict

__all__ = ["AUDIT", "FILE_NAME", "SCHEMA_VERSION", "Manifest", "Row", "StepRecord", "read_manifest", "write_manifest"]

SCHEMA_VERSION = 2
FILE_NAME = "manifest.json"
# The row of an engine that says what it runs, by its builder's own listing: nothing was executed for it.
AUDIT = "audit"
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One artifact on one backend.

    Attributes:
        label: See `View.label`.
        backend: Name of the runtime.
        gate: Name of the gate, `None` when shown only.
        verdict: What was found.
        reason: Why it was skipped or not judged, or empty.
        key: Changes when the measurement has to be made again.
        measurement: `Measurement.to_json()`, `None` when skipped.
        judgements: `Judgement.to_json()` of each check.
        seconds: Time spent in inference.
        outputs: File with the outputs, relative to the run's folder, or `None`.
        quantization: Q/DQ graphs: `QuantizationMeasure.to_json()`, otherwise `None`.
    """

    label: str
    backend: str
    gate: str | None
    verdict: Verdict
    reason: str = ""
    key: str = ""
    measurement: Json | None = None
    judgements: tuple[Json, ...] = ()
    seconds: float = 0.0
    outputs: str | None = None
    quantization: Json | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {**self.__dict__, "verdict": self.verdict.value, "judgements": list(self.judgements)}

    @classmethod
    def from_json(cls, raw: Json) -> Row:
        """Read what `to_json` wrote."""
        return cls(**{**raw, "verdict": Verdict(raw["verdict"]), "judgements": tuple(raw["judgements"])})


@dataclass(frozen=True)
class StepRecord:
    """One stage that ran, or why it did not.

    Attributes:
        artifact: Name of what it made.
        stage: The stage's kind.
        parent: Name of the artifact it read.
        config: The stage's fields.
        tools: Versions of the tools it used.
        key: Changes when the stage has to run again.
        file: File in the run's folder, `None` when there is none.
        format: `Format` of the file.
        precision: `Precision` of the file.
        sha256: Of the file.
        bytes: Size of the file.
        seconds: Time the stage took.
        facts: What the stage says of its result.
        notes: Sentences for the reader.
        rows: What was measured.
        skipped: Why the stage did not run, or empty.
    """

    artifact: str
    stage: str
    parent: str
    config: Json
    tools: Json
    key: str
    file: str | None
    format: str
    precision: str
    sha256: str = ""
    bytes: int = 0
    seconds: float = 0.0
    facts: Json = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    skipped: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst of the gated rows; SKIPPED when nothing gated was executed.

        An audit can fail an engine. It cannot pass one: that the right kernels stand in it says nothing of its outputs.
        """
        if self.skipped:
            return Verdict.SKIPPED
        found = {row.verdict for row in self.rows if row.label != AUDIT or row.verdict is Verdict.FAIL}
        for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS, Verdict.SKIPPED):
            if verdict in found:
                return verdict
        return Verdict.INFO

    def with_rows(self, rows: tuple[Row, ...]) -> StepRecord:
        """The same record with what was measured."""
        return replace(self, rows=rows)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            **self.__dict__,
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
            "verdict": self.verdict.value,
        }

    @classmethod
    def from_json(cls, raw: Json) -> StepRecord:
        """Read what `to_json` wrote."""
        kept = {key: value for key, value in raw.items() if key != "verdict"}
        return cls(**{**kept, "notes": tuple(raw["notes"]), "rows": tuple(Row.from_json(row) for row in raw["rows"])})


@dataclass(frozen=True)
class Manifest:
    """A whole run.

    Attributes:
        recipe: The options, as `Recipe` fields.
        target: What `--target` came to.
        machine: Processor, system, GPU.
        checkpoint: File name and sha256 of the user's file, and the names of its classes where known.
        evaluation: Kind, count, fingerprint and preprocessing of the evaluation images, and the network's task.
        steps: In the order they ran.
        status: Exit status the run ends with; `None` while it is not finished.
        verdict: One line that says how it ended.
        seconds: Time of the whole run.
        recommendation: One sentence that says which of INT8 and FP16 to deploy and why; empty without INT8.
        speed: `Benchmark.to_json()` of engines of this run, where they were timed on a device.
    """

    recipe: Json
    target: str
    machine: Json
    checkpoint: Json
    evaluation: Json
    steps: tuple[StepRecord, ...] = ()
    status: int | None = None
    verdict: str = "not finished"
    seconds: float = 0.0
    recommendation: str = ""
    speed: Json | None = None

    def step(self, artifact: str) -> StepRecord | None:
        """The record of an artifact, or `None`."""
        return next((step for step in self.steps if step.artifact == artifact), None)

    @property
    def task(self) -> str | None:
        """`classifier`, `backbone` or `restoration`; `None` for a network of which only the outputs are known."""
        task: Json | None = self.evaluation["task"]
        return None if task is None else str(task["kind"])

    def judged_on(self) -> str:
        """The images and the margin in a few words."""
        count, kind = self.evaluation["images"], self.evaluation["kind"]
        measure = "accuracy" if self.task == "classifier" else "task measure"
        if kind == "synthetic":
            return f"{count} SYNTHETIC images: distances to the oracle, no {measure}"
        if self.evaluation["pictures"]:
            if count < TASK_PAIRS:
                return f"{count} pairs of images, too few to judge the PSNR-Y drop by ({TASK_PAIRS} are needed)"
            return f"{count} pairs of images, PSNR-Y margin {self.recipe['max_psnr_drop']:g} dB"
        if not self.evaluation["labelled"]:
            without = "without pictures to meet" if self.task == "restoration" else "without labels"
            remark = f"({self.evaluation['remark']})" if self.evaluation["remark"] else without
            return f"{count} images {remark}: distances to the oracle, no {measure}"
        if count < TASK_IMAGES:
            return f"{count} labelled images, too few to judge the top-1 drop by ({TASK_IMAGES} are needed)"
        return f"{count} labelled images, top-1 margin {self.recipe['max_drop']:g} points"

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            **self.__dict__,
            "steps": [step.to_json() for step in self.steps],
        }

    @classmethod
    def from_json(cls, raw: Json) -> Manifest:
        """Read what `to_json` wrote."""
        kept = {key: value for key, value in raw.items() if key != "schema_version"}
        return cls(**{**kept, "steps": tuple(StepRecord.from_json(step) for step in raw["steps"])})


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into a run's folder, whole or not at all."""
    write_text(folder / FILE_NAME, json.dumps(manifest.to_json(), indent=1, allow_nan=False) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read a run's manifest.

    Raises:
        BadInput: there is none, it is damaged, or it was written by another version of the schema.
    """
    path = folder / FILE_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["schema_version"]
        if version == SCHEMA_VERSION:
            return Manifest.from_json(raw)
    except (FileNotFoundError, NotADirectoryError) as error:
        seen = f"{folder} holds no {FILE_NAME}" if folder.is_dir() else f"there is no folder {folder}"
        raise BadInput(seen, needed="a folder that swin-deploy build wrote") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} cannot be read as a manifest: {type(error).__name__}: {error}",
            needed="a folder that swin-deploy build wrote",
        ) from error
    raise BadInput(f"{path} has schema version {version}", needed=f"version {SCHEMA_VERSION}", do="Build again")
