"""The fused form is the deployment form: in FP64 for random architectures and plans, in half, and spoilt on purpose."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.errors import UsageFault
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model import constants, fused, fused_layers
from swin_deploy.model.fold import PROOF_BOUND, fold
from swin_deploy.model.fused import fuse, unfusible
from swin_deploy.model.fused_layers import Layer, Windows
from swin_deploy.model.fusion_plan import FusionPlan
from swin_deploy.model.geometry import RULES
from swin_deploy.model.stream_order import window_positions
from tests.random_architectures import random_architecture
from tests.random_swin import random_images, random_reference, relative_error, small_spec

# Padded, of an odd map, shifted, with heads of 8 channels that become 16.
PADDED = small_spec("v1", image_size=(26, 18), depths=(2, 2), window=(4, 5), rule="openmmlab-dense")
SPECS = {"v1": small_spec("v1"), "v2": small_spec("v2"), "padded": PADDED}


def random_plan(seed: int) -> FusionPlan:
    draw = random.Random(seed)
    flags = {name: draw.random() < 0.7 for name in ("attention", "norms", "epilogues", "patch_embed", "head")}
    return FusionPlan(**flags, mlp_channels=draw.choice((0, 16, 192)))


def outputs(model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        found = model(images)
    return found if isinstance(found, tuple) else (found,)


def worst_error(got: nn.Module, wanted: nn.Module, images: Tensor) -> float:
    pairs = zip(outputs(got, images), outputs(wanted, images), strict=True)
    return max(relative_error(*pair) for pair in pairs)


def folded(spec: SwinSpec, seed: int = 0, *, affine: bool = False) -> nn.Module:
    return fold(random_reference(spec, seed).double(), affine=affine)


def exact(model: nn.Module, plan: FusionPlan | None = None) -> nn.Module:
    return fuse(model, plan or FusionPlan(), torch.float64, TwinOperators())


@pytest.mark.parametrize("seed", range(120))
def test_it_is_the_deployment_form_in_float64(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = random_architecture(seed)
    if seed % 4 == 0:
        monkeypatch.setattr(constants, "LARGEST_MIB", 0.0)  # position bias and shift mask apart
    model = folded(spec, seed, affine=seed % 5 == 0)
    images = random_images(spec, 1 + seed % 3, seed)
    plans = (FusionPlan(), FusionPlan.nothing(), random_plan(seed))
    for plan in plans:
        assert worst_error(exact(model, plan), model, images) <= PROOF_BOUND, (spec, plan)


def test_the_random_architectures_are_of_every_kind() -> None:
    specs = [random_architecture(seed) for seed in range(120)]
    geometries = [[spec.geometry(*place) for place in spec.blocks()] for spec in specs]
    found = Counter(
        {
            "padded": sum(any(geometry.padded for geometry in each) for each in geometries),
            "padded and shifted": sum(any(g.padded and g.shifted for g in each) for each in geometries),
            "roll first": sum(any(g.padded and g.shifted and g.roll_first for g in each) for each in geometries),
            "oblong": sum(any(g.window[0] != g.window[1] for g in each) for each in geometries),
            "odd map": sum(
                spec.merging
                and any(side % 2 for stage in range(len(spec.stages) - 1) for side in spec.feature_map(stage))
                for spec in specs
            ),
            "partial patch": sum(spec.padded_image != spec.image_size for spec in specs),
            "v1": sum(spec.family == "v1" for spec in specs),
            "v2": sum(spec.family == "v2" for spec in specs),
            **Counter(type(spec.task).__name__ for spec in specs),
        }
    )
    assert len(found) == 11 and min(found.values()) >= 5, found
    assert {spec.rule for spec in specs} == set(RULES)


def named_layers(model: nn.Module) -> dict[str, Layer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Layer)}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("plan", [FusionPlan(mlp_channels=16), FusionPlan.nothing()], ids=["fused", "plain"])
def test_every_weight_and_every_table_counts(name: str, plan: FusionPlan) -> None:
    model = folded(SPECS[name])
    images = random_images(SPECS[name], 2)
    form = exact(model, plan)
    unread = Counter[str]()
    for buffer_name, buffer in form.named_buffers():
        before = buffer.clone()
        if buffer.dtype == torch.bool:
            buffer.logical_not_()
        elif buffer.dtype.is_floating_point:
            buffer.add_(0.1 * torch.randn(buffer.shape, generator=torch.Generator().manual_seed(0)))
        else:  # a table: two tokens of different places
            last = int(buffer.argmax())  # no padding
            buffer.view(-1)[[0, last]] = buffer.view(-1)[[last, 0]]
        if worst_error(form, model, images) <= 100 * PROOF_BOUND:
            unread[buffer_name.rpartition(".")[2]] += 1
        buffer.copy_(before)
    # The kernel alone reads `column`, padding is read where there is some, and plain attention has tables of its own.
    allowed = {"column", *(() if name == "padded" else ("padding",)), *(() if plan.attention else ("positions",))}
    assert set(unread) <= allowed, unread
    assert worst_error(form, model, images) <= PROOF_BOUND  # and all is as it was


def without_norm(norm: nn.LayerNorm, linear: nn.Linear, before: float | None) -> fused_layers.Affine:
    return fused_layers.Affine.of(linear)


def unshifted(order: Any, geometry: Any) -> Any:
    return window_positions(order, replace(geometry, shift=(0, 0)))


@pytest.mark.parametrize(
    ("name", "fault", "spec"),
    [
        ("_behind", without_norm, SPECS["v1"]),  # nothing stands before a linear in V2
        ("_behind", without_norm, PADDED),
        *(("window_positions", unshifted, spec) for spec in SPECS.values()),
    ],
)
def test_a_wrong_wiring_is_seen(
    name: str, fault: Callable[..., Any], spec: SwinSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folded(spec)
    monkeypatch.setattr(fused, name, fault)
    assert worst_error(exact(model), model, random_images(spec, 2)) > 100 * PROOF_BOUND


def test_a_padded_token_has_the_bias_before_the_norm_went_into_it() -> None:
    model = folded(PADDED)
    form: Any = exact(model)
    form.blocks[0].attention.padding = form.blocks[0].qkv.bias.clone()  # with the norm's shift
    assert worst_error(form, model, random_images(PADDED, 2)) > 100 * PROOF_BOUND


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_it_is_no_further_from_fp32_than_twice_pytorchs_half(spec: SwinSpec, dtype: torch.dtype) -> None:
    model = folded(spec)
    images = random_images(spec, 4)
    (wanted,) = outputs(model, images)
    (half,) = outputs(fold(random_reference(spec)).to(dtype), images.float())
    (got,) = outputs(fuse(model.float(), FusionPlan(), dtype, TwinOperators()), images.float())
    assert got.dtype == torch.float32
    assert relative_error(got, wanted) <= 2 * relative_error(half, wanted)


def test_what_the_kernels_take_is_fp32_beside_weights_in_half() -> None:
    form = fuse(folded(PADDED), FusionPlan(mlp_channels=16), torch.float16, TwinOperators())
    single = {"bias", "column", "padding", "norm_weight", "norm_bias", "first_bias", "second_bias"}
    for name, buffer in form.named_buffers():
        last = name.rpartition(".")[2]
        if name.startswith("mean.") or last in single:
            assert buffer.dtype == torch.float32, name
        elif last in {"positions", "order"}:
            assert buffer.dtype == torch.int32, name
        elif buffer.dtype.is_floating_point:
            assert buffer.dtype == torch.float16, name
        assert buffer.is_contiguous()
    for layer in form.modules():
        if isinstance(layer, fused_layers.Linear) and layer.column is not None:
            torch.testing.assert_close(layer.column, layer.weight.float().sum(1), rtol=1e-5, atol=1e-5)


class Listening(TwinOperators):
    """Writes down which operators were called, with which tiles."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[int, ...]]] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name == "heard" or name.startswith("__"):
            return found

        def called(*tensors: Any, tiles: tuple[int, ...], **options: Any) -> Any:
            self.heard.append((name, tiles))
            return found(*tensors, tiles=tiles, **options)

        return called


