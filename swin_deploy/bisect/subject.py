"""What is searched in: a low-precision graph of a run, and how its blocks are raised."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from swin_deploy.artifact import Artifact, Precision
from swin_deploy.errors import BadInput, UsageFault
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import GATE_OF_NUMERICS, GateName, Verdict
from swin_deploy.validation import artifact_of

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["SUBJECTS", "Subject", "Toggle", "chosen_name", "open_subject"]

SUBJECTS = ("fp16", "bf16", "int8", "int8-qdq", "fp8", "fp8-qdq")
"""Artifacts that can be searched in. The graphs `-qdq` are FP32 beside their Q/DQ, the typed ones FP16."""


class Toggle(Protocol):
    """A graph of which single blocks can be raised; see `swin_deploy.onnx_graph.precision_toggle`."""

    @property
    def model(self) -> ModelProto:
        """The FP32 graph."""
        ...

    @property
    def blocks(self) -> tuple[str, ...]:
        """What can be raised."""
        ...

    def raised(self, high: Collection[str]) -> ModelProto:
        """The typed graph with some of them raised."""
        ...


@dataclass(frozen=True, eq=False)
class Subject:
    """A low-precision graph of a run.

    Attributes:
        name: Its artifact's.
        precision: The low one.
        high: What raised blocks compute in, in words.
        toggle: Raises blocks.
        sources: Hashes of the files that it is made of.
        parent: The artifact that a mixture is made of.
    """

    name: str
    precision: Precision
    high: str
    toggle: Toggle
    sources: tuple[str, ...]
    parent: str

    @property
    def gate(self) -> GateName:
        """The row of the gate table whose thresholds hold where none are given."""
        return GATE_OF_NUMERICS[self.precision]

    @property
    def stem(self) -> str:
        """What the files of a search are named by: `int8.qdq` as the graph itself."""
        return self.name.replace("-", ".")


def chosen_name(manifest: Manifest, asked: str | None) -> str:
    """The artifact to search in: the one that was asked for, the first that failed its gate, or the only one.

    Raises:
        UsageFault: there are several, and nothing says which, or the name is none that can be searched in.
    """
    if asked is not None:
        name = asked.removesuffix(".rejected").removesuffix(".onnx").replace(".", "-")
        if name not in SUBJECTS:
            engine = name.removesuffix("-engine")
            raise UsageFault(
                f"{asked} cannot be searched in",
                needed="one of " + ", ".join(SUBJECTS),
                do=f"Name {engine}, the graph that it was built from, and --backend" if engine in SUBJECTS else "",
            )
        return name
    present = [step for step in manifest.steps if step.artifact in SUBJECTS and step.file]
    failed = [step.artifact for step in present if step.verdict is Verdict.FAIL]
    names = failed or [step.artifact for step in present]
    if failed or len(names) == 1:
        return names[0]
    raise UsageFault(
        "no graph of the run failed its gate, and nothing says which one to search in"
        if names
        else "the run has no graph of low precision",
        needed="an ARTIFACT: " + (", ".join(names) if names else "one of " + ", ".join(SUBJECTS)),
    )


def open_subject(folder: Path, manifest: Manifest, name: str) -> Subject:
    """Read the graphs of a run.

    FP16 and BF16 need the FP32 graph alone: a network that cannot even be written in FP16 can be searched in.

    Raises:
        BadInput: a graph is missing, failed its own gate, was changed since, or is not named by its modules.
    """
    import onnx

    from swin_deploy.onnx_graph.precision_toggle import HalfToggle, QuantizedToggle

    whole = _artifact(folder, manifest, "fp32")
    precision = Precision(name.removesuffix("-qdq"))
    model = onnx.load(whole.path)
    if not precision.quantized:
        toggle: Toggle = HalfToggle(model, precision.value)
        return Subject(name, precision, "FP32", toggle, (_sha(manifest, "fp32"),), "fp32")
    parent = f"{precision.value}-qdq"
    quantized = onnx.load(_artifact(folder, manifest, parent).path)
    half = "" if name == parent else "fp16"
    hashes = (_sha(manifest, "fp32"), _sha(manifest, parent))
    toggle = QuantizedToggle(model, quantized, half)
    return Subject(name, precision, "FP16" if half else "FP32", toggle, hashes, parent)


def _artifact(folder: Path, manifest: Manifest, name: str) -> Artifact:
    record = manifest.step(name)
    if record is None or not record.file:
        raise BadInput(
            f"{folder} holds no artifact {name}",
            needed="a run that went through ONNX" + (f" with --{name.removesuffix('-qdq')}" if name != "fp32" else ""),
        )
    if name == "fp32" and record.verdict is Verdict.FAIL:
        raise BadInput(
            f"{record.file} failed its own gate, in FP32",
            needed="an FP32 graph that is right, since that is what blocks are raised to",
            do="Look at the stages before it: the fault is not one of precision",
        )
    artifact, _, _ = artifact_of(folder / record.file)
    return artifact


def _sha(manifest: Manifest, name: str) -> str:
    record = manifest.step(name)
    assert record is not None
    return record.sha256
