"""Each code base's rule where windows, maps and patches do not fit, by examples computed by hand.

That these are the rules of the code bases themselves is held by the parity table (tests/checkpoint).
"""

from __future__ import annotations

import dataclasses

import pytest

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Classifier
from swin_deploy.errors import BadInput
from swin_deploy.model.geometry import RULES, BlockGeometry

Size = tuple[int, int]

# Rule, map and window; then window, shift of an odd block, and the map with its padding.
EXAMPLES = [
    # Both axes are clipped to the smaller side, and nothing is shifted, as soon as one window covers one axis.
    ("microsoft", (14, 14), (7, 7), (7, 7), (3, 3), (14, 14)),
    ("microsoft", (7, 14), (7, 7), (7, 7), (0, 0), (7, 14)),
    ("microsoft", (4, 12), (7, 7), (4, 4), (0, 0), (4, 12)),
    ("microsoft", (14, 4), (7, 4), (7, 4), (3, 0), (14, 4)),  # no square: each axis for itself
    ("microsoft-dense", (5, 9), (4, 4), (4, 4), (2, 2), (8, 12)),
    ("microsoft-dense", (4, 4), (4, 4), (4, 4), (2, 2), (4, 4)),  # shifted though one window covers it
    ("microsoft-dense", (3, 9), (4, 4), (4, 4), (2, 2), (4, 12)),
    # Each axis for itself.
    ("timm", (14, 14), (7, 7), (7, 7), (3, 3), (14, 14)),
    ("timm", (7, 7), (7, 7), (7, 7), (0, 0), (7, 7)),
    ("timm", (4, 4), (7, 7), (4, 4), (0, 0), (4, 4)),
    ("timm", (7, 14), (7, 7), (7, 7), (0, 3), (7, 14)),
    ("timm", (16, 8), (8, 8), (8, 8), (4, 0), (16, 8)),
    ("timm", (2, 2), (1, 1), (1, 1), (0, 0), (2, 2)),  # half a window of one token is none
    ("timm", (5, 9), (4, 4), (4, 4), (2, 2), (8, 12)),
    ("timm", (3, 9), (4, 4), (3, 4), (0, 2), (3, 12)),
    # Padded, never clipped, and not shifted on an axis that the padding has made one window.
    ("torchvision", (8, 8), (4, 4), (4, 4), (2, 2), (8, 8)),
    ("torchvision", (3, 9), (4, 4), (4, 4), (0, 2), (4, 12)),
    ("torchvision", (5, 4), (4, 4), (4, 4), (2, 0), (8, 4)),
    ("huggingface", (5, 9), (4, 4), (4, 4), (2, 2), (8, 12)),
    ("huggingface", (3, 9), (4, 4), (3, 3), (0, 0), (3, 9)),
    ("huggingface", (4, 9), (4, 4), (4, 4), (0, 0), (4, 12)),
    ("huggingface-backbone", (3, 9), (4, 4), (4, 4), (2, 2), (4, 12)),
    ("huggingface-v2", (3, 9), (4, 4), (4, 4), (2, 2), (4, 12)),
    ("openmmlab-dense", (4, 4), (4, 4), (4, 4), (2, 2), (4, 4)),
    ("openmmlab-dense", (5, 9), (4, 4), (4, 4), (2, 2), (8, 12)),
    ("mmpretrain", (5, 9), (4, 4), (4, 4), (2, 2), (8, 12)),
    ("mmpretrain", (3, 9), (4, 4), (4, 4), (0, 0), (4, 12)),
    ("restoration", (8, 16), (8, 8), (8, 8), (4, 4), (8, 16)),
    ("restoration-huggingface", (8, 16), (8, 8), (8, 8), (4, 4), (8, 16)),
    ("restoration-one-window", (8, 16), (8, 8), (8, 8), (0, 0), (8, 16)),
]


@pytest.mark.parametrize(("rule", "feature_map", "window", "clipped", "shift", "padded"), EXAMPLES)
def test_a_rule_by_hand(rule: str, feature_map: Size, window: Size, clipped: Size, shift: Size, padded: Size) -> None:
    odd = RULES[rule].block(feature_map, window, odd=True)
    assert (odd.window, odd.shift, odd.padded_map) == (clipped, shift, padded)
    assert odd.shifted is (shift != (0, 0))
    assert odd.padded is (padded != feature_map)
    assert odd.tokens == clipped[0] * clipped[1]
    assert odd.windows == padded[0] * padded[1] // odd.tokens
    even = RULES[rule].block(feature_map, window, odd=False)
    assert even == dataclasses.replace(odd, shift=(0, 0)), "a block of even index differs in its shift alone"


def test_every_rule_has_an_example_and_the_rules_differ() -> None:
    assert {example[0] for example in EXAMPLES} == set(RULES)
    # The control: one map is treated in six ways, so that a wrong row would be noticed.
    assert len({RULES[name].block((3, 9), (4, 4), odd=True) for name in RULES}) == 6


