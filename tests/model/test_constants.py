"""How large the constants are, by hand; beyond the limit bias and mask are kept apart and nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import cli.main
from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.model import constants
from swin_deploy.model.constants import constants_mib, joins
from swin_deploy.model.deployment import DeploymentSwin, ShiftMask, WindowAttention
from swin_deploy.model.fold import fold, prove
from swin_deploy.model.forms import open_deployment, save_deployment, save_reference
from swin_deploy.stages.export import Export
from swin_deploy.stages.fold import Fold
from swin_deploy.stages.half import Half
from tests.random_swin import random_images, random_reference, relative_error, small_spec, timm_state

# Stage 0: 8x8 tokens in 4 windows of 16, two heads, blocks 1 and 3 shifted. Stage 1: one window, four heads.
SPEC = small_spec("v1", image_size=(16, 16), window=4, depths=(4, 2), heads=(2, 4))
ELEMENTS = 16 * 16
MIB = 4 * ELEMENTS / 2**20
JOINED = (2 * (1 + 4 + 1 + 4) + 4 * 2) * MIB
APART = (2 * 4 + 4 * 2 + 4) * MIB  # a bias a block, and one mask of 4 windows for both shifted blocks


def swin_l(image_size: tuple[int, int]) -> SwinSpec:
    """Swin-L with windows of 12, as detectors have it."""
    stages = tuple(
        StageSpec(depth, 192 * 2**index, heads, (12, 12), 768 * 2**index)
        for index, (depth, heads) in enumerate(zip((2, 2, 18, 2), (6, 12, 24, 48), strict=True))
    )
    return SwinSpec("v1", image_size, 4, 3, stages, Backbone((0, 1, 2, 3), norms=True), rule="microsoft-dense")


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that the small model exceeds."""
    assert JOINED > APART
    monkeypatch.setattr(constants, "LARGEST_MIB", JOINED - 1e-6)


def test_a_small_model_by_hand() -> None:
    assert constants_mib(SPEC, joined=True) == JOINED == constants_mib(SPEC)
    assert constants_mib(SPEC, joined=False) == APART
    assert joins(SPEC)


def test_the_figures_are_those_of_the_tensors(apart: None) -> None:
    def tensors(model: DeploymentSwin) -> int:
        found = {
            id(value): value.numel() for name, value in model.named_buffers() if name.endswith(("constant", "values"))
        }
        return sum(found.values())

    assert tensors(fold(random_reference(SPEC))) * 4 / 2**20 == APART


def test_the_limit_is_the_last_size_that_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "LARGEST_MIB", JOINED)
    assert joins(SPEC)
    monkeypatch.setattr(constants, "LARGEST_MIB", JOINED - 1e-9)
    assert not joins(SPEC)
    assert constants_mib(SPEC) == APART


def test_swin_l_on_an_image_of_a_detector_is_kept_apart() -> None:
    # Patches 200x334; maps padded to multiples of 12: 204x336, 108x168, 60x84, 36x48.
    windows = (17 * 28, 9 * 14, 5 * 7, 3 * 4)
    joined = sum(
        heads * depth // 2 * (1 + count)
        for heads, depth, count in zip((6, 12, 24, 48), (2, 2, 18, 2), windows, strict=True)
    )
    biases = 6 * 2 + 12 * 2 + 24 * 18 + 48 * 2
    each = 4 * 144**2 / 2**20
    spec = swin_l((800, 1333))
    assert constants_mib(spec, joined=True) == pytest.approx(joined * each) == pytest.approx(1011.4, abs=0.05)
    assert constants_mib(spec, joined=False) == pytest.approx((biases + sum(windows)) * each)
    assert constants_mib(spec) == pytest.approx(95.95, abs=0.05)
    assert not joins(spec)
    assert joins(swin_l((384, 384)))  # the control: on a classifier's image it stays below


def test_another_attention_is_never_kept_apart_and_has_these_constants_or_none(apart: None) -> None:
    gated, linear = (replace(SPEC, attention=name) for name in ("channel-gate", "linformer"))
    assert joins(gated) and joins(linear)
    assert not joins(SPEC)  # the control
    assert (constants_mib(gated), constants_mib(linear)) == (JOINED, 0)
    assert prove(random_reference(gated)).holds


# Apart


