"""The layouts of restoration models: SwinIR, Swin2SR, and Swin2SR in Hugging Face's transformers.

All three are the network of `model/restoration.py` under other names. Signs: a residual group's blocks
(`layers.{i}.residual_group.blocks.{j}`) behind a first convolution, with V1 or V2 blocks; Hugging Face's keys begin
with `swin2sr.`. Upsampler and scale follow from the keys and shapes of what stands behind the groups.
Source of the names: JingyunLiang/SwinIR, models/network_swinir.py; mv-lab/swin2sr, models/network_swin2sr.py;
transformers 5, models/swin2sr/modeling_swin2sr.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from swin_deploy.checkpoint.canonical import canonical_tensors
from swin_deploy.checkpoint.configured_windows import whole_spec
from swin_deploy.checkpoint.dialect import Layout, Reading, Sources, renamed, split_bias
from swin_deploy.checkpoint.facts import Facts, StageFacts, stage_facts
from swin_deploy.checkpoint.hints import ArchitectureHints
from swin_deploy.checkpoint.keys import KeyTable
from swin_deploy.checkpoint.spec import Family, StageSpec, SwinSpec
from swin_deploy.checkpoint.task import GroupConv, Restoration, Upsampler
from swin_deploy.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HuggingFaceSwin2SR", "Swin2SR", "SwinIR"]

Rules = tuple[tuple[str, str], ...]
Size = tuple[int, int]

# All three code bases have it in their source, for images of three channels: the mean of the DIV2K data set.
_DIV2K = (0.4488, 0.4371, 0.4040)
_MOST_STEPS = 8  # upsampling convolutions that are looked for, each a factor of two
_BLOCK = (
    (r"^stages\.(\d+)\.blocks\.", r"layers.\1.residual_group.blocks."),
    (r"^embeds\.(\d+)\.", r"layers.\1.patch_embed.proj."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
)
# What stands behind the groups, by the key that only this upsampler has; the first match counts.
_ENDS: tuple[tuple[str, Upsampler, Rules], ...] = (
    (
        "conv_up1.weight",
        "nearest+conv",
        (
            (r"^upsample\.conv_before\.", "conv_before_upsample.0."),
            (r"^upsample\.conv_up0\.", "conv_up1."),
            (r"^upsample\.conv_up1\.", "conv_up2."),
            (r"^upsample\.conv_(hr|last)\.", r"conv_\1."),
        ),
    ),
    (
        "conv_before_upsample.0.weight",
        "pixelshuffle",
        (
            (r"^upsample\.conv_before\.", "conv_before_upsample.0."),
            *((rf"^upsample\.conv_up{step}\.", f"upsample.{2 * step}.") for step in range(_MOST_STEPS)),
            (r"^upsample\.conv_last\.", "conv_last."),
        ),
    ),
    ("upsample.0.weight", "pixelshuffledirect", ((r"^upsample\.conv_last\.", "upsample.0."),)),
    ("conv_last.weight", "none", ((r"^upsample\.conv_last\.", "conv_last."),)),
)
_HF_BLOCK = (
    (r"^stages\.(\d+)\.blocks\.(\d+)\.", r"swin2sr.encoder.stages.\1.layers.\2."),
    (r"^embeds\.(\d+)\.", r"swin2sr.encoder.stages.\1.patch_embed.projection."),
    (r"^conv_first\.", "swin2sr.first_convolution."),
    (r"^patch_embed\.proj\.", "swin2sr.embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "swin2sr.embeddings.patch_embeddings.layernorm."),
    (r"^norm\.", "swin2sr.layernorm."),
    (r"^conv_after_body\.0\.", "swin2sr.conv_after_body."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.0\.", ".intermediate.dense."),
    (r"\.mlp\.2\.", ".output.dense."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.self."),
    (r"\.cpb_mlp\.", ".continuous_position_bias_mlp."),
)
_HF_ENDS: tuple[tuple[str, Upsampler, Rules], ...] = (
    (
        "upsample.conv_up1.weight",
        "nearest+conv",
        (
            (r"^upsample\.conv_before\.", "upsample.conv_before_upsample."),
            (r"^upsample\.conv_up1\.", "upsample.conv_up2."),
            (r"^upsample\.conv_up0\.", "upsample.conv_up1."),
            (r"^upsample\.conv_last\.", "upsample.final_convolution."),
        ),
    ),
    (
        "upsample.upsample.convolution.weight",
        "pixelshuffle",
        (
            (r"^upsample\.conv_before\.", "upsample.conv_before_upsample."),
            (r"^upsample\.conv_up0\.", "upsample.upsample.convolution."),
            (r"^upsample\.conv_last\.", "upsample.final_convolution."),
        ),
    ),
    (
        "upsample.conv_before_upsample.weight",
        "pixelshuffle",
        (
            (r"^upsample\.conv_before\.", "upsample.conv_before_upsample."),
            (r"^upsample\.conv_up(\d)\.", r"upsample.upsample.convolution_\1."),
            (r"^upsample\.conv_last\.", "upsample.final_convolution."),
        ),
    ),
    ("upsample.conv.weight", "pixelshuffledirect", ((r"^upsample\.conv_last\.", "upsample.conv."),)),
    ("final_convolution.weight", "none", ((r"^upsample\.conv_last\.", "final_convolution."),)),
)
# Swin2SR's other two upsamplers, by a key that only they have.
_MORE_OUTPUTS = (
    (r"(?:^|\.)conv_(?:aux|bicubic)\.", "pixelshuffle_aux", "the low-resolution image beside the result"),
    (r"^(?:layers_hf|upsample_hf|conv_first_hf)\.", "pixelshuffle_hf", "a second network for the high frequencies"),
)


@dataclass(frozen=True)
class SwinIR:
    """JingyunLiang/SwinIR, and BasicSR's copy of it."""

    name: str = "swinir"

    def recognises(self, table: KeyTable) -> str | None:
        """By residual groups of blocks with bias tables."""
        return _groups(table, v2=False)

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        return _original("v1", table)


