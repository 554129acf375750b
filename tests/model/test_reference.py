"""The paper form is timm's model, live: FP64 within 1e-10, FP32 within 1e-5, whatever the batch and the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from swin_deploy.checkpoint.load import load_checkpoint
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.model.reference import LOGIT_SCALE_MAX, ReferenceSwin, WindowAttentionV2, relative_coordinates
from tests.random_swin import random_images, random_reference, relative_error, small_spec, timm_state, timm_twin

SPECS = {
    "v1": small_spec("v1"),
    "v2": small_spec("v2"),
    "v1, three stages, shifts in two": small_spec("v1", image_size=(56, 56), depths=(2, 3, 2), heads=(2, 4, 8)),
    "v2, shifts in both stages": small_spec("v2", image_size=(56, 56)),
    "v1, wide image": small_spec("v1", image_size=(56, 112), patch=4),
    "v2, wide image": small_spec("v2", image_size=(56, 112), patch=4),
    "v2, high image, other pretrained window": small_spec("v2", image_size=(56, 28), pretrained=((12, 12), (6, 6))),
    "v1, windows clipped to the map": small_spec("v1", image_size=(8, 8), depths=(2, 2), window=4),
    "v2, last stage of one token": small_spec("v2", image_size=(4, 4), depths=(2, 2), window=2),
}
TRAINED = Path(__file__).parents[2] / "examples" / "cifar10" / "swin_v1_cifar10.safetensors"


@pytest.fixture(params=SPECS, ids=lambda name: name.replace(", ", "-").replace(" ", "_"))
def spec(request: pytest.FixtureRequest) -> SwinSpec:
    return SPECS[request.param]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@torch.no_grad()
def test_the_reference_is_timms_model(spec: SwinSpec, dtype: torch.dtype, bound: float) -> None:
    model = random_reference(spec)
    twin = timm_twin(model).to(dtype)
    model.to(dtype)
    for batch in (1, 2, 7):
        images = random_images(spec, batch, seed=batch).to(dtype)
        assert relative_error(model(images), twin(images)) <= bound


@pytest.mark.skipif(not TRAINED.exists(), reason="the example's trained weights are not in this checkout")
@torch.no_grad()
def test_trained_weights_give_what_timms_model_gives() -> None:
    model = load_checkpoint(TRAINED).reference()
    twin = timm_twin(model)
    for batch in (1, 2, 7):
        images = random_images(model.spec, batch, seed=batch)
        assert relative_error(model(images.float()), twin(images.float())) <= 1e-5
    assert relative_error(model.double()(images), twin.double()(images)) <= 1e-10


@torch.no_grad()
def test_fp32_weights_are_conditioned_so_that_the_bound_measures_the_form(spec: SwinSpec) -> None:
    images = random_images(spec, 7)
    single = random_reference(spec)(images.float())
    assert relative_error(single, random_reference(spec).double()(images)) <= 3e-6


@pytest.mark.parametrize("family", ["v1", "v2"])
@torch.no_grad()
def test_the_comparison_would_see_a_changed_weight_of_any_kind(family: Any) -> None:
    spec = small_spec(family, image_size=(8, 8), window=2)
    images = random_images(spec, 2)
    model = random_reference(spec).double()
    wanted = model(images)
    names = [name for name in model.state_dict() if ".blocks.1." not in name]
    for name in names:
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        state[name].view(-1)[0] += 0.25 if not name.endswith("logit_scale") else -0.25
        if name.endswith(("qkv.bias", "qkv.weight")):
            state[name][-1] += 0.25  # the value's: a constant added to one key moves no softmax
        spoiled = ReferenceSwin(spec).double()
        spoiled.load_state_dict(state)
        assert relative_error(spoiled(images), wanted) > 1e-8, name


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_random_weights_are_not_trivial(family: Any) -> None:
    for name, tensor in random_reference(small_spec(family)).state_dict().items():
        assert tensor.std() > 0.01, name
        if name.endswith("norm.weight") or name.endswith(("norm1.weight", "norm2.weight")):
            assert tensor.min() >= 0.5
            assert tensor.max() <= 1.5
            assert tensor.max() - tensor.min() > 0.4
        if name.endswith("bias_table"):
            assert 0.8 < tensor.std() < 1.2
        if name.endswith("logit_scale"):
            assert len(tensor.unique()) == len(tensor)
            assert (tensor > LOGIT_SCALE_MAX).any()
            assert not (tensor > LOGIT_SCALE_MAX).all()


def test_logit_scales_are_clamped_before_the_exponential() -> None:
    model: Any = random_reference(small_spec("v2"))
    attention = model.stages[0].blocks[0].attn
    assert isinstance(attention, WindowAttentionV2)
    assert attention.factor().max().item() == pytest.approx(100.0, rel=1e-6)


def test_relative_coordinates_by_hand() -> None:
    table = relative_coordinates((2, 3), (2, 3))
    assert table.shape == (3, 5, 2)
    # 8 * (window - 1) / (pretrained - 1) is 8 at the edge, and log2(9) / 3 of it.
    edge = torch.log2(torch.tensor(9.0)) / 3
    assert torch.allclose(table[2, 4], torch.stack([edge, edge]))
    assert torch.allclose(table[0, 2], torch.stack([-edge, torch.tensor(0.0)]))
    assert table[1, 2].tolist() == [0.0, 0.0]
    half = torch.log2(torch.tensor(5.0)) / 3  # the offset 1 of 2
    assert torch.allclose(table[1, 3], torch.stack([torch.tensor(0.0), half]))


def test_coordinates_are_normalised_by_the_pretrained_window() -> None:
    table = relative_coordinates((24, 24), (12, 12))
    # The farthest token is 23 away; 8 * 23 / 11 = 16.7.
    assert table.max().item() == pytest.approx(torch.log2(torch.tensor(8 * 23 / 11 + 1)).item() / 3, rel=1e-6)


def test_a_window_of_one_token_has_the_zero_offset_alone() -> None:
    assert relative_coordinates((1, 1), (1, 1)).tolist() == [[[0.0, 0.0]]]


def test_nothing_but_parameters_is_saved() -> None:
    model = random_reference(small_spec("v2"))
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_the_key_has_no_bias_in_v2() -> None:
    for name, tensor in random_reference(small_spec("v2")).state_dict().items():
        if name.endswith("qkv.bias"):
            assert not tensor.chunk(3)[1].any()
    assert any(name.endswith("q_bias") for name in timm_state(random_reference(small_spec("v2"))))
