"""Read what TensorRT says of an engine's layers: the builder's verbose log, or the engine inspector's JSON.

The forms, with an example of each as it was published:

* `Layer(Type): name, Tactic: 0x..., in (Half[1,3,8,8]) -> out (Half[1,8])`, TensorRT 8, and later ones without
  `ProfilingVerbosity.DETAILED` (github.com/NVIDIA/TensorRT/issues/4397; zmurder.github.io writes `in[Half(1,3,8,8)]`);
* `Name: ..., LayerType: gemm, Inputs: [ { Name: ..., Format/Datatype: Half }], ...`, TensorRT 8's `trtexec
  --dumpLayerInfo` and TensorRT 10's builder, constants among the inputs (the same issue 4397);
* the same with `Constants: [...]` and `Datatype: Half, Format: ...`, TensorRT 11 and for RTX (seen; NVIDIA's guide
  "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x");
* the fields as JSON, `{"Layers": [{"Name": ..., "LayerType": ...}]}`, from the inspector or `trtexec
  --exportLayerInfo` (github.com/NVIDIA/TensorRT/issues/4020), or names alone: `{"Layers": ["name", ...]}`.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_deploy.errors import BadInput

__all__ = ["EngineLayer", "LayerTensor", "listing_of", "listing_path", "read_listing", "read_listings"]

# A log line's own prefixes, such as `[04/18/2025-03:51:19] [V] [TRT] `.
_HEADING = re.compile(r"^(?:\[[^\]\n]*\] )*(?:Engine Layer Information|Layers):[ \t]*\r?$", re.MULTILINE)
_DETAILED = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<type>\w+), (?P<rest>.*)$", re.MULTILINE)
_CLASSIC = re.compile(r"^Layer\((?P<type>\w+)\): (?P<name>.*?), Tactic: (?P<tactic>[^,]*),(?P<rest>.*)$", re.MULTILINE)
_LAYER = re.compile(r"(?:\[[^\]\n]*\] )*(?:Name: |Layer\()")

_TENSORS = re.compile(
    r"Inputs: \[(?P<Inputs>.*?)\](?:, Constants: \[(?P<Constants>.*?)\])?, Outputs: \[(?P<Outputs>.*)$"
)
_TENSOR = re.compile(r"\{ Name: (?P<name>.*?), (?:Location: \w+, )?Dimensions: \[(?P<dims>[^\]]*)\],(?P<more>[^}]*)\}")
_TYPE_FIELD = re.compile(r"\b(?:Format/)?Datatype: ([^,}]*)")
_CLASSIC_TENSOR = re.compile(
    r"[\[(](Float|Half|BFloat16|BF16|FP8|FP4|Int8|UInt8|Int32|Int64|Int4|Bool)[\[(]([-\d,]*)[)\]]"
)
_WEIGHTS = re.compile(r'\bWeights: \{"Type": "(\w+)", "Count": (\d+)')
_TACTIC = re.compile(r"\bTacticName: ([^,]*)")
_METADATA = re.compile(r"\bMetadata: (.*)$")
_ONNX_NAME = re.compile(r"\[ONNX Layer: (.*?)\]")

# Constants stand among the inputs before TensorRT 11, under names of the compiler's own: `__mye116_dconst`.
_CONSTANT = re.compile(r"^__mye\d+.*(const|_alpha|_beta|_reshape)", re.IGNORECASE)

# What the versions call a type: `Half`, `Row major linear FP16 format`, `Two wide channel vectorized ... FP16 format`.
_TYPES = (
    ("int8", re.compile(r"\bint8\b", re.IGNORECASE)),
    ("fp8", re.compile(r"\bfp8|float8|e4m3|e5m2", re.IGNORECASE)),
    ("bf16", re.compile(r"\bbf16\b|bfloat16", re.IGNORECASE)),
    ("fp16", re.compile(r"\bfp16\b|\bhalf\b|float16", re.IGNORECASE)),
    ("fp32", re.compile(r"\bfp32\b|\bfloat\b|float32", re.IGNORECASE)),
)


@dataclass(frozen=True)
class LayerTensor:
    """What a layer reads or writes.

    Attributes:
        name: The builder's own name.
        size: Number of elements, free axes taken as 1; 0 where the listing does not say.
        type: `int8`, `fp8`, `fp16`, `bf16`, `fp32`; `other` for indices and the like; `unknown`.
    """

    name: str
    size: int
    type: str


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        name: The builder's name of it.
        type: The builder's layer type, such as `kgen` or `CaskConvolution`; empty where only the name is listed.
        inputs: What it reads of other layers, or of the engine's inputs.
        constants: Weights and other constants.
        outputs: What it writes.
        tactic: Name of the kernel, where it is told.
        onnx: Names of the graph's nodes that were fused into it, where they are told.
    """

    name: str
    type: str
    inputs: tuple[LayerTensor, ...] = ()
    constants: tuple[LayerTensor, ...] = ()
    outputs: tuple[LayerTensor, ...] = ()
    tactic: str = ""
    onnx: tuple[str, ...] = ()


