"""Small random architectures of every kind: windows that do not fit, odd maps, oblong windows, all rules and tasks."""

from __future__ import annotations

import random
from typing import Any

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import UPSAMPLERS, Backbone, Classifier, Restoration
from swin_deploy.errors import BadInput
from swin_deploy.model.geometry import RULES
from tests.random_swin import small_spec

RESTORATION_RULES = tuple(rule for rule in RULES if rule.startswith("restoration"))
MERGING_RULES = tuple(rule for rule in RULES if rule not in RESTORATION_RULES)


def random_architecture(seed: int) -> SwinSpec:
    """Of each three seeds one is for a classifier, one for a backbone and one for restoration."""
    draw = random.Random(seed)
    make = (_classifier, _backbone, _restoration)[seed % 3]
    while True:
        try:
            return make(draw)
        except BadInput:  # a rule that refuses this size
            continue


def _classifier(draw: random.Random) -> SwinSpec:
    return _merging(draw, Classifier(draw.randint(1, 9)), draw.randint(1, 3))


def _backbone(draw: random.Random) -> SwinSpec:
    stages = draw.randint(1, 3)
    leaving = sorted(draw.sample(range(stages), draw.randint(1, stages)))
    return _merging(draw, Backbone(tuple(leaving), norms=draw.random() < 0.7), stages)


def _merging(draw: random.Random, task: Any, stages: int) -> SwinSpec:
    patch, heads = draw.randint(1, 3), draw.randint(1, 3)
    # At least one token in the last stage, and now and then pixels that no whole patch covers.
    size = tuple(patch * draw.randint(2 ** (stages - 1), 18) + draw.choice((0, 0, 1)) for _ in range(2))
    return small_spec(
        draw.choice(("v1", "v2")),
        image_size=(size[0], size[1]),
        patch=patch,
        dim=heads * draw.choice((3, 4, 8)),
        depths=tuple(draw.randint(1, 3) for _ in range(stages)),
        heads=tuple(heads * 2 ** draw.randint(0, index) for index in range(stages)),
        window=(draw.randint(1, 7), draw.randint(1, 7)),
        task=task,
        rule=draw.choice(MERGING_RULES),
    )


def _restoration(draw: random.Random) -> SwinSpec:
    family = draw.choice(("v1", "v2"))
    upsampler = draw.choice(UPSAMPLERS)
    scale = {"none": 1, "nearest+conv": 4, "pixelshuffle": draw.choice((2, 3))}.get(upsampler, draw.randint(1, 3))
    mean = draw.choice(((0.0, 0.0, 0.0), (0.4, 0.5, 0.3)))
    task = Restoration(scale, upsampler, features=4, embed_conv=family == "v2", mean=mean)
    groups, heads = draw.randint(1, 3), draw.randint(1, 3)
    window = (draw.randint(2, 5), draw.randint(2, 5))
    plain = small_spec(family, image_size=(8, 8), depths=(1,), heads=(heads,), dim=heads * draw.choice((4, 6)))
    group = plain.stages[0]
    stages = tuple(
        type(group)(draw.randint(1, 3), group.dim, heads, window, 2 * group.dim, window if family == "v2" else None)
        for _ in range(groups)
    )
    size = (draw.randint(5, 13), draw.randint(5, 13))
    rule = draw.choice(RESTORATION_RULES)
    return SwinSpec(family, size, 1, 3, stages, task, rule, patch_norm=draw.random() < 0.7)