@dataclass(frozen=True)
class Swin2SR:
    """mv-lab/swin2sr."""

    name: str = "swin2sr"

    def recognises(self, table: KeyTable) -> str | None:
        """By residual groups of blocks with logit scales."""
        return _groups(table, v2=True)

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        return _original("v2", table)


@dataclass(frozen=True)
class HuggingFaceSwin2SR:
    """`Swin2SRForImageSuperResolution` of transformers."""

    name: str = "huggingface-swin2sr"

    def recognises(self, table: KeyTable) -> str | None:
        """By the name of the network in the keys."""
        return "swin2sr.encoder.stages.*.layers.*" if table.count("swin2sr.encoder.stages.{}.layers.") else None

    def layout(self, table: KeyTable, hints: ArchitectureHints) -> Layout:
        """See `Dialect.layout`."""
        end, upsampler, rules = _end(table, _HF_ENDS)
        three = any(".conv.0." in key for key in table.shapes)
        conv = r"swin2sr.encoder.stages.\1.conv."
        convs = (r"^convs\.(\d+)\.", conv) if three else (r"^convs\.(\d+)\.0\.", conv)

        def sources(name: str) -> Sources:
            theirs = renamed(name, (*rules, *_HF_BLOCK, convs))
            stem, found, kind = theirs.partition(".self.qkv.")
            if not found:
                return (theirs,)
            key = None if kind == "bias" else f"{stem}.self.key.{kind}"  # the key has no bias in V2
            return f"{stem}.self.query.{kind}", key, f"{stem}.self.value.{kind}"

        group: GroupConv = "3conv" if three else "1conv"
        # Whatever the groups have, the body ends with one convolution there.
        parts = _Parts(end, upsampler, group, "1conv", "restoration-huggingface")
        return Layout("v2", (parts.rule, parts.rule), sources, read=partial(_read, parts=parts))


@dataclass(frozen=True)
class _Parts:
    """What the keys alone tell.

    Attributes:
        end: The key that tells the upsampler.
        upsampler: How the output's resolution is reached.
        group_conv: See `Restoration`.
        body_conv: See `Restoration`.
        rule: Name in `RULES` for a model that was built for more than one window.
    """

    end: str
    upsampler: Upsampler
    group_conv: GroupConv
    body_conv: GroupConv
    rule: str


def _groups(table: KeyTable, *, v2: bool) -> str | None:
    if not table.count("layers.{}.residual_group.blocks.") or "conv_first.weight" not in table.shapes:
        return None
    if v2 != any(key.endswith(".attn.logit_scale") for key in table.shapes):
        return None
    return f"layers.*.residual_group.blocks.* behind conv_first, {'with' if v2 else 'without'} logit scales"