def test_who_rolls_before_it_pads_is_timm_alone() -> None:
    assert [name for name in RULES if RULES[name].block((5, 9), (4, 4), odd=True).roll_first] == ["timm"]


def test_who_adds_the_mask_twice() -> None:
    values = {name: RULES[name].block((8, 8), (4, 4), odd=True).mask_value for name in RULES}
    twice = {"huggingface-v2", "restoration-huggingface"}
    assert {name: -200.0 if name in twice else -100.0 for name in RULES} == values


def test_geometries_that_differ_in_anything_are_not_one() -> None:
    one = BlockGeometry((8, 8), (4, 4), (2, 2))
    others = [
        BlockGeometry((8, 12), (4, 4), (2, 2)),
        BlockGeometry((8, 8), (4, 2), (2, 2)),
        BlockGeometry((8, 8), (4, 4), (0, 2)),
        BlockGeometry((8, 8), (4, 4), (2, 2), roll_first=True),
        BlockGeometry((8, 8), (4, 4), (2, 2), mask_value=-200.0),
    ]
    assert len({one, *others}) == 6
    assert len({one, BlockGeometry((8, 8), (4, 4), (2, 2))}) == 1


# As built


@pytest.mark.parametrize(
    ("grid", "stage", "window", "shifts"),
    [
        ((14, 14), 0, 7, True),
        ((14, 14), 1, 7, False),  # 7 rows: one window
        ((14, 14), 2, 3, False),  # 3 rows: clipped
        ((9, 9), 1, 4, False),  # 4.5 rows, halved without the odd rest
        ((7, 28), 0, 7, False),  # the rows count for both axes
        ((28, 7), 0, 7, True),
    ],
)
def test_what_a_model_was_built_for_follows_from_its_rows(grid: Size, stage: int, window: int, shifts: bool) -> None:
    assert RULES["huggingface-v2"].built(grid, stage, (7, 7)) == ((window, window), shifts)


def test_a_rule_that_follows_the_image_was_built_for_none() -> None:
    assert [name for name in RULES if RULES[name].as_built] == ["huggingface-v2"]
    with pytest.raises(AssertionError, match="follows the image"):
        RULES["timm"].built((14, 14), 0, (7, 7))


# In a whole network


def spec(rule: str, image_size: Size, *, window: int = 4, shifts: bool = True, patch: int = 4) -> SwinSpec:
    stages = tuple(StageSpec(2, 8 * 2**index, 2, (window, window), 16, None, shifts) for index in range(2))
    return SwinSpec("v1", image_size, patch, 3, stages, Classifier(5), rule=rule)


@pytest.mark.parametrize(
    ("rule", "image_size", "padded_image", "maps"),
    [
        ("timm", (32, 32), (32, 32), [(8, 8), (4, 4)]),
        ("timm", (20, 36), (20, 36), [(5, 9), (3, 5)]),  # odd maps have one token more
        ("torchvision", (22, 37), (20, 36), [(5, 9), (3, 5)]),  # the patch convolution drops the rest
        ("huggingface", (18, 33), (20, 36), [(5, 9), (3, 5)]),
        ("microsoft-dense", (17, 33), (20, 36), [(5, 9), (3, 5)]),
        ("openmmlab-dense", (17, 33), (20, 36), [(5, 9), (3, 5)]),
    ],
)
def test_partial_patches_and_odd_maps_by_hand(
    rule: str, image_size: Size, padded_image: Size, maps: list[Size]
) -> None:
    found = spec(rule, image_size)
    assert found.padded_image == padded_image
    assert [found.feature_map(stage) for stage in range(2)] == maps


@pytest.mark.parametrize(
    ("rule", "image_size", "words"),
    [
        ("timm", (18, 32), "height 18 is not a multiple of the patch, 4"),
        ("timm", (32, 33), "width 33 is not a multiple of the patch, 4"),
        ("microsoft", (32, 36), "width 36 is not a multiple of 8"),
        ("microsoft", (40, 40), "10x10|10 tokens and a window of 4|feature map of 10"),
        ("torchvision", (3, 32), "height 3 is less than one patch of 4"),
    ],
)
def test_what_a_code_base_refuses_is_refused(rule: str, image_size: Size, words: str) -> None:
    spec(rule, (32, 32))  # the control
    with pytest.raises(BadInput, match=words):
        spec(rule, image_size)


def test_odd_blocks_are_shifted_unless_the_stage_says_otherwise() -> None:
    shifts = [geometry.shift for geometry in (spec("timm", (32, 32)).geometry(0, block) for block in range(2))]
    assert shifts == [(0, 0), (2, 2)]
    still = spec("timm", (32, 32), shifts=False)
    assert not any(still.geometry(stage, block).shifted for stage, block in still.blocks())
