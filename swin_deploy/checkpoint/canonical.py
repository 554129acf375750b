"""Bring a checkpoint's weights under canonical names, once its keys are known to be those of its architecture."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from swin_deploy.checkpoint.facts import BIAS_TABLE, Facts, StageFacts, offsets, size_text
from swin_deploy.checkpoint.keys import Shape
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["canonical_tensors"]

Size = tuple[int, int]


def canonical_tensors(facts: Facts, spec: SwinSpec, stages: tuple[StageFacts, ...]) -> dict[str, Tensor]:
    """Every weight of the paper form from their keys, after checking that the keys are exactly those.

    Raises:
        BadInput: a key is missing, unexpected, mis-shaped or quantized, or a table would have to be interpolated in a
            code base that has no way to.
    """
    expected = _expected(facts, spec, stages)
    own: dict[str, Shape] = {}
    tables = {}
    for name, shape in expected.items():
        stored = _stored_table(name, stages)
        if stored is not None:
            tables[name] = stored
            shape = (offsets(stored), shape[1])
        sources = _present(facts, name)
        for key in sources:
            if key is not None:
                own[key] = (shape[0] // len(sources), *shape[1:])
    ignored = {key for key in facts.table.shapes if key.rsplit(".", 1)[-1] in facts.layout.rebuilt}
    extra = _attention_extras(facts, spec, set(own) | ignored)
    ignored |= set(extra) | _left_out(facts, spec)
    facts.table.knowing(list(own)).require_exactly(own, ignored)
    tensors = {name: _assembled(facts, name, shape) for name, shape in expected.items()}
    for name, old in tables.items():
        tensors[name] = _resized(facts, spec, name, tensors[name], old)
    tensors.update({ours: facts.tensors[theirs] for theirs, ours in extra.items()})
    return tensors


def _expected(facts: Facts, spec: SwinSpec, stages: tuple[StageFacts, ...]) -> dict[str, Shape]:
    """Canonical names and shapes; of another attention those that it shares with the window's, where they are there."""
    import torch

    from swin_deploy.model.forms import build_reference

    with torch.device("meta"):
        model = build_reference(replace(spec, attention="window"))
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if spec.attention == "window":
        return expected
    return {
        name: shape for name, shape in expected.items() if ".attn." not in name or _shared(facts, name, shape, stages)
    }


def _shared(facts: Facts, name: str, shape: Shape, stages: tuple[StageFacts, ...]) -> bool:
    """Whether a tensor of the window's attention is in the checkpoint of another one, in the same shape."""
    stored = _stored_table(name, stages)
    if stored is not None:
        shape = (offsets(stored), shape[1])
    keys = facts.layout.sources(name)
    wanted = (shape[0] // len(keys), *shape[1:])
    return all(tuple(facts.table.shapes.get(key, ())) == wanted for key in keys if key is not None)


def _stored_table(name: str, stages: tuple[StageFacts, ...]) -> Size | None:
    """The window of a bias table as it is stored; `None` for any other tensor."""
    return stages[int(name.split(".")[1])].table if name.endswith(BIAS_TABLE) else None


def _present(facts: Facts, name: str) -> tuple[str | None, ...]:
    """Their keys of a name; those of an optional bias that is not there count as zeros."""
    sources = facts.layout.sources(name)
    if name.endswith("attn.qkv.bias") and not any(key in facts.table.shapes for key in sources if key is not None):
        weight = facts.key(name.removesuffix("bias") + "weight")
        if weight in facts.table.shapes and not _any_bias(facts, name):
            return (None,)  # a model that was trained with qkv_bias=False
    return sources


def _any_bias(facts: Facts, name: str) -> bool:
    """Whether any block has this bias: one that is missing in one block alone is a damaged file, not a choice."""
    for stage in range(facts.stages()):
        for block in range(facts.depth(stage)):
            other = f"stages.{stage}.blocks.{block}.attn.qkv.bias"
            if any(key in facts.table.shapes for key in facts.layout.sources(other) if key is not None):
                return True
    return False


def _attention_extras(facts: Facts, spec: SwinSpec, known: set[str]) -> dict[str, str]:
    """For another attention: the keys of each block that are its own, to canonical names."""
    if spec.attention == "window":
        return {}
    extras = {}
    for stage, block in spec.blocks():
        ours = f"stages.{stage}.blocks.{block}.attn."
        parts = zip(*(facts.key(ours + name).split(".") for name in ("qkv.weight", "proj.weight")), strict=False)
        prefix = "".join(f"{one}." for one, other in itertools.takewhile(lambda pair: pair[0] == pair[1], parts))
        for key in facts.table.shapes:
            if key.startswith(prefix) and key not in known:
                extras[key] = ours + key.removeprefix(prefix)
    return extras


def _left_out(facts: Facts, spec: SwinSpec) -> set[str]:
    """Keys that a task does without: a classifier's tail in a backbone, unused norms."""
    if isinstance(spec.task, Classifier):
        return set()
    names = ["norm.weight", "norm.bias", "head.weight", "head.bias"]
    names += [f"out_norms.{index}.{kind}" for index in range(len(spec.stages)) for kind in ("weight", "bias")]
    dropped = {key for name in names for key in facts.layout.sources(name) if key is not None}
    kept = {
        key
        for index in (spec.task.stages if isinstance(spec.task, Backbone) and spec.task.norms else ())
        for kind in ("weight", "bias")
        for key in facts.layout.sources(f"out_norms.{index}.{kind}")
    }
    return (dropped - kept) & set(facts.table.shapes)


def _assembled(facts: Facts, name: str, shape: Shape) -> Tensor:
    import torch

    pieces: list[Any] = []
    sources = _present(facts, name)
    for key in sources:
        if key is None:
            pieces.append(torch.zeros(shape[0] // len(sources), *shape[1:]))
            continue
        if not facts.tensors[key].is_floating_point():
            raise BadInput(
                f"{key} holds {str(facts.tensors[key].dtype).removeprefix('torch.')}",
                needed="floating-point weights",
                do="Bring the weights from before their quantization",
            )
        pieces.append(facts.tensors[key])
    joined = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return joined if facts.layout.arrange is None else facts.layout.arrange(name, joined)


def _resized(facts: Facts, spec: SwinSpec, name: str, table: Tensor, old: Size) -> Tensor:
    """A bias table for the window in force."""
    stage, block = int(name.split(".")[1]), int(name.split(".")[3])
    new = spec.geometry(stage, block).window
    if new == old:
        return table
    if facts.layout.resize_table is None:
        raise BadInput(
            f"{facts.table.origin}: {facts.key(name)} is the table of a window of {size_text(old)}, and at this image "
            f"size and --window the stage has one of {size_text(new)}",
            needed="the window of the training: this code base has no interpolation of bias tables",
            do="Choose another --image-size, or leave --window out",
        )
    if block == 0:
        facts.evidence.append(
            f"bias tables of stage {stage} interpolated from a window of {size_text(old)} to {size_text(new)}, as the "
            f"code base does ({facts.layout.resize_table.__name__}): accuracy has to be measured"
        )
    return facts.layout.resize_table(table, old, new)
