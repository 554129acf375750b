"""`bundle.json`: what a bundle holds, read and checked before anything in it is used.

Trust boundary: the hashes catch a file that was damaged, exchanged or mixed with another bundle's. They are no
signature: whoever can write the files can write `bundle.json`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.artifact import Precision
from swin_deploy.atomic import file_sha256
from swin_deploy.device.closeness import Closeness
from swin_deploy.device.inner_names import plain_name, refuse_outside
from swin_deploy.device.kernel_program import PROGRAM_FILE
from swin_deploy.errors import BadInput, ExplainedError

__all__ = [
    "BUNDLE_FILE",
    "KIND",
    "SCHEMA_VERSION",
    "Bundle",
    "BundleEngine",
    "BundleProgram",
    "FileFacts",
    "Limits",
    "read_bundle",
]

BUNDLE_FILE = "bundle.json"
KIND = "swin-deploy-bundle"
SCHEMA_VERSION = 1
_WHOLE = "the bundle as swin-deploy bundle wrote it"
_COPY = "Copy the archive again and unpack it into an empty folder"
_TASKS = ("classifier", "backbone", "restoration", None)
_PACKAGES = ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True)
class FileFacts:
    """What a file of the bundle must be.

    Attributes:
        sha256: Of its content.
        bytes: Its size.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Limits:
    """What a build may take on the target.

    Attributes:
        workspace_mib: Scratch memory of the engine's kernels; `None` leaves it to TensorRT.
        memory_limit_mib: Memory for trying kernels; likewise.
        build_seconds: One build is stopped after so long.
    """

    workspace_mib: int | None
    memory_limit_mib: int | None
    build_seconds: float

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        sizes = [size for size in (self.workspace_mib, self.memory_limit_mib) if size is not None]
        if not all(type(size) is int and size > 0 for size in sizes) or not _number(self.build_seconds) > 0:
            raise BadInput(f"bundle.json has the limits {self.__dict__}", needed=_WHOLE)


@dataclass(frozen=True)
class BundleEngine:
    """One engine to finish, in one export profile.

    Attributes:
        name: Of the engine and of its files, e.g. `fp16`; unique in the bundle.
        precision: What the engine computes in.
        profile: The export profile of its graph.
        onnx: The graph, relative to the bundle.
        engine_gate: What the engine must reach.
        graph_gate: What the graph must reach in ONNX Runtime on a CPU, where FP16 is computed in FP32.
        asked: What the engine's audit compares with: `linears`, `attentions`, `fp32_products` of the graph.
        activation_mib: What its tensors are estimated to take at the largest batch.
        triton: Folder of the Triton model repository that gets the finished plan; `None` elsewhere.
    """

    name: str
    precision: Precision
    profile: str
    onnx: str
    engine_gate: Closeness
    graph_gate: Closeness
    asked: Mapping[str, int]
    activation_mib: int
    triton: str | None = None

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "name": self.name,
            "precision": self.precision.value,
            "profile": self.profile,
            "onnx": self.onnx,
            "gates": {"engine": self.engine_gate.facts(), "graph": self.graph_gate.facts()},
            "asked": dict(self.asked),
            "activation_mib": self.activation_mib,
            "triton": self.triton,
        }

    @classmethod
    def from_facts(cls, raw: Mapping[str, Any]) -> BundleEngine:
        """Read `facts` back."""
        return cls(
            name=plain_name(raw["name"], source=BUNDLE_FILE),
            precision=Precision(raw["precision"]),
            profile=str(raw["profile"]),
            onnx=str(raw["onnx"]),
            engine_gate=_gate(raw["gates"]["engine"]),
            graph_gate=_gate(raw["gates"]["graph"]),
            asked={key: int(raw["asked"][key]) for key in ("linears", "attentions", "fp32_products")},
            activation_mib=int(raw["activation_mib"]),
            triton=raw["triton"],
        )