def _original(family: Family, table: KeyTable) -> Layout:
    end, upsampler, rules = _end(table, _ENDS)
    convs: list[tuple[str, str]] = []
    kinds: list[GroupConv] = []
    for ours, theirs, sign in (
        (r"^convs\.(\d+)\.", r"layers.\1.conv.", "layers.0.conv.0.weight"),
        (r"^conv_after_body\.", "conv_after_body.", "conv_after_body.0.weight"),
    ):
        kinds.append("3conv" if sign in table.shapes else "1conv")
        convs.append((ours if kinds[-1] == "3conv" else ours + r"0\.", theirs))

    def sources(name: str) -> Sources:
        theirs = renamed(name, (*rules, *_BLOCK, *convs))
        return split_bias(theirs) if family == "v2" else (theirs,)

    parts = _Parts(end, upsampler, kinds[0], kinds[1], "restoration")
    return Layout(family, (parts.rule, parts.rule), sources, read=partial(_read, parts=parts))


def _end(table: KeyTable, ends: tuple[tuple[str, Upsampler, Rules], ...]) -> tuple[str, Upsampler, Rules]:
    """Which upsampler there is, and the names of its parts.

    Raises:
        BadInput: it is one of those with more outputs, or there is none.
    """
    for sign, name, extra in _MORE_OUTPUTS:
        if any(re.search(sign, key) for key in table.shapes):
            raise BadInput(
                f"{table.origin} is a Swin2SR with the upsampler {name}",
                needed=f"an upsampler with one output; {extra} is not supported",
                do="Bring the model itself with --model, which is deployed as it is",
            )
    for end in ends:
        if end[0] in table.shapes:
            return end
    raise BadInput(
        f"{table.origin}: there is no upsampler and no last convolution",
        needed="one of the keys " + ", ".join(sign for sign, _, _ in ends),
        do="Bring the checkpoint with everything behind the groups",
    )


def _read(
    table: KeyTable, layout: Layout, tensors: Mapping[str, Tensor], hints: ArchitectureHints, *, parts: _Parts
) -> Reading:
    """Infer the architecture and rename the weights; see `architecture.read_swin`.

    Raises:
        BadInput: a key is missing, unexpected or mis-shaped, or a fact is neither in a shape nor in `hints`.
    """
    if hints.task not in (None, "restoration"):
        raise BadInput(
            f"{table.origin}: --task {hints.task}, and the keys are those of a restoration model",
            needed="--task restoration",
            do="Leave --task out",
        )
    # None of the three is ever given another pretrained window than the window itself.
    hints = replace(hints, pretrained_window=hints.pretrained_window or ((0, 0),))
    facts = Facts(table, layout, tensors, hints)
    facts.evidence.append("family " + ("V2: logit scales" if layout.family == "v2" else "V1: no logit scales"))
    stages = tuple(stage_facts(facts, index) for index in range(facts.stages()))
    if not stages:
        raise BadInput(
            f"{table.origin}: no block was found, which would begin with {facts.prefix(0, 0)}",
            needed="the weights of a restoration model",
            do="Check --dialect, or leave it out",
        )
    channels = facts.shape("conv_first.weight", 4)[1]
    task = _task(facts, parts, channels)
    one_window = _built_for_one_window(facts, stages)
    if one_window is not None:
        facts.evidence.append(f"no block is shifted: {one_window}")
    if one_window is not None and hints.trained_size is not None and hints.window is not None:
        side = min(*hints.trained_size, *hints.window)
        facts.hints = replace(hints, window=(side, side))
    spec = whole_spec(facts, _draft(facts, parts, task, channels, stages, one_window is not None), stages)
    return Reading(spec, canonical_tensors(facts, spec, stages), tuple(facts.evidence))


def _draft(
    facts: Facts, parts: _Parts, task: Restoration, channels: int, stages: tuple[StageFacts, ...], one_window: bool
) -> SwinSpec:
    """Everything but the windows."""
    hints, origin = facts.hints, facts.table.origin
    if hints.image_size is None:
        raise BadInput(
            f"{origin}: the image size is in no tensor, and {hints.unstated}",
            needed="the image size the model is to run at",
            do="Give --image-size N or put a JSON beside the checkpoint",
        )
    if len({stage.dim for stage in stages}) > 1:
        raise BadInput(
            f"{origin}: the groups have {', '.join(str(stage.dim) for stage in stages)} channels",
            needed="residual groups of one width",
            do="Check the keys' shapes",
        )
    facts.agreed("features", ("conv_first.weight", 4, 0), ("stages.0.blocks.0.norm1.weight", 1, 0))
    facts.evidence.append(f"image {hints.image_size[0]}x{hints.image_size[1]}: {hints.source}")
    draft = tuple(StageSpec(s.depth, s.dim, s.heads, (1, 1), s.mlp_dim, (1, 1)) for s in stages)
    return SwinSpec(
        family=facts.layout.family,
        image_size=hints.image_size,
        patch=1,
        channels=channels,
        stages=draft,
        task=task,
        rule="restoration-one-window" if one_window else parts.rule,
        patch_norm=facts.has("patch_embed.norm.weight"),
        norm_eps=hints.norm_eps or 1e-5,
    )