def listing_path(plan: Path) -> Path:
    """Where the listing of `plan` is kept: `x.rtx.plan` has `x.rtx.plan.layers.txt.gz`."""
    return plan.with_name(plan.name + ".layers.txt.gz")


def listing_of(log_text: str) -> str:
    """The lines of a builder's log that list layers, with their headings; a log has thousands of others."""
    kept = []
    for start, end in _sections(log_text):
        lines = [line for line in log_text[start:end].splitlines() if _DETAILED.match(line) or _CLASSIC.match(line)]
        if lines:
            kept += ["Layers:", *lines]
    return "".join(line + "\n" for line in kept)


def read_listing(path: Path) -> tuple[tuple[EngineLayer, ...], ...]:
    """The listings of a file: a log, an inspector's JSON, or either compressed with gzip.

    Raises:
        BadInput: the file cannot be read, was cut off, or lists no layers.
    """
    needed = "a builder's verbose log (trtexec --verbose), or the JSON of trtexec --exportLayerInfo"
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read: {error}", needed=needed) from error
    if _LAYER.match(text.rpartition("\n")[2]):
        # What is missing behind it may be what is wrong, and what is left would be judged as if it were all.
        raise BadInput(f"{path} ends in the middle of a layer", needed=needed, do="Save the whole of it")
    try:
        found = read_listings(text)
    except BadInput as error:
        raise BadInput(f"{path}: {error.seen}", needed=error.needed) from error
    if not found:
        raise BadInput(
            f"{path} lists no layers of an engine", needed=needed, do="Build with --verbose, and audit that log"
        )
    return found


def read_listings(text: str) -> tuple[tuple[EngineLayer, ...], ...]:
    """The layers of each listing in a log, in order, or those of an inspector's JSON; empty when there are none."""
    if text.lstrip()[:1] == "{":
        layers = _from_json(text)
        return (layers,) if layers else ()
    listings = []
    for start, end in _sections(text):
        section = text[start:end]
        found = [(line.start(), _detailed(line)) for line in _DETAILED.finditer(section)]
        found += [(line.start(), _classic(line)) for line in _CLASSIC.finditer(section)]
        if found:
            listings.append(tuple(layer for _, layer in sorted(found, key=lambda entry: entry[0])))
    return tuple(listings)