@dataclass(frozen=True)
class BundleProgram:
    """One kernel program: an engine of the toolkit's own kernels, which nothing has to build on the device.

    Attributes:
        name: As reports show it, e.g. `kernels-fp16`; unique in the bundle, engines included.
        precision: What it computes in.
        folder: Where its `program.json` lies, relative to the bundle.
        gate: What it must reach.
    """

    name: str
    precision: Precision
    folder: str
    gate: Closeness

    @property
    def profile(self) -> str:
        """In place of an engine's export profile: it has no graph."""
        return "kernels"

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "name": self.name,
            "precision": self.precision.value,
            "folder": self.folder,
            "gate": self.gate.facts(),
        }

    @classmethod
    def from_facts(cls, raw: Mapping[str, Any]) -> BundleProgram:
        """Read `facts` back."""
        name = plain_name(raw["name"], source=BUNDLE_FILE)
        return cls(name, Precision(raw["precision"]), str(raw["folder"]), _gate(raw["gate"]))


@dataclass(frozen=True)
class Bundle:
    """What `bundle.json` says.

    Attributes:
        name: Of the model.
        target: What it was packed for, e.g. `orin`.
        packages: The TensorRT packages that serve the target, the preferred one first.
        model: Facts for a reader, and `task`: `classifier`, `backbone`, `restoration`, or `None`.
        batches: Smallest, usual and largest batch.
        engines: In the order they are finished.
        images: File of the preprocessed images, float32 [images, channels, H, W].
        oracle: File of each of the oracle's outputs, float32 [images, ...].
        image_source: Where the images are from, for a reader.
        labels: File of the class names, or `None`.
        limits: What a build may take.
        files: Every file but `bundle.json` itself.
        made_by: Version of swin-deploy.
        programs: Kernel programs, which are proven and timed beside the engines.
        sha256: Of `bundle.json`, and so of all it names.
    """

    name: str
    target: str
    packages: tuple[str, ...]
    model: Mapping[str, Any]
    batches: tuple[int, int, int]
    engines: tuple[BundleEngine, ...]
    images: str
    oracle: Mapping[str, str]
    image_source: str
    labels: str | None
    limits: Limits
    files: Mapping[str, FileFacts]
    made_by: str
    programs: tuple[BundleProgram, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        smallest, usual, largest = self.batches
        if not 1 <= smallest <= usual <= largest:
            raise BadInput(f"bundle.json has the batches {list(self.batches)}", needed=_WHOLE)
        if self.task not in _TASKS:
            raise BadInput(f"bundle.json has the task {self.task!r}", needed=_WHOLE)
        if not self.packages or set(self.packages) - set(_PACKAGES):
            raise BadInput(f"bundle.json names the packages {list(self.packages)}", needed=_WHOLE)
        names = [engine.name for engine in self.engines] + [program.name for program in self.programs]
        if not self.engines or len(set(names)) != len(names):
            raise BadInput(f"bundle.json names the engines {names}", needed=_WHOLE)
        for name in self.files:
            refuse_outside(name, source=BUNDLE_FILE)
        used = [self.images, *self.oracle.values(), *(engine.onnx for engine in self.engines)]
        used += [f"{program.folder}/{PROGRAM_FILE}" for program in self.programs]
        unknown = [name for name in (*used, *([self.labels] if self.labels else [])) if name not in self.files]
        if unknown:
            raise BadInput(f"bundle.json uses {unknown[0]} and has no hash of it", needed=_WHOLE)
        for engine in self.engines:
            if engine.triton is not None:
                refuse_outside(engine.triton, source=BUNDLE_FILE)

    @property
    def task(self) -> str | None:
        """`classifier`, `backbone` or `restoration`; `None` where only the outputs are known."""
        task: str | None = self.model["task"]
        return task

    def facts(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "name": self.name,
            "target": self.target,
            "packages": list(self.packages),
            "made_by": self.made_by,
            "model": dict(self.model),
            "batches": list(self.batches),
            "engines": [engine.facts() for engine in self.engines],
            "programs": [program.facts() for program in self.programs],
            "fixtures": {"images": self.images, "oracle": dict(self.oracle), "source": self.image_source},
            "labels": self.labels,
            "limits": dict(self.limits.__dict__),
            "files": {name: dict(facts.__dict__) for name, facts in sorted(self.files.items())},
        }

    @classmethod
    def from_facts(cls, raw: Mapping[str, Any], sha256: str = "") -> Bundle:
        """Read `facts` back."""
        smallest, usual, largest = (int(size) for size in raw["batches"])
        return cls(
            name=plain_name(raw["name"], source=BUNDLE_FILE),
            target=str(raw["target"]),
            packages=tuple(raw["packages"]),
            model=raw["model"],
            batches=(smallest, usual, largest),
            engines=tuple(BundleEngine.from_facts(engine) for engine in raw["engines"]),
            images=raw["fixtures"]["images"],
            oracle=dict(raw["fixtures"]["oracle"]),
            image_source=str(raw["fixtures"]["source"]),
            labels=raw["labels"],
            limits=Limits(**raw["limits"]),
            files={name: FileFacts(**facts) for name, facts in raw["files"].items()},
            made_by=str(raw["made_by"]),
            # A bundle packed before there were any has no such field.
            programs=tuple(BundleProgram.from_facts(program) for program in raw.get("programs", ())),
            sha256=sha256,
        )

    def check_files(self, folder: Path) -> int:
        """Compare every file with its size and hash; the bytes that were read.

        Raises:
            BadInput: a file is missing, a link, or not what it was.
        """
        for name, facts in self.files.items():
            path = folder / name
            if _linked(folder, name) or not path.is_file():
                raise BadInput(f"{name} is missing from the bundle, or a link", needed=_WHOLE, do=_COPY)
            try:
                size, digest = path.stat().st_size, file_sha256(path)
            except OSError as error:
                raise BadInput(f"{name} cannot be read: {error.strerror}", needed=_WHOLE, do=_COPY) from error
            if size != facts.bytes:
                seen = f"{name} has {size} bytes, bundle.json says {facts.bytes}"
                raise BadInput(seen, needed=_WHOLE, do=_COPY)
            if digest != facts.sha256:
                seen = f"{name} has SHA-256 {digest[:12]}..., bundle.json says {facts.sha256[:12]}..."
                raise BadInput(seen, needed=_WHOLE, do="It was changed or damaged: " + _COPY.lower())
        return sum(facts.bytes for facts in self.files.values())


def read_bundle(folder: Path) -> Bundle:
    """Read `bundle.json` of an unpacked bundle.

    Raises:
        BadInput: there is none, it is damaged, of another schema, or names a file outside the bundle.
    """
    path = folder / BUNDLE_FILE
    try:
        content = path.read_bytes()
        raw = json.loads(content.decode("utf-8"))
        version = raw["schema_version"]
        if (raw["kind"], version) == (KIND, SCHEMA_VERSION):
            return Bundle.from_facts(raw, hashlib.sha256(content).hexdigest())
    except ExplainedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        seen = f"{path} cannot be read as a bundle: {type(error).__name__}: {error}"
        raise BadInput(seen, needed="the folder of an unpacked bundle", do=_COPY) from error
    raise BadInput(
        f"{path} has kind {raw['kind']!r} and schema version {version!r}",
        needed=f"{KIND!r} and {SCHEMA_VERSION}",
        do="Use the runner.py that came with this bundle, or pack it again",
    )


def _number(value: Any) -> float:
    """A finite number: JSON as Python reads it has NaN, which every comparison with a gate gets wrong, and Infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadInput(f"bundle.json holds {value!r} for a number", needed=_WHOLE)
    return float(value)


def _gate(raw: Mapping[str, Any]) -> Closeness:
    return Closeness(**{name: _number(value) for name, value in raw.items()})


def _linked(folder: Path, name: str) -> bool:
    """Whether the file, or a folder on the way to it, is a symbolic link."""
    path = folder
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            return True
    return False
