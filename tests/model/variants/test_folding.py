"""Whole models with each variant: fold, proof, files, numbers that come from the weights, and half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.spec import StageSpec
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.errors import BadInput
from swin_deploy.model.fold import fold, prove
from swin_deploy.model.forms import open_deployment, open_reference, save_deployment, save_reference
from swin_deploy.model.geometry import BlockGeometry
from swin_deploy.model.variants.channel_gate import FoldedChannelGate
from swin_deploy.model.variants.performer import orthogonal_features
from tests.model.variants.cases import GEOMETRIES, from_stream, make, model, raster, spread, to_stream
from tests.random_swin import random_images, relative_error

CASES = [("channel-gate", "v1"), ("channel-gate", "v2"), ("linformer", "v1"), ("performer", "v1"), ("routing", "v1")]
SIZES: dict[str, dict[str, Any]] = {
    "covered": {},
    "padded_behind_the_roll": {"image_size": (18, 22), "window": 4},
    "padded_before_the_roll": {"image_size": (18, 22), "window": 4, "rule": "microsoft-dense"},
    "oblong_windows": {"image_size": (16, 32), "window": (4, 8), "rule": "microsoft-dense"},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "family"), CASES)
@torch.no_grad()
def test_the_folded_model_is_the_paper_form(name: str, family: str, size: str) -> None:
    paper = model(name, family=family, **SIZES[size])
    for affine in (False, True):
        proof = prove(paper, affine=affine, images=3)
        assert proof.holds, proof
        assert proof.relative_error <= 1e-10
    folded = fold(paper)
    for batch in (1, 2, 3):
        images = random_images(paper.spec, batch, seed=batch).float()
        assert relative_error(folded(images), paper(images)) <= 1e-5


@pytest.mark.parametrize("name", ["channel-gate", "linformer", "performer", "routing"])
def test_a_backbone_folds_too(name: str) -> None:
    assert prove(model(name, task=Backbone((0, 1), norms=True), **SIZES["padded_before_the_roll"])).holds


@pytest.mark.parametrize("name", ["channel-gate", "linformer", "performer", "routing"])
def test_the_proof_fails_when_an_attention_is_folded_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = model(name)
    variant = type(paper.stages[0].blocks[1].attn)
    whole = variant.folded

    def spoiled(self: Any) -> Any:
        twin = whole(self)
        part = {
            "channel-gate": "gate.conv.bias",
            "linformer": "parts.0.constant",
            "performer": "features",
            "routing": "bias",
        }
        tensor = twin.state_dict()[part[name]]
        tensor[(0,) * tensor.dim()] += 1e-2
        return twin

    monkeypatch.setattr(variant, "folded", spoiled)
    assert not prove(paper).holds


def other_numbers(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of the same variant with another number of slots, features, clusters, or another kernel."""
    generator = torch.Generator().manual_seed(3)
    for key, tensor in list(state.items()):
        if key.endswith("_projection"):
            state[key] = torch.randn(5, tensor.shape[1], generator=generator) / 2
        if key.endswith("features"):
            state[key] = orthogonal_features(11, tensor.shape[1], seed=3)
        if key.endswith("centroids"):
            state[key] = torch.randn(tensor.shape[0], 3, tensor.shape[2], generator=generator)
        if key.endswith("gate.conv.weight"):
            state[key] = torch.randn(tensor.shape[0], 16, 5, 1, generator=generator)  # one group, or two
            state[key.removesuffix("weight") + "bias"] = torch.randn(tensor.shape[0], generator=generator)
    return state


@pytest.mark.parametrize("name", ["channel-gate", "linformer", "performer", "routing"])
@torch.no_grad()
def test_what_no_spec_holds_comes_from_the_weights_and_through_every_file(name: str, tmp_path: Path) -> None:
    paper = model(name)
    usual = paper(images := random_images(paper.spec, 2).float())
    state = other_numbers(name, paper.state_dict())
    paper.load_state_dict(state)
    assert relative_error(paper(images), usual) > 1e-3
    assert prove(paper).holds
    save_reference(paper, tmp_path / "paper.safetensors")
    again = open_reference(tmp_path / "paper.safetensors")
    assert torch.equal(again(images), paper(images))
    folded = fold(again)
    save_deployment(folded, tmp_path / "folded.safetensors")
    assert torch.equal(open_deployment(tmp_path / "folded.safetensors")(images), folded(images))


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("linformer", "key_projection", (4, 5)),
        ("performer", "features", (11, 5)),
        ("routing", "centroids", (3, 3, 8)),
        ("routing", "centroids", (2, 0, 8)),
        ("channel-gate", "gate.conv.weight", (2, 8, 4, 4)),
        ("channel-gate", "gate.conv.weight", (2, 5, 3, 3)),
        ("channel-gate", "gate.conv.weight", (4, 8, 3, 3)),
    ],
)
def test_weights_of_another_shape_are_still_refused(name: str, key: str, shape: tuple[int, ...]) -> None:
    attention = make(name, GEOMETRIES["plain"])
    with pytest.raises(RuntimeError, match="size mismatch"):
        attention.load_state_dict({**attention.state_dict(), key: torch.zeros(shape)})


def test_a_gate_needs_channels_that_it_can_reduce() -> None:
    with pytest.raises(BadInput, match="channels divisible by 8"):
        make("channel-gate", GEOMETRIES["plain"], StageSpec(1, 12, 2, (2, 3), 24))


