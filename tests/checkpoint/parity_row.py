"""One row of the parity table: a checkpoint as its code base saves it, and what that code base's own model answers.

A family of dialects keeps its rows in a `parity_rows_*.py` beside this file, as a tuple `ROWS`; `test_parity_table.py`
collects them all and runs each through `load_checkpoint`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from swin_deploy.checkpoint.load import Checkpoint, load_checkpoint
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import build_reference

__all__ = [
    "Errors",
    "Original",
    "ParityRow",
    "Sample",
    "compare",
    "golden",
    "is_padded",
    "loaded",
    "misruled",
    "spoiled",
    "written",
]

GOLDEN = Path(__file__).parents[1] / "golden"
DTYPES = (torch.float64, torch.float32)
# By (form, type): the largest relative error over all samples and outputs.
Errors = dict[tuple[str, torch.dtype], float]


@dataclass(frozen=True)
class Sample:
    """Images of one size, and what the original answers to them.

    Attributes:
        images: [B, channels, H, W]; each size is loaded for itself, with it as `--image-size`.
        outputs: The original's outputs in FP64, in the order of `SwinSpec.outputs`.
        options: Further options of `load_checkpoint` for this size.
    """

    images: Tensor
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Original:
    """A checkpoint of an original implementation.

    Attributes:
        state: Its entries under the keys it has on disk.
        samples: What the original computes with it.
        options: Options of `load_checkpoint`, for every sample.
        sidecar: JSON that is put beside the file.
        sidecar_name: Name of that JSON.
        wrapper: The entry of the file that holds the state dict; empty for a `.safetensors`, which has none.
    """

    state: Mapping[str, Tensor]
    samples: tuple[Sample, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    sidecar: Mapping[str, Any] | None = None
    sidecar_name: str = "config.json"
    wrapper: str = ""


@dataclass(frozen=True)
class ParityRow:
    """A dialect, a family and a task, held against the original.

    Attributes:
        dialect: What detection must answer.
        family: `v1` or `v2`.
        task: `classification`, `backbone` or `restoration`.
        case: What this row is about, in a few words.
        source: `live`: the original runs in the test; `golden`: its recorded answers are read.
        original: Makes or reads the original; called when the test runs.
        padded: Whether windows, patches or the image are padded in any sample; it is checked that they are.
        single: Bound on the error of FP32 where it is not 1e-5, with the reason beside the row.
        double: The same of FP64.
        refused: A part of the message where the model is known and not supported; nothing is compared then.
    """

    dialect: str
    family: str
    task: str
    case: str
    source: Literal["live", "golden"]
    original: Callable[[], Original]
    padded: bool = False
    single: float = 1e-5
    double: float = 1e-10
    refused: str = ""

    def bound(self, dtype: torch.dtype) -> float:
        """On max|ours - original's| / max|original's| of every output; the original's are FP64 in either case."""
        return self.single if dtype == torch.float32 else self.double

    def __str__(self) -> str:
        words = (self.dialect, self.family, self.task, self.case)
        return "-".join(word.replace(",", "").replace(" ", "_") for word in words)


