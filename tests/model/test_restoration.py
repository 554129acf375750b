"""Restoration in both forms: compared with each other, with Hugging Face's model, and spoiled on purpose.

The originals' own outputs are in tests/golden and judged in tests/checkpoint/test_restoration.py.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import Family, StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Restoration
from swin_deploy.errors import BadInput
from swin_deploy.model import constants, deployment, forms, restoration
from swin_deploy.model.fold import PROOF_BOUND, fold, prove
from swin_deploy.model.forms import (
    build_reference,
    open_deployment,
    open_reference,
    save_deployment,
    save_reference,
)
from swin_deploy.model.layout import token_layout
from swin_deploy.model.restoration import DeploymentRestoration, ReferenceRestoration, reflect
from tests.random_swin import random_images, random_reference, relative_error

MEAN = (0.4488, 0.4371, 0.4040)


def restoration_spec(
    family: Family,
    task: Restoration,
    *,
    image_size: tuple[int, int] = (8, 8),
    dim: int = 12,
    heads: int = 2,
    depths: tuple[int, ...] = (2, 2),
    window: int = 4,
    channels: int = 3,
    rule: str = "restoration",
    patch_norm: bool = True,
) -> SwinSpec:
    trained = (window, window) if family == "v2" else None
    stages = tuple(StageSpec(depth, dim, heads, (window, window), 2 * dim, trained) for depth in depths)
    return SwinSpec(family, image_size, 1, channels, stages, task, rule, patch_norm)


def swinir(scale: int, upsampler: Any, **options: Any) -> Restoration:
    return Restoration(scale, upsampler, **{"features": 8, "mean": MEAN, **options})


def swin2sr(scale: int, upsampler: Any, **options: Any) -> Restoration:
    return swinir(scale, upsampler, embed_conv=True, **options)


SPECS = {
    "swinir-pixelshuffle": restoration_spec("v1", swinir(2, "pixelshuffle"), image_size=(11, 9)),
    "swinir-pixelshuffle_x3": restoration_spec("v1", swinir(3, "pixelshuffle")),
    "swinir-pixelshuffle_x8": restoration_spec("v1", swinir(8, "pixelshuffle"), depths=(1,)),
    "swinir-direct_x3": restoration_spec("v1", swinir(3, "pixelshuffledirect"), image_size=(7, 12)),
    "swinir-nearest_3conv": restoration_spec(
        "v1", swinir(4, "nearest+conv", group_conv="3conv", body_conv="3conv"), image_size=(8, 10)
    ),
    "swinir-denoise": restoration_spec("v1", swinir(1, "none"), image_size=(9, 8)),
    "swinir-jpeg": restoration_spec(
        "v1", swinir(1, "none", image_range=255.0, mean=(0.0,)), image_size=(13, 5), window=7, channels=1
    ),
    "swinir-range_in_a_shuffle": restoration_spec("v1", swinir(2, "pixelshuffledirect", image_range=255.0)),
    "swinir-no_patch_norm": restoration_spec("v1", swinir(2, "pixelshuffledirect"), patch_norm=False),
    "swinir-one_window": restoration_spec("v1", swinir(1, "none"), rule="restoration-one-window"),
    "swinir-uneven_depths": restoration_spec("v1", swinir(1, "none"), depths=(3, 1, 2)),
    "swin2sr-pixelshuffle_x4": restoration_spec("v2", swin2sr(4, "pixelshuffle"), image_size=(6, 9)),
    "swin2sr-direct": restoration_spec("v2", swin2sr(2, "pixelshuffledirect"), image_size=(11, 9)),
    "swin2sr-nearest": restoration_spec("v2", swin2sr(4, "nearest+conv")),
    "swin2sr-jpeg_3conv": restoration_spec("v2", swin2sr(1, "none", group_conv="3conv", image_range=255.0)),
}
# What a folded restoration may do beside the blocks' own operators (tests/model/test_fold.py).
AROUND = {
    "aten.conv2d.default",
    "aten.leaky_relu.default",
    "aten.pad.default",
    "aten.pixel_shuffle.default",
    "aten.slice.Tensor",
    "aten.sub.Tensor",
    "aten.unflatten.int",
    "aten.upsample_nearest2d.vec",
}
BLOCKS = {
    "aten.add.Tensor",
    "aten.flatten.using_ints",
    "aten.gelu.default",
    "aten.index_select.default",
    "aten.layer_norm.default",
    "aten.linear.default",
    "aten.matmul.default",
    "aten.permute.default",
    "aten.reshape.default",
    "aten.softmax.int",
    "aten.to.dtype",
    "aten.transpose.int",
    "aten.unbind.int",
    "aten._assert_tensor_metadata.default",
    "<built-in function getitem>",
}
COSINE = {
    "aten.linalg_vector_norm.default",
    "aten.clamp_min.default",
    "aten.div.Tensor",
    "aten.mul.Tensor",
    "aten.squeeze.dim",  # the value, beside the slice of query and key
}


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> SwinSpec:
    return SPECS[request.param]


def pictures(spec: SwinSpec, batch: int) -> Tensor:
    """Random images on the 0..1 scale."""
    generator = torch.Generator().manual_seed(batch)
    return torch.rand(batch, spec.channels, *spec.image_size, generator=generator, dtype=torch.float64)


def exported(model: nn.Module, spec: SwinSpec) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=8)
    images = torch.zeros(2, spec.channels, *spec.image_size)
    with torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes=({0: batch},))


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@torch.no_grad()
def test_the_deployment_form_is_the_paper_form(spec: SwinSpec, dtype: torch.dtype, bound: float, affine: bool) -> None:
    model = random_reference(spec).to(dtype)
    folded = fold(model, affine=affine)
    assert isinstance(model, ReferenceRestoration)
    assert isinstance(folded, DeploymentRestoration)
    scale = spec.task.scale
    for batch in (1, 2, 3):
        images = pictures(spec, batch).to(dtype)
        wanted = model(images)
        assert wanted.shape == (batch, spec.channels, scale * spec.image_size[0], scale * spec.image_size[1])
        assert wanted.dtype == dtype
        assert relative_error(folded(images), wanted) <= bound


def test_the_proof_holds(spec: SwinSpec) -> None:
    assert prove(random_reference(spec)).holds


def test_the_proof_holds_where_masks_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "LARGEST_MIB", 0.0)
    for name in ("swinir-denoise", "swin2sr-direct"):
        folded: Any = fold(random_reference(SPECS[name]))
        masks = [block.attn.mask for block in folded.blocks if block.attn.mask is not None]
        assert len(masks) == 2
        assert masks[0] is masks[1]  # the groups share it
        assert prove(random_reference(SPECS[name])).holds


def test_every_weight_shows_in_the_output(spec: SwinSpec) -> None:
    """Else a fold could lose one, and no comparison of outputs would tell."""
    model = random_reference(spec).double()
    model(pictures(spec, 2)).square().mean().backward()
    unseen = [
        name
        for name, weight in model.named_parameters()
        if not weight.grad.abs().max() > 1e-9 and not name.endswith(("attn.logit_scale", "attn.qkv.bias"))
    ]
    assert unseen == []


@pytest.mark.parametrize(
    "name", ["swinir-pixelshuffle", "swinir-nearest_3conv", "swin2sr-direct", "swin2sr-jpeg_3conv"]
)
def test_the_graph_keeps_its_batch_free_and_does_nothing_but_what_it_must(name: str) -> None:
    spec = SPECS[name]
    folded = fold(random_reference(spec))
    program = exported(folded, spec)
    found = Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")
    assert set(found) <= AROUND | BLOCKS | (COSINE if spec.family == "v2" else set())
    layout = token_layout(spec)
    twice = sum(block.leaving is not None for block in layout.blocks)  # the residual and what is added to it
    assert found["aten.index_select.default"] == layout.permutations + twice
    assert found["aten.sub.Tensor"] == 1  # the mean at the input; range and mean at the output are in weights
    groups, embeds = len(spec.stages), int(spec.task.embed_conv)
    convs = 1 + embeds + sum(isinstance(part, nn.Conv2d) for part in folded.upsample)
    convs += groups * (3 if spec.task.group_conv == "3conv" else 1) + (3 if spec.task.body_conv == "3conv" else 1)
    assert found["aten.conv2d.default"] == convs  # Swin2SR's 1x1 behind each group is gone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of index buffers without gradients
        module = program.module()
    for batch in (1, 2, 3):
        images = pictures(spec, batch).float()
        assert relative_error(module(images), folded(images)) <= 1e-6


def test_the_same_look_at_the_paper_form_finds_what_must_be_gone() -> None:
    spec = SPECS["swin2sr-direct"]
    found = {str(node.target) for node in exported(random_reference(spec), spec).graph.nodes}
    assert {"aten.roll.default", "aten.sigmoid.default"} <= found - AROUND - BLOCKS - COSINE


@pytest.mark.parametrize(("dim", "heads", "wide"), [(60, 6, 16), (60, 2, 32)])
@torch.no_grad()
def test_zero_channels_in_heads_of_10_and_30_change_nothing(
    monkeypatch: pytest.MonkeyPatch, dim: int, heads: int, wide: int
) -> None:
    for family, task in (("v1", swinir(2, "pixelshuffledirect")), ("v2", swin2sr(2, "pixelshuffledirect"))):
        spec = restoration_spec(family, task, dim=dim, heads=heads)
        model = random_reference(spec)
        padded, exact = fold(model), fold(model.double())
        assert padded.blocks[0].attn.head_dim == wide
        assert prove(model).holds
        with monkeypatch.context() as patch:
            patch.setattr(deployment, "fusible_head_dim", lambda head_dim: head_dim)
            plain, plain_exact = fold(model.float()), fold(model.double())
        assert plain.blocks[0].attn.head_dim == dim // heads
        images = pictures(spec, 2)
        # Either is 1e-6 from the exact result; V2 divides by lengths that another order of additions rounds otherwise.
        bound = 1e-6 if family == "v1" else 3e-6
        assert relative_error(padded(images.float()), plain(images.float())) <= bound
        assert relative_error(exact(images), plain_exact(images)) <= 1e-12


def test_a_channel_of_a_head_that_is_not_zero_would_show() -> None:
    spec = restoration_spec("v1", swinir(2, "pixelshuffledirect"), dim=60, heads=6)
    folded: Any = fold(random_reference(spec).double())
    images = pictures(spec, 1)
    with torch.no_grad():
        before = folded(images)
        attention = folded.blocks[0].attn
        attention.qkv.bias.view(3, 6, 16)[:2, 0, 15] = 1.0  # query and key alike: a constant on every score
        assert relative_error(folded(images), before) <= PROOF_BOUND
        attention.qkv.bias.view(3, 6, 16)[2, 0, 15] = 1.0  # a value that the projection's zero column still drops
        assert relative_error(folded(images), before) <= PROOF_BOUND
        attention.proj.weight.view(60, 6, 16)[:, 0, 15] = 1e-3
        assert relative_error(folded(images), before) > 100 * PROOF_BOUND


def hugging_face_state(model: ReferenceRestoration) -> dict[str, Tensor]:
    """The weights of `model` under Hugging Face's names; written from their class, not from our dialect."""
    upsampler, state = model.spec.task.upsampler, {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"^stages\.(\d+)\.blocks\.(\d+)\.", r"swin2sr.encoder.stages.\1.layers.\2.", name)
        name = re.sub(r"^convs\.(\d+)\.", r"swin2sr.encoder.stages.\1.conv.", name)
        name = re.sub(r"^embeds\.(\d+)\.", r"swin2sr.encoder.stages.\1.patch_embed.projection.", name)
        if model.spec.task.group_conv == "1conv":
            name = re.sub(r"\.conv\.0\.", ".conv.", name)
        name = re.sub(r"^conv_after_body\.0\.", "swin2sr.conv_after_body.", name)
        name = re.sub(r"^conv_first\.", "swin2sr.first_convolution.", name)
        name = re.sub(r"^patch_embed\.proj\.", "swin2sr.embeddings.patch_embeddings.projection.", name)
        name = re.sub(r"^patch_embed\.norm\.", "swin2sr.embeddings.patch_embeddings.layernorm.", name)
        name = re.sub(r"^norm\.", "swin2sr.layernorm.", name)
        name = name.replace(".norm1.", ".layernorm_before.").replace(".norm2.", ".layernorm_after.")
        name = name.replace(".mlp.0.", ".intermediate.dense.").replace(".mlp.2.", ".output.dense.")
        name = name.replace(".attn.proj.", ".attention.output.dense.").replace(".attn.", ".attention.self.")
        name = name.replace(".cpb_mlp.", ".continuous_position_bias_mlp.")
        name = name.replace("upsample.conv_before.", "upsample.conv_before_upsample.")
        if upsampler == "pixelshuffledirect":
            name = name.replace("upsample.conv_last.", "upsample.conv.")
        name = name.replace("upsample.conv_last.", "upsample.final_convolution.")
        if upsampler == "nearest+conv":
            name = re.sub(r"upsample\.conv_up(\d)", lambda found: f"upsample.conv_up{int(found[1]) + 1}", name)
        elif model.spec.task.scale == 3:
            name = name.replace("upsample.conv_up0.", "upsample.upsample.convolution.")
        else:
            name = re.sub(r"upsample\.conv_up(\d)", r"upsample.upsample.convolution_\1", name)
        if name.endswith(("self.qkv.weight", "self.qkv.bias")):
            stem, kind = (
                name.removesuffix(name.rsplit(".", 2)[-2] + "." + name.rsplit(".", 1)[-1]),
                name.rsplit(".")[-1],
            )
            for part, third in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                if (part, kind) != ("key", "bias"):
                    state[f"{stem}{part}.{kind}"] = third.clone()
        else:
            state[name] = tensor.clone()
    return state


