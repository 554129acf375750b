"""Choosing by measurement, with a clock that the test owns."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import nn

from swin_deploy.kernels.tuning import LayerCall, alternatives, choose_fusions, choose_tiles, layer_calls
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fold import fold
from swin_deploy.model.fused import fuse
from swin_deploy.model.fused_layers import Layer, Linear
from swin_deploy.model.fusion_plan import FusionPlan
from tests.random_swin import random_reference, small_spec


def fused(plan: FusionPlan, family: Literal["v1", "v2"] = "v1") -> nn.Module:
    return fuse(fold(random_reference(small_spec(family))), plan, torch.float16, TwinOperators())


@pytest.fixture(scope="module")
def calls() -> list[LayerCall]:
    torch.manual_seed(0)
    found = layer_calls(fused(FusionPlan(mlp_channels=0)), torch.randn(2, 3, 28, 28))
    found += layer_calls(fused(FusionPlan(mlp_channels=192), "v2"), torch.randn(2, 3, 28, 28))
    return found + layer_calls(fused(FusionPlan(mlp_channels=0, linears="int8")), torch.randn(2, 3, 28, 28))


def test_every_kind_of_layer_is_heard_once_a_case_with_what_it_gets(calls: list[LayerCall]) -> None:
    kinds = {type(call.layer).__name__ for call in calls}
    assert kinds == {
        *("AddNorm", "Attention", "Linear", "Mlp", "Patches", "QuantizedLinear", "QuantizedRows", "TokenMean"),
    }
    for call in calls:
        assert call.layer.case and call.candidates()
        call.layer(*call.arguments)
    first = [call.layer.case for call in layer_calls(fused(FusionPlan(mlp_channels=0)), torch.randn(1, 3, 28, 28))]
    assert len(first) == len(set(first))


def test_listening_leaves_nothing_behind() -> None:
    model = fused(FusionPlan())
    layer_calls(model, torch.randn(1, 3, 28, 28))
    assert not any(module._forward_pre_hooks for module in model.modules())


def one_linear(calls: list[LayerCall]) -> LayerCall:
    return next(call for call in calls if isinstance(call.layer, Linear) and len(call.candidates()) > 2)


def test_the_fastest_tiles_are_chosen_and_the_layer_keeps_its_own(calls: list[LayerCall]) -> None:
    call = one_linear(calls)
    places = {tuple(tiles.numbers()): place for place, tiles in enumerate(call.candidates())}
    chosen, trials = choose_tiles([call], lambda timed: [3.0, 2.0, 1.0, 1.5][min(places[call.layer.tiles], 3)])
    assert chosen == {call.layer.case: tuple(call.candidates()[2].numbers())}
    assert [trial.kept for trial in trials][:3] == [False, False, True] and sum(trial.kept for trial in trials) == 1
    assert call.layer.tiles == ()


def test_what_is_hardly_faster_is_not_chosen(calls: list[LayerCall]) -> None:
    call = one_linear(calls)
    own = tuple(call.candidates()[0].numbers())
    others = iter([0.985, 0.975])

    def seconds(timed: object) -> float:
        return 1.0 if call.layer.tiles == own else other

    for wanted in (0, 1):
        other = next(others)
        chosen, trials = choose_tiles([call], seconds)
        assert len(chosen) == wanted
        assert trials[0].kept is (wanted == 0)


def test_tiles_that_fail_or_compute_something_else_are_refused(calls: list[LayerCall]) -> None:
    call = one_linear(calls)
    second, third = (tuple(tiles.numbers()) for tiles in call.candidates()[1:3])

    class Faulty(TwinOperators):
        def linear(self, *arguments, tiles=(), **options):  # type: ignore[no-untyped-def]
            if tuple(tiles) == second:
                raise RuntimeError("out of resource: shared memory\nand more")
            result = super().linear(*arguments, **options)
            return result * float("nan") if tuple(tiles) == third else result

    real, call.layer.operators = call.layer.operators, Faulty()
    try:
        chosen, trials = choose_tiles([call], lambda timed: 1.0 if call.layer.tiles not in (second, third) else 0.1)
    finally:
        call.layer.operators = real
    assert chosen == {}
    assert trials[1].refused == "RuntimeError: out of resource: shared memory" and trials[1].seconds is None
    assert trials[2].refused == "its result differs from that of the first tiles"


def test_chosen_tiles_reach_the_kernels_of_the_next_form(calls: list[LayerCall]) -> None:
    call = one_linear(calls)
    tiles = tuple(call.candidates()[1].numbers())
    model = fused(FusionPlan(mlp_channels=0).with_tiles({call.layer.case: tiles}))
    found = {layer.tiles for layer in model.modules() if isinstance(layer, Layer) and layer.case == call.layer.case}
    assert found == {tiles}


def test_fusions_that_do_not_pay_are_left_out_one_after_another() -> None:
    def seconds(plan: FusionPlan) -> float:
        return 10.0 - 2.0 * (plan.mlp_channels == 0) - 1.0 * (not plan.norms) + 3.0 * (not plan.epilogues)

    best, trials = choose_fusions(FusionPlan(), (96, 192), seconds)
    assert best == replace(FusionPlan(), mlp_channels=0, norms=False)
    assert [trial.choice for trial in trials if trial.kept] == [
        *("as planned", "MLP in one kernel up to 0", "norms apart"),
    ]


def test_a_plan_that_cannot_run_is_not_chosen() -> None:
    def seconds(plan: FusionPlan) -> float:
        if plan.mlp_channels == 384:
            raise RuntimeError("too wide")
        return 1.0

    best, trials = choose_fusions(FusionPlan(), (96, 192, 384), seconds)
    assert best == FusionPlan()
    assert [trial.refused for trial in trials if trial.seconds is None] == ["RuntimeError: too wide"]


def test_alternatives_are_all_but_what_there_is() -> None:
    assert set(alternatives(FusionPlan(mlp_channels=192), (96, 192, 384))) == {
        *("MLP in one kernel up to 0", "MLP in one kernel up to 96", "MLP in one kernel up to 384"),
        *("norms apart", "bias, GELU and residual apart", "the library's linears"),
    }
    assert alternatives(FusionPlan(mlp_channels=0, norms=False, epilogues=False), ()) == {}