def golden(case: str, *, only: tuple[int, ...] | None = None, **options: Any) -> Callable[[], Original]:
    """The original recorded in `tests/golden/<case>.safetensors`, with `options` of `load_checkpoint`.

    Args:
        case: Name of the file.
        only: Which of its images are compared; all without.
        options: For `load_checkpoint`.
    """

    def read() -> Original:
        with safe_open(GOLDEN / f"{case}.safetensors", "pt") as file:
            facts = json.loads(file.metadata()["golden"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        state = {
            key.removeprefix("checkpoint."): value for key, value in tensors.items() if key.startswith("checkpoint.")
        }
        samples = []
        for index in only or range(len(facts["sizes"])):
            prefix = f"output.{index}."
            outputs = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            samples.append(Sample(tensors[f"image.{index}"], tuple(outputs[name] for name in sorted(outputs))))
        return Original(state, tuple(samples), options, wrapper=facts["wrapper"])

    return read


def written(original: Original, folder: Path) -> Path:
    """The checkpoint as a file, with its wrapper and what stands beside it."""
    state = {name: tensor.detach().clone().contiguous() for name, tensor in original.state.items()}
    if original.wrapper:
        path = folder / "model.pth"
        torch.save({original.wrapper: state}, path)
    else:
        path = folder / "model.safetensors"
        save_file(state, path)
    if original.sidecar is not None:
        (folder / original.sidecar_name).write_text(json.dumps(original.sidecar), encoding="utf-8")
    return path


def loaded(row: ParityRow, original: Original, path: Path) -> Iterator[tuple[Sample, Checkpoint]]:
    """The checkpoint read for each size, after checking that it was taken for what it is."""
    for sample in original.samples:
        size = (sample.images.shape[2], sample.images.shape[3])
        checkpoint = load_checkpoint(path, **{"image_size": size, **original.options, **sample.options})
        assert checkpoint.dialect == row.dialect
        assert checkpoint.reading.spec.family == row.family
        assert _task(checkpoint.reading.spec) == row.task
        yield sample, checkpoint


@torch.no_grad()
def compare(row: ParityRow, original: Original, folder: Path) -> tuple[Errors, bool]:
    """The errors of both forms in both types, and whether anything was padded."""
    errors: Errors = {}
    padded = False
    for sample, checkpoint in loaded(row, original, written(original, folder)):
        padded = padded or is_padded(checkpoint.reading.spec)
        reference = checkpoint.reference()
        for dtype in DTYPES:
            reference.to(dtype)  # the weights were FP32, so that nothing is lost on the way back
            for form, model in (("reference", reference), ("deployment", fold(reference))):
                error = _error(model, sample, dtype)
                errors[form, dtype] = max(error, errors.get((form, dtype), 0.0))
    return errors, padded


@torch.no_grad()
def spoiled(row: ParityRow, original: Original, folder: Path) -> float:
    """The FP64 error of the paper form when one weight in the middle of the file has the wrong sign."""
    names = [name for name, tensor in original.state.items() if name.endswith(".weight") and tensor.ndim >= 2]
    wrong = names[len(names) // 2]
    state = {**original.state, wrong: -original.state[wrong]}
    one = replace(original, state=state, samples=original.samples[:1])
    sample, checkpoint = next(loaded(row, one, written(one, folder)))
    return _error(checkpoint.reference().double(), sample, torch.float64)


@torch.no_grad()
def misruled(row: ParityRow, original: Original, folder: Path, rule: str) -> float:
    """The largest FP64 error of the paper form under another code base's geometry rule."""
    worst = 0.0
    for sample, checkpoint in loaded(row, original, written(original, folder)):
        model = build_reference(replace(checkpoint.reading.spec, rule=rule))
        model.load_state_dict(dict(checkpoint.reading.tensors))
        worst = max(worst, _error(model.double().eval(), sample, torch.float64))
    return worst


def is_padded(spec: SwinSpec) -> bool:
    """Whether any token or pixel is there for the windows' or the patches' sake alone."""
    return spec.padded_image != spec.image_size or any(spec.geometry(*block).padded for block in spec.blocks())


def _error(model: nn.Module, sample: Sample, dtype: torch.dtype) -> float:
    got = model(sample.images.to(dtype))
    got = got if isinstance(got, tuple) else (got,)
    worst = 0.0
    for ours, theirs in zip(got, sample.outputs, strict=True):
        assert ours.shape == theirs.shape
        worst = max(worst, float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()))
    return worst


def _task(spec: SwinSpec) -> str:
    if isinstance(spec.task, Classifier):
        return "classification"
    return "backbone" if isinstance(spec.task, Backbone) else "restoration"