def hugging_face_twin(model: ReferenceRestoration, built_for: int = 64) -> Any:
    """Hugging Face's own model with the weights of `model`; the test is skipped without transformers."""
    transformers = pytest.importorskip("transformers")
    spec = model.spec
    config = transformers.Swin2SRConfig(
        image_size=built_for,
        num_channels=spec.channels,
        embed_dim=spec.stages[0].dim,
        depths=[stage.depth for stage in spec.stages],
        num_heads=[stage.heads for stage in spec.stages],
        window_size=spec.stages[0].window[0],
        mlp_ratio=spec.stages[0].mlp_dim / spec.stages[0].dim,
        upscale=spec.task.scale,
        img_range=spec.task.image_range,
        resi_connection=spec.task.group_conv,
        upsampler=spec.task.upsampler,
    )
    twin = transformers.Swin2SRForImageSuperResolution(config)
    twin.load_state_dict(hugging_face_state(model), strict=True)
    return twin.eval()


@pytest.mark.parametrize("image_size", [(8, 8), (11, 9), (4, 4), (12, 4)])
@pytest.mark.parametrize(
    ("scale", "upsampler", "options"),
    [
        (2, "pixelshuffle", {}),
        (3, "pixelshuffle", {}),
        (4, "pixelshuffle", {"image_range": 255.0}),
        (2, "pixelshuffledirect", {}),
        (3, "pixelshuffledirect", {"group_conv": "3conv"}),
        (4, "nearest+conv", {}),
    ],
)
@torch.no_grad()
def test_the_paper_form_is_hugging_faces_swin2sr(
    scale: int, upsampler: str, options: dict[str, Any], image_size: tuple[int, int]
) -> None:
    task = swin2sr(scale, upsampler, features=64, **options)
    spec = restoration_spec("v2", task, image_size=image_size, rule="restoration-huggingface")
    model = random_reference(spec)
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        twin = hugging_face_twin(model).to(dtype)
        images = pictures(model.spec, 2).to(dtype)
        assert relative_error(model.to(dtype)(images), hugging_face_image(twin, images, model.spec)) <= bound
        model.float()