def test_each_layer_is_one_operator_with_the_tiles_of_its_case() -> None:
    model, images = folded(PADDED).float(), random_images(PADDED, 1).float()
    cases = {layer.case for layer in named_layers(exact(model)).values()}
    assert all(cases) and "window_attention 2x16 of 8x20" in cases, cases
    tiles = {case: (16 << index % 3, 32, 64, 4, 1 + index % 4) for index, case in enumerate(sorted(cases))}
    heard = Listening()
    form = fuse(model, FusionPlan(tiles=tiles), torch.float32, heard)
    outputs(form, images)
    layers = named_layers(form)
    assert len(heard.heard) == len(layers)  # each block has its own, and each is called once
    assert Counter(heard.heard) == Counter((layer.case.split()[0], tiles[layer.case]) for layer in layers.values())


def test_a_plan_of_nothing_calls_no_operator() -> None:
    model, images = folded(PADDED).float(), random_images(PADDED, 1).float()
    heard = Listening()
    outputs(fuse(model, FusionPlan.nothing(), torch.float32, heard), images)
    assert not heard.heard


@pytest.mark.parametrize(
    ("on", "operators"),
    [
        ({"attention": True}, {"window_attention"}),
        ({"norms": True}, {"linear"}),
        ({"epilogues": True}, {"linear"}),
        ({"mlp_channels": 16}, {"mlp"}),
        ({"patch_embed": True}, {"patch_embed"}),
        ({"head": True}, {"token_mean", "linear"}),
    ],
    ids=lambda value: " ".join(sorted(value)),  # the order of a set differs from process to process
)
def test_each_technique_can_be_had_alone(on: dict[str, Any], operators: set[str]) -> None:
    model, images = folded(SPECS["v1"]).float(), random_images(SPECS["v1"], 1).float()
    heard = Listening()
    outputs(fuse(model, replace(FusionPlan.nothing(), **on), torch.float32, heard), images)
    assert {name for name, _ in heard.heard} == operators