def _sections(text: str) -> tuple[tuple[int, int], ...]:
    """From behind each heading to the next one, or to the end."""
    headings = list(_HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return tuple((heading.end(), end) for heading, end in zip(headings, ends))


def _detailed(line: Any) -> EngineLayer:
    rest = line["rest"]
    lists, tactic, metadata, weights = (pattern.search(rest) for pattern in (_TENSORS, _TACTIC, _METADATA, _WEIGHTS))
    inputs, constants, outputs = (
        [_tensor(found) for found in _TENSOR.finditer((lists and lists[kind]) or "")]
        for kind in ("Inputs", "Constants", "Outputs")
    )
    if weights:
        constants.append(LayerTensor("weights", int(weights[2]), _type(weights[1])))
    return _layer(
        line["name"],
        line["type"],
        inputs,
        constants,
        outputs,
        tactic[1] if tactic else "",
        metadata[1] if metadata else "",
    )


def _tensor(found: Any) -> LayerTensor:
    kind = _TYPE_FIELD.search(found["more"])
    return LayerTensor(found["name"], _size(found["dims"].split(",")), _type(kind[1]) if kind else "unknown")


def _classic(line: Any) -> EngineLayer:
    reads, _, writes = line["rest"].rpartition(" -> ")
    sides = [
        [LayerTensor("", _size(dims.split(",")), _type(kind)) for kind, dims in _CLASSIC_TENSOR.findall(side)]
        for side in (reads, writes)
    ]
    return _layer(line["name"], line["type"], sides[0], [], sides[1], "", "")


def _from_json(text: str) -> tuple[EngineLayer, ...]:
    try:
        listed = json.loads(text)["Layers"]
        return tuple(_of_object(entry) for entry in listed)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise BadInput(
            f"the engine inspector's JSON cannot be read: {type(error).__name__}: {error}",
            needed='an object with "Layers", as trtexec --exportLayerInfo writes it',
        ) from error


def _of_object(entry: Any) -> EngineLayer:
    if isinstance(entry, str):  # LAYER_NAMES_ONLY, the builder's default
        return _layer(entry, "", [], [], [], "", "")
    lists = {}
    for kind in ("Inputs", "Constants", "Outputs"):
        lists[kind] = [
            LayerTensor(
                str(tensor.get("Name", "")),
                _size(tensor.get("Dimensions", ())),
                _type(str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "")),
            )
            for tensor in entry.get(kind, ())
        ]
    weights = entry.get("Weights")
    if isinstance(weights, Mapping):
        kind = _type(str(weights.get("Type", "")))
        lists["Constants"].append(LayerTensor("weights", int(weights.get("Count", 0)), kind))
    return _layer(
        str(entry["Name"]),
        str(entry.get("LayerType", "")),
        lists["Inputs"],
        lists["Constants"],
        lists["Outputs"],
        str(entry.get("TacticName", "")),
        str(entry.get("Metadata", "")),
    )


def _layer(name: str, kind: str, inputs: Any, constants: Any, outputs: Any, tactic: str, metadata: str) -> EngineLayer:
    """Constants that were listed among the inputs go where they belong."""
    return EngineLayer(
        name,
        kind,
        tuple(tensor for tensor in inputs if not _CONSTANT.match(tensor.name)),
        (*constants, *(tensor for tensor in inputs if _CONSTANT.match(tensor.name))),
        tuple(outputs),
        tactic,
        tuple(dict.fromkeys(_ONNX_NAME.findall(metadata))) or _joined_names(name),
    )


def _joined_names(name: str) -> tuple[str, ...]:
    """Before metadata came, a fused layer's name was the names of what it holds: `a + b`, `a || b`."""
    if name.startswith(("__my", "_gemm_mha", "Reformatting ", "{ForeignNode")):
        return ()
    return tuple(part for part in re.split(r" \+ | \|\| ", name) if part)


def _size(dims: Any) -> int:
    """Number of elements; a free axis counts as 1."""
    count: int | None = None
    for dim in dims:
        text = str(dim).strip()
        if text:
            count = (count or 1) * (int(text) if text.isdecimal() else 1)
    return count or 0


def _type(text: str) -> str:
    for name, pattern in _TYPES:
        if pattern.search(text):
            return name
    return "other" if text.strip() else "unknown"