@torch.no_grad()
def test_a_model_built_for_one_window_is_never_shifted_as_in_hugging_faces_code() -> None:
    task = swin2sr(2, "pixelshuffledirect", features=64)
    spec = restoration_spec("v2", task, image_size=(11, 9), rule="restoration-one-window")
    model = random_reference(spec).double()
    twin = hugging_face_twin(model, built_for=4).double()
    images = pictures(spec, 2)
    assert relative_error(model(images), hugging_face_image(twin, images, spec)) <= 1e-10
    shifted = build_reference(replace(spec, rule="restoration")).double().eval()
    shifted.load_state_dict(model.state_dict())
    assert relative_error(shifted(images), hugging_face_image(twin, images, spec)) > 1e-4


@torch.no_grad()
def hugging_face_image(twin: Any, images: Tensor, spec: SwinSpec) -> Tensor:
    """The output of Hugging Face's model.

    It means to reflect images up to whole windows, and then fails (transformers 5.23 reads the size before it pads), so
    that NumPy reflects them here.
    """
    (height, width), window = spec.image_size, spec.stages[0].window[0]
    pads = (0, -height % window), (0, -width % window)
    padded = torch.from_numpy(np.pad(images.numpy(), ((0, 0), (0, 0), *pads), mode="reflect"))
    scale = spec.task.scale
    return twin(padded).reconstruction[:, :, : scale * height, : scale * width]


