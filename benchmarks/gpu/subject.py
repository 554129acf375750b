"""One network in the forms that are compared: timm's model, and ours with the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from examples.zoo.build_zoo import ZOO, Entry, checkpoint_of, random_weights
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import build_reference

__all__ = ["REHEARSAL", "Subject", "entry_of", "subject"]


def _small(family: Any) -> Entry:
    trained = (7, 7) if family == "v2" else None
    stages = tuple(StageSpec(2 - level, 32 * 2**level, 1 + level, (7, 7), 64 * 2**level, trained) for level in range(2))
    return Entry(SwinSpec(family, (28, 28), 2, 3, stages, Classifier(10)), "timm", 7)


REHEARSAL: Mapping[str, Entry] = {"small_v1": _small("v1"), "small_v2": _small("v2")}
"""Networks that a CPU runs in no time: they prove that a script runs, and no speed."""


@dataclass(frozen=True)
class Subject:
    """A network with random weights on which nothing cancels by chance, FP32, in evaluation mode.

    Attributes:
        spec: Its architecture.
        timm: timm's own model.
        paper: Our paper form: the reference that errors are told against.
        deployment: Our deployment form.
    """

    spec: SwinSpec
    timm: nn.Module
    paper: nn.Module
    deployment: nn.Module


def entry_of(name: str) -> Entry:
    """What is published under `name`, or one of `REHEARSAL`."""
    return REHEARSAL.get(name) or ZOO[name]


def subject(name: str) -> Subject:
    """The network `name` in all its forms, on the CPU."""
    entry = entry_of(name)
    paper = build_reference(entry.spec)
    paper.load_state_dict(random_weights(entry.spec, entry.seed))
    return Subject(entry.spec, _timm(entry), paper.eval(), fold(paper.eval()))


def _timm(entry: Entry) -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    spec = entry.spec
    assert isinstance(spec.task, Classifier)
    build = SwinTransformer if spec.family == "v1" else SwinTransformerV2
    model: nn.Module = build(
        img_size=spec.image_size,
        patch_size=spec.patch,
        in_chans=spec.channels,
        num_classes=spec.task.classes,
        embed_dim=spec.stages[0].dim,
        depths=tuple(stage.depth for stage in spec.stages),
        num_heads=tuple(stage.heads for stage in spec.stages),
        window_size=entry.window,
        mlp_ratio=spec.stages[0].mlp_dim / spec.stages[0].dim,
    )
    with torch.no_grad():
        keys = model.load_state_dict(checkpoint_of(entry), strict=False)
    # timm's releases differ in which of their tables are saved; no weight is among these.
    assert not keys.unexpected_keys and not set(keys.missing_keys) & dict(model.named_parameters()).keys()
    return model.eval()