def test_blocks_of_one_geometry_share_their_table() -> None:
    form = exact(folded(small_spec("v1", depths=(4, 2))))
    assert len({id(module) for module in form.modules() if isinstance(module, Windows)}) == 3


@pytest.mark.parametrize("linears", ["int8", "fp8"])
@pytest.mark.parametrize("name", SPECS)
def test_quantized_linears_are_near(name: str, linears: Any) -> None:
    model, images = folded(SPECS[name]).float(), random_images(SPECS[name], 4).float()
    form = fuse(model, FusionPlan(linears=linears, mlp_channels=0), torch.float16, TwinOperators())
    assert 1e-4 < worst_error(form, model, images) < 0.2
    kinds = Counter(layer.case.split()[0] for layer in named_layers(form).values())
    blocks = sum(stage.depth for stage in SPECS[name].stages)
    assert kinds["quantized_linear"] == 4 * blocks + 1
    inside = blocks if linears == "fp8" and SPECS[name].family == "v1" else 0  # between an MLP's two products
    assert kinds["quantize_rows"] == 4 * blocks + 1 - inside
    assert kinds["linear"] == 1  # the head's


def test_quantized_linears_between_tensors_in_fp32_are_refused() -> None:
    with pytest.raises(UsageFault, match="FP16 or BF16"):
        fuse(folded(SPECS["v1"]), FusionPlan(linears="int8"), torch.float32, TwinOperators())


def test_an_attention_of_ones_own_has_no_fused_form_and_the_reason_names_it() -> None:
    spec = small_spec("v1", attention="linformer")
    assert "linformer" in (unfusible(spec) or "")
    with pytest.raises(UsageFault, match="linformer"):
        fuse(fold(random_reference(spec)), FusionPlan(), torch.float32, TwinOperators())
    assert unfusible(SPECS["v1"]) is None


def test_the_deployment_form_is_left_as_it_was() -> None:
    for seed in range(3):
        model = folded(random_architecture(seed)).float()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        fuse(model, FusionPlan(), torch.float16, TwinOperators())
        after = model.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        assert before.keys() == after.keys()


def test_a_backbones_features_come_in_raster_order_whatever_the_stream_has() -> None:
    spec = small_spec("v2", task=Backbone((0, 1), norms=False))
    model = folded(spec)
    first, last = outputs(exact(model), random_images(spec, 2))
    assert (first.shape, last.shape) == ((2, 16, 14, 14), (2, 32, 7, 7))