@torch.no_grad()
def test_hugging_face_adds_the_mask_twice() -> None:
    """Of no account unless forbidden scores are far above the allowed ones, as here with heads of two channels."""
    spec = restoration_spec("v2", swin2sr(2, "pixelshuffledirect"), heads=6, rule="restoration-huggingface")
    model = random_reference(spec)
    for block in model.stages[0].blocks:
        block.attn.logit_scale.fill_(math.log(100.0))
    model = model.double()
    once = build_reference(replace(spec, rule="restoration")).double().eval()
    once.load_state_dict(model.state_dict())
    twin = hugging_face_twin(model).double()
    images = pictures(spec, 2)
    wanted = hugging_face_image(twin, images, spec)
    assert relative_error(model(images), wanted) <= 1e-10
    assert relative_error(once(images), wanted) > 1e-3


def zeros(images: Tensor, spec: SwinSpec) -> Tensor:
    (height, width), padded = spec.image_size, spec.padded_image
    return nn.functional.pad(images, (0, padded[1] - width, 0, padded[0] - height))


def mirrored(images: Tensor, spec: SwinSpec) -> Tensor:
    """As reflected, but with the border repeated."""
    padded = spec.padded_image
    images = torch.cat([images, images.flip(2)], 2)[:, :, : padded[0]]
    return torch.cat([images, images.flip(3)], 3)[:, :, :, : padded[1]]


