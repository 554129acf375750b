"""Read a classifier or backbone: infer its architecture, and bring its weights under canonical names.

The same for every dialect: a `Layout` says how a canonical name is spelled there. What no shape tells comes from the
hints, and is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.canonical import canonical_tensors
from swin_deploy.checkpoint.configured_windows import whole_spec
from swin_deploy.checkpoint.dialect import Layout, Reading
from swin_deploy.checkpoint.facts import Facts, stage_facts
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Classifier, Task
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_swin"]

Size = tuple[int, int]


def read_swin(table: KeyTable, layout: Layout, tensors: Mapping[str, Tensor], hints: ArchitectureHints) -> Reading:
    """Infer the architecture of a classifier or backbone and rename its weights.

    Raises:
        BadInput: a key is missing, unexpected or mis-shaped, or a fact is neither in a shape nor in `hints`.
    """
    facts = Facts(table.knowing(usual_keys(layout)), layout, tensors, hints)
    family = "V2: logit scales" if layout.family == "v2" else "V1: no logit scales"
    facts.evidence.append(f"family {family}")
    channels, patch = _patch(facts)
    task = _task(facts)
    image_size = _image_size(facts)
    stages = tuple(stage_facts(facts, index) for index in range(facts.stages()))
    if not stages:
        raise BadInput(
            f"{table.origin}: no block was found, which would begin with {facts.prefix(0, 0)}",
            needed="the weights of a Swin",
            do="Check --dialect, or leave it out",
        )
    rule = layout.rules[0] if isinstance(task, Classifier) else layout.rules[1]
    draft = SwinSpec(
        family=layout.family,
        image_size=image_size,
        patch=patch,
        channels=channels,
        stages=tuple(StageSpec(s.depth, s.dim, s.heads, (1, 1), s.mlp_dim, (1, 1)) for s in stages),
        task=task,
        rule=rule,
        patch_norm=facts.has("patch_embed.norm.weight") or facts.has("patch_embed.norm.bias"),
        norm_eps=hints.norm_eps or 1e-5,
    )
    facts.evidence.append(
        f"image {image_size[0]}x{image_size[1]}: {hints.source}; patch {patch}: {facts.key('patch_embed.proj.weight')}"
    )
    facts.evidence.append(f"geometry as {rule} has it")
    spec = whole_spec(facts, draft, stages)
    return Reading(spec, canonical_tensors(facts, spec, stages), tuple(facts.evidence))


def usual_keys(layout: Layout) -> tuple[str, ...]:
    """One key of each kind that a checkpoint of this layout has: none of them is a misspelling of another."""
    from swin_deploy.model.forms import build_reference

    blocks = (StageSpec(1, 1, 1, (1, 1), 1, (1, 1)), StageSpec(1, 1, 1, (1, 1), 1, (1, 1)))
    names = []
    for task in (Classifier(1), Backbone((0, 1), True)):
        names += list(build_reference(SwinSpec(layout.family, (2, 2), 1, 3, blocks, task)).state_dict())
    return tuple(key for name in names for key in layout.sources(name) if key is not None)


def _patch(facts: Facts) -> tuple[int, int]:
    name = "patch_embed.proj.weight"
    _, channels, patch, patch_columns = facts.shape(name, 4)
    if patch != patch_columns or channels != 3:
        raise BadInput(
            f"{facts.table.origin}: {facts.key(name)} reads {channels} channels in patches of {patch}x{patch_columns}",
            needed="RGB images in square patches",
            do="Check the key's shape; models for other images are not supported yet",
        )
    facts.agreed(
        "channels of the patches",
        (name, 4, 0),
        ("patch_embed.proj.bias", 1, 0),
        ("stages.0.blocks.0.norm1.weight", 1, 0),
    )
    return channels, patch


def _task(facts: Facts) -> Task:
    asked, origin = facts.hints.task, facts.table.origin
    if asked == "restoration":
        raise BadInput(f"{origin}: --task restoration", needed="the keys of SwinIR or Swin2SR", do="Check --task")
    count = facts.stages()
    norms = [index for index in range(count) if facts.has(f"out_norms.{index}.weight")]
    head = facts.has("head.weight") or facts.has("head.bias")  # either, so that the other one is missed by name
    if asked == "classification" or (asked is None and head):
        if asked is None and facts.hints.out_stages is not None:
            raise BadInput(
                f"{origin} is a classifier, and features of stages {', '.join(map(str, facts.hints.out_stages))} are "
                "asked for",
                needed="--task backbone for the features of its stages",
                do="Give --task backbone, or leave --out-stages out",
            )
        classes = facts.agreed("classes", ("head.weight", 2, 0), ("head.bias", 1, 0))
        facts.evidence.append(f"classifier of {classes} classes: {facts.key('head.weight')}")
        return Classifier(classes)
    if asked is None and not norms:
        raise BadInput(
            f"{origin}: there is neither a head ({facts.key('head.weight')}) nor a norm an output stage",
            needed="a classifier, or a backbone",
            do="Give --task backbone for the plain features of the stages, or bring the checkpoint with its head",
        )
    wanted = facts.hints.out_stages or (tuple(norms) if norms else tuple(range(count)))
    if norms and not set(wanted) <= set(norms):
        raise BadInput(
            f"{origin}: features of stages {', '.join(map(str, wanted))} are asked for, and there are norms for "
            f"{', '.join(map(str, norms))}",
            needed="output stages that were trained with their norms",
            do="Check --out-stages",
        )
    if not wanted or max(wanted) >= count or list(wanted) != sorted(set(wanted)):
        raise BadInput(
            f"{origin}: features of stages {', '.join(map(str, wanted))} of {count} stages are asked for",
            needed=f"ascending indices from 0 to {count - 1}",
            do="Check --out-stages",
        )
    facts.evidence.append(
        f"backbone with stages {', '.join(map(str, wanted))}: "
        + (facts.key(f"out_norms.{wanted[0]}.weight") if norms else facts.hints.source)
    )
    return Backbone(wanted, bool(norms))


def _image_size(facts: Facts) -> Size:
    if facts.hints.image_size is None:
        raise BadInput(
            f"{facts.table.origin}: the image size is in no tensor, and {facts.hints.unstated}",
            needed="the image size the model is to run at",
            do="Give --image-size N or put a JSON beside the checkpoint",
        )
    return facts.hints.image_size