@torch.no_grad()
def test_a_gated_attention_on_a_large_map_keeps_its_mask_apart() -> None:
    geometry = BlockGeometry((56, 56), (14, 14), (7, 7))
    attention = make("channel-gate", geometry, StageSpec(1, 16, 8, (14, 14), 16))
    folded: FoldedChannelGate = attention.folded()
    assert folded.window.constant.shape == (1, 8, 196, 196)
    assert folded.window.mask is not None
    x = raster(geometry, 1)
    assert (from_stream(folded(to_stream(x, geometry)), geometry) - attention(x)).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["linformer", "performer", "routing"])
@torch.no_grad()
def test_windows_that_are_one_region_pay_for_no_others(name: str) -> None:
    (part,) = make(name, GEOMETRIES["plain"]).folded().parts
    assert part.foreign is None
    large = BlockGeometry((24, 24), (4, 4), (2, 2))  # 36 windows, 11 of them of several regions
    folded = make(name, large).folded()
    assert folded.sizes == [25, 11]
    whole, mixed = folded.parts
    assert whole.foreign is None
    assert mixed.foreign.shape[0] == 11
    (part,) = make(name, GEOMETRIES["padded_and_shifted"]).folded().parts  # few are whole: all go together
    assert part.foreign.shape[0] == 6


@pytest.mark.parametrize("name", ["linformer", "performer", "routing"])
@pytest.mark.parametrize("geometry", [BlockGeometry((24, 24), (4, 4), (2, 2)), BlockGeometry((18, 22), (4, 4), (0, 2))])
@torch.no_grad()
def test_windows_in_two_groups_come_back_to_their_places(name: str, geometry: BlockGeometry) -> None:
    attention, x = make(name, geometry), raster(geometry, 2)
    folded = attention.folded()
    assert len(folded.parts) == 2
    assert (from_stream(folded(to_stream(x, geometry)), geometry) - attention(x)).abs().max() < 1e-12


@torch.no_grad()
def test_equal_tokens_are_routed_by_their_place() -> None:
    """An even image: each cluster takes the first places, in every form and type."""
    geometry = GEOMETRIES["shifted"]
    paper = make("routing", geometry)
    x = raster(geometry, 1)[:, :1, :1].expand(1, *geometry.feature_map, 16).contiguous()
    wanted = paper(x)
    assert (from_stream(paper.folded()(to_stream(x, geometry)), geometry) - wanted).abs().max() < 1e-12
    single = paper.float().folded()
    got = from_stream(single(to_stream(x.float(), geometry)), geometry)
    assert (got - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "family"), CASES)
@torch.no_grad()
def test_nothing_overflows_in_half_precision(name: str, family: str, dtype: torch.dtype) -> None:
    paper = model(name, family=family, **SIZES["padded_behind_the_roll"])
    for module in paper.modules():
        if hasattr(module, "qkv"):
            module.qkv.weight *= 4.0  # scores of a hundred and more
    half = fold(paper).to(dtype)
    images = 10.0 * random_images(paper.spec, 2).float()
    assert torch.isfinite(half(images)).all()


@pytest.mark.parametrize(("name", "family"), CASES)
@torch.no_grad()
def test_half_precision_stays_near(name: str, family: str) -> None:
    paper = model(name, family=family)
    images = random_images(paper.spec, 8).float()
    wanted, got = paper(images), fold(paper).half()(images)
    error = ((got - wanted).norm() / wanted.norm()).item()
    assert error < (0.3 if name == "routing" else 0.02)  # a token may be routed elsewhere: see its docstring


def test_orthogonal_features_are_orthogonal_within_a_group() -> None:
    features = orthogonal_features(20, 8).double()
    for start in (0, 8):
        group = features[start : start + 8]
        inner = group @ group.T
        assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-5)
    assert features.norm(dim=1).std() > 0.1  # the lengths of Gaussian vectors, not all alike
    assert torch.equal(orthogonal_features(20, 8), orthogonal_features(20, 8))


@torch.no_grad()
def test_many_features_approach_softmax_attention() -> None:
    """What a Performer is for; its position bias is dropped, so that the comparison is with none."""
    geometry = GEOMETRIES["shifted"]
    paper = make("performer", geometry)
    q, k, v = (0.4 * torch.randn(1, 2, 1, 9, 8, dtype=torch.float64, generator=g) for g in map(_seeded, range(3)))
    exact = (q @ k.mT * 8**-0.5).softmax(dim=-1) @ v
    errors = []
    for number in (16, 64000):
        paper.features = orthogonal_features(number, 8).double()
        errors.append((paper.attend(q, k, v, torch.arange(9)) - exact).abs().max().item())
    assert errors[1] < 0.01 < 0.05 < errors[0]


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def test_training_moves_every_parameter() -> None:
    for name, family in CASES:
        paper = model(name, family=family).train()
        with torch.enable_grad():
            paper(random_images(paper.spec, 2).float()).square().mean().backward()
        still = [key for key, value in paper.named_parameters() if ".attn." in key and value.grad is None]
        assert not still, still


def test_spreading_is_seeded() -> None:
    one, two = make("linformer", GEOMETRIES["plain"]), make("linformer", GEOMETRIES["plain"])
    with torch.no_grad():
        spread(two)
    assert all(torch.equal(tensor, two.state_dict()[key]) for key, tensor in one.state_dict().items())