@pytest.mark.parametrize("padded", [zeros, mirrored])
@torch.no_grad()
def test_another_padding_is_not_hugging_faces(
    monkeypatch: pytest.MonkeyPatch, padded: Callable[[Tensor, SwinSpec], Tensor]
) -> None:
    task = swin2sr(2, "pixelshuffle", features=64)
    spec = restoration_spec("v2", task, image_size=(11, 9), rule="restoration-huggingface")
    model = random_reference(spec).double()
    twin = hugging_face_twin(model).double()
    images = pictures(spec, 2)
    assert relative_error(model(images), hugging_face_image(twin, images, spec)) <= 1e-10
    monkeypatch.setattr(restoration, "reflect", padded)
    assert relative_error(model(images), hugging_face_image(twin, images, spec)) > 1e-4


def test_a_reflection_by_hand() -> None:
    spec = restoration_spec("v1", swinir(1, "none", mean=(0.0,)), image_size=(3, 4), channels=1)
    assert spec.padded_image == (4, 4)
    images = torch.arange(12.0).reshape(1, 1, 3, 4)
    assert torch.equal(reflect(images, spec)[0, 0, 3], torch.tensor([4.0, 5.0, 6.0, 7.0]))  # the row above the last


def test_means_and_ranges_at_the_output_by_hand() -> None:
    spec = restoration_spec("v1", swinir(2, "pixelshuffledirect", image_range=10.0))
    model: Any = random_reference(spec).double()
    folded: Any = fold(model)
    before, after = model.upsample.conv_last, folded.upsample.conv_last
    assert torch.allclose(after.weight, before.weight / 10)
    means = torch.tensor(MEAN).double()[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]]  # four positions a channel
    assert torch.allclose(after.bias, before.bias / 10 + means)
    assert torch.allclose(folded.conv_first.weight, 10 * model.conv_first.weight)
    assert torch.equal(folded.conv_first.bias, model.conv_first.bias)


Spoiler = Callable[[dict[str, dict[str, Tensor]], ReferenceRestoration], Any]
SPOILERS: dict[str, tuple[str, Spoiler]] = {
    "a range left out of the first convolution": (
        "swinir-range_in_a_shuffle",
        lambda parts, model: parts.update(conv_first=model.conv_first.state_dict()),
    ),
    "a range and a mean left out of the last one": (
        "swinir-range_in_a_shuffle",
        lambda parts, model: parts.update(upsample=model.upsample.state_dict()),
    ),
    "a mean of the wrong channel": (
        "swinir-pixelshuffle",
        lambda parts, model: parts["upsample"]["conv_last.bias"].copy_(
            model.upsample.conv_last.bias + model.mean.flatten().flip(0)
        ),
    ),
    "a mean added to an image that has it": (
        "swinir-denoise",
        lambda parts, model: parts["upsample"]["conv_last.bias"].add_(model.mean.flatten()),
    ),
    "a 1x1 convolution forgotten": (
        "swin2sr-direct",
        lambda parts, model: parts.update(convs=model.convs.state_dict()),
    ),
    "a 1x1 convolution without its bias": (
        "swin2sr-jpeg_3conv",
        lambda parts, model: parts["convs"]["1.4.bias"].sub_(model.embeds[1].bias),
    ),
    "another group's convolution": (
        "swinir-denoise",
        lambda parts, model: parts["convs"]["0.0.weight"].copy_(model.convs[1][0].weight),
    ),
}