def _task(facts: Facts, parts: _Parts, channels: int) -> Restoration:
    hints, origin = facts.hints, facts.table.origin
    if hints.image_range is None:
        raise BadInput(
            f"{origin}: the image range that the model computes with is in no tensor, and {hints.unstated}",
            needed="its img_range: 1 in all released models but those against JPEG artifacts, which have 255",
            do="Give --image-range, or img_range in the JSON beside the checkpoint",
        )
    scale, why = _scale(facts, parts.upsampler, channels)
    mean = _DIV2K if channels == 3 else (0.0,) * channels
    task = Restoration(
        scale,
        parts.upsampler,
        facts.shape("upsample.conv_before.weight", 4)[0] if facts.has("upsample.conv_before.weight") else 64,
        parts.group_conv,
        parts.body_conv,
        facts.has("embeds.0.weight"),
        mean,
        hints.image_range,
    )
    if parts.rule == "restoration-huggingface" and task.upsampler == "none" and (any(mean) or hints.image_range != 1):
        raise BadInput(
            f"{origin} is a Swin2SR without upsampler, in transformers",
            needed="the original's file: transformers adds the mean to an image that has it already",
            do="Bring the checkpoint of mv-lab/swin2sr",
        )
    facts.evidence.append(f"upsampler {task.upsampler}: {parts.end}; scale {scale}: {why}")
    facts.evidence.append(f"image range {hints.image_range:g}: {hints.source}")
    facts.evidence.append(f"mean {', '.join(map(str, mean))}: as the code has it for {channels} channels")
    return task


def _scale(facts: Facts, upsampler: Upsampler, channels: int) -> tuple[int, str]:
    """The factor from input to output size, and what tells it."""
    last = "upsample.conv_last.weight"
    if upsampler == "pixelshuffledirect":
        outputs = facts.shape(last, 4)[0]
        scale = math.isqrt(outputs // channels)
        if scale**2 * channels != outputs:
            raise BadInput(
                f"{facts.table.origin}: {facts.key(last)} gives {outputs} channels for images of {channels}",
                needed="as many channels as the input has, times a square",
                do="Check the key's shape; models with other channels at the output are not supported",
            )
        return scale, f"{outputs} channels of {facts.key(last)}"
    facts.agreed("channels of the image", ("conv_first.weight", 4, 1), (last, 4, 0))
    if upsampler != "pixelshuffle":
        return (4, "the only one it has") if upsampler == "nearest+conv" else (1, "no upsampler")
    steps = 0
    while facts.has(f"upsample.conv_up{steps}.weight"):
        steps += 1
    if steps == 0:
        return 1, "no upsampling convolution"
    outputs, width, _, _ = facts.shape("upsample.conv_up0.weight", 4)
    if steps == 1 and outputs == 9 * width:
        return 3, f"{outputs} channels of {facts.key('upsample.conv_up0.weight')}"
    return 2**steps, f"{steps} upsampling convolutions"


def _built_for_one_window(facts: Facts, stages: tuple[StageFacts, ...]) -> str | None:
    """What tells that the model was built for images of one window, where the code shifts no block; or nothing.

    SwinIR and Swin2SR save the mask of each shifted block with the other buffers. Where there are no buffers, the
    training's image size tells; every released model was trained at many windows.
    """
    deep = next((index for index, stage in enumerate(stages) if stage.depth > 1), None)
    if deep is None:
        return None
    prefix = facts.prefix(deep, 1)
    if prefix + "attn_mask" in facts.table.shapes:
        return None
    if prefix + "attn.relative_position_index" in facts.table.shapes:
        return f"{prefix}attn_mask is not there, and other buffers are"
    hints = facts.hints
    found = stages[deep].table or hints.window
    if hints.trained_size is None or found is None or min(hints.trained_size) > min(found):
        return None
    return f"a training at {hints.trained_size[0]}x{hints.trained_size[1]}: {hints.source}"