@pytest.mark.parametrize("family", ["v1", "v2"])
@torch.no_grad()
def test_kept_apart_the_fold_is_as_exact(family: Any, apart: None) -> None:
    spec = small_spec(family, image_size=(16, 16), window=4, depths=(4, 2), heads=(2, 4))
    model = random_reference(spec)
    assert prove(model).holds
    folded = fold(model)
    images = random_images(spec, 3).float()
    assert relative_error(folded(images), model(images)) <= 1e-5
    # The control: without its masks it is another function.
    for module in folded.modules():
        if isinstance(module, ShiftMask):
            module.values.zero_()
    assert relative_error(folded(images), model(images)) > 1e-3


def test_blocks_of_one_geometry_share_their_mask_in_every_type_and_after_a_file(apart: None, tmp_path: Path) -> None:
    save_deployment(fold(random_reference(SPEC)), tmp_path / "a.safetensors")
    model = open_deployment(tmp_path / "a.safetensors")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        attentions = [module for module in model.to(dtype).modules() if isinstance(module, WindowAttention)]
        masks = [attention.mask for attention in attentions]
        assert [mask is not None for mask in masks] == [False, True, False, True, False, False]
        assert masks[1] is masks[3]
        assert masks[1].values.dtype == dtype
        assert masks[1].values.shape == (4, 1, 16, 16)
        assert set(masks[1].values.unique().tolist()) == {0.0, -100.0}
        assert all(attention.constant.shape[0] == 1 for attention in attentions)


def test_joined_no_block_has_a_mask() -> None:
    model = fold(random_reference(SPEC))
    attentions = [module for module in model.modules() if isinstance(module, WindowAttention)]
    assert all(attention.mask is None for attention in attentions)
    assert [attention.constant.shape[0] for attention in attentions] == [1, 4, 1, 4, 1, 1]


def test_the_stages_keep_them_apart_and_say_so(apart: None, tmp_path: Path) -> None:
    save_reference(random_reference(SPEC), tmp_path / "reference.safetensors")
    produced = Fold().run(
        Artifact("reference", tmp_path / "reference.safetensors", Format.CHECKPOINT, Precision.FP32),
        tmp_path / "deployment.safetensors",
    )
    assert (produced.facts["constants_joined"], produced.facts["constants_mib"]) == (False, round(APART, 3))
    assert any("kept apart" in note for note in produced.notes)
    deployment = Artifact("deployment", tmp_path / "deployment.safetensors", Format.DEPLOYMENT, Precision.FP32)
    Export(4).run(deployment, tmp_path / "exported.onnx")
    shapes = [list(tensor.dims) for tensor in onnx.load(tmp_path / "exported.onnx").graph.initializer]
    assert shapes.count([4, 1, 16, 16]) == 1, "one mask for both shifted blocks"
    assert shapes.count([1, 2, 16, 16]) == 4 and not shapes.count([4, 2, 16, 16])
    Half(Precision.FP16).run(deployment, tmp_path / "half.safetensors")
    assert open_deployment(tmp_path / "half.safetensors").blocks[1].attn.mask.values.dtype == torch.float16


def test_the_fold_stage_says_nothing_of_it_where_they_are_joined(tmp_path: Path) -> None:
    save_reference(random_reference(SPEC), tmp_path / "reference.safetensors")
    produced = Fold().run(
        Artifact("reference", tmp_path / "reference.safetensors", Format.CHECKPOINT, Precision.FP32),
        tmp_path / "deployment.safetensors",
    )
    assert (produced.facts["constants_joined"], produced.facts["constants_mib"]) == (True, round(JOINED, 3))
    assert not any("kept apart" in note for note in produced.notes)


@pytest.mark.parametrize("limit", [None, JOINED - 1e-6])
def test_inspect_says_whether_they_are_apart(
    limit: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    save_file(timm_state(random_reference(SPEC)), tmp_path / "tiny.safetensors")
    if limit is not None:
        monkeypatch.setattr(constants, "LARGEST_MIB", limit)
    arguments = ["inspect", str(tmp_path / "tiny.safetensors"), "--image-size", "16"]
    assert cli.main.status_of(arguments) == 0
    text = capsys.readouterr().out
    assert ("bias and mask apart" in text) is (limit is not None)
    assert cli.main.status_of([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fold"]
    assert found["constants_joined"] is (limit is None)
    assert found["constants_mib_fp32"] == round(JOINED if limit is None else APART, 3)