@pytest.mark.parametrize(("name", "spoil"), SPOILERS.values(), ids=SPOILERS)
def test_the_proof_fails_when_a_part_is_spoiled(monkeypatch: pytest.MonkeyPatch, name: str, spoil: Spoiler) -> None:
    whole = ReferenceRestoration.folded_around

    def spoiled(model: ReferenceRestoration) -> Any:
        parts = {part: {key: value.clone() for key, value in state.items()} for part, state in whole(model).items()}
        spoil(parts, model)
        return parts

    assert prove(random_reference(SPECS[name])).holds
    monkeypatch.setattr(ReferenceRestoration, "folded_around", spoiled)
    proof = prove(random_reference(SPECS[name]))
    assert not proof.holds
    assert proof.relative_error > 100 * PROOF_BOUND


@pytest.mark.parametrize("where", ["entry", "exit"])
def test_the_proof_fails_when_a_permutation_is_spoiled(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    class Spoiled(DeploymentRestoration):
        def __init__(self, spec: SwinSpec) -> None:
            super().__init__(spec)
            index: Any = self.blocks[2].permutation if where == "entry" else self.exits["1"].positions
            index[[0, 9]] = index[[9, 0]]

    monkeypatch.setattr(forms, "DeploymentRestoration", Spoiled, raising=False)
    monkeypatch.setattr(restoration, "DeploymentRestoration", Spoiled)
    assert not prove(random_reference(SPECS["swinir-denoise"])).holds


@pytest.mark.parametrize("name", ["swinir-jpeg", "swin2sr-direct"])
def test_both_forms_come_back_from_their_files_bit_for_bit(tmp_path: Path, name: str) -> None:
    model = random_reference(SPECS[name])
    folded = fold(model)
    save_reference(model, tmp_path / "reference.safetensors")
    save_deployment(folded, tmp_path / "deployment.safetensors")
    images = pictures(model.spec, 1).float()
    for before, after in (
        (model, open_reference(tmp_path / "reference.safetensors")),
        (folded, open_deployment(tmp_path / "deployment.safetensors")),
    ):
        assert after.spec == model.spec
        with torch.no_grad():
            assert torch.equal(after(images), before(images))


@pytest.mark.parametrize("inside", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_images_are_fp32_outside_whatever_is_inside(inside: torch.dtype) -> None:
    for name in ("swinir-denoise", "swin2sr-direct"):
        folded = fold(random_reference(SPECS[name]))
        images = pictures(SPECS[name], 1).float()
        wanted = folded(images)
        got = folded.to(inside)(images)
        assert got.dtype == torch.float32
        assert relative_error(got, wanted) <= (0.05 if inside == torch.bfloat16 else 0.01)


@pytest.mark.parametrize("size", [(4, 16), (16, 3)])
def test_an_image_too_small_to_reflect_is_unusable(size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="at least 5 pixels"):
        restoration_spec("v1", swinir(1, "none"), image_size=size, window=8)
    smallest = restoration_spec("v1", swinir(1, "none"), image_size=(5, 5), window=8)
    with torch.no_grad():
        assert random_reference(smallest)(random_images(smallest, 1).float()).shape == (1, 3, 5, 5)


@pytest.mark.parametrize(
    ("scale", "upsampler"),
    [(6, "pixelshuffle"), (2, "nearest+conv"), (2, "none"), (0, "pixelshuffledirect"), (-2, "pixelshuffle")],
)
def test_a_scale_that_the_upsampler_cannot_reach_is_unusable(scale: int, upsampler: Any) -> None:
    with pytest.raises(BadInput, match="scale"):
        Restoration(scale, upsampler)


def test_a_mean_of_other_channels_and_an_empty_range_are_unusable() -> None:
    with pytest.raises(BadInput, match="mean of 3 channels"):
        restoration_spec("v1", swinir(1, "none"), channels=1)
    with pytest.raises(BadInput, match="image range"):
        swinir(1, "none", image_range=0.0)
