"""The wiring for CPUs computes what the deployment form does, on the same weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from swin_deploy.checkpoint.spec import StageSpec, SwinSpec
from swin_deploy.checkpoint.task import Backbone, Restoration
from swin_deploy.model import deployment
from swin_deploy.model.cpu_form import rewire_for_cpu
from swin_deploy.model.fold import fold
from tests.random_swin import random_reference, small_spec

ROOM = (4, 4)
SPECS = {
    "v1": small_spec("v1"),
    "v2": small_spec("v2"),
    "padded, parts of patches": small_spec("v1", image_size=(17, 22), window=4, rule="microsoft-dense"),
    "backbone": small_spec("v2", image_size=(16, 8), window=4, task=Backbone((0, 1), norms=True)),
    "restoration": SwinSpec(
        "v1",
        (14, 12),
        1,
        3,
        (StageSpec(2, 32, 2, ROOM, 64),),
        Restoration(2, "pixelshuffle", mean=(0.4, 0.4, 0.4)),
        rule="restoration",
    ),
}


def both(spec: SwinSpec) -> tuple[Any, Any]:
    """The deployment form in FP64, and the same rewired."""
    model = fold(random_reference(spec)).double()
    rewired = copy.deepcopy(model)
    rewire_for_cpu(rewired)
    return model, rewired


def worst(found: Any, wanted: Any) -> float:
    """The largest difference over the largest number."""
    pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", SPECS)
@torch.no_grad()
def test_nothing_but_rounding_is_different(name: str, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "joins", lambda spec: not apart)
    spec = SPECS[name]
    model, rewired = both(spec)
    images = torch.rand(3, 3, *spec.image_size, generator=torch.Generator().manual_seed(0)).double()
    assert worst(rewired(images), model(images)) <= 1e-12
    assert rewired.state_dict().keys() == model.state_dict().keys()
    types = {type(module).__name__ for module in rewired.modules()}
    assert "CpuWindowAttention" in types and "WindowAttention" not in types


@torch.no_grad()
def test_the_comparison_sees_one_wrong_number() -> None:
    model, rewired = both(SPECS["v1"])
    constant: Tensor = rewired.blocks[0].attn.constant
    constant[0, 0, 0, 1] += 1e-6
    images = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0)).double()
    assert worst(rewired(images), model(images)) > 1e-12


def test_an_attention_of_ones_own_stays_as_it_is() -> None:
    model = fold(random_reference(small_spec("v1", attention="channel-gate")))
    before = {name: type(module) for name, module in model.named_modules() if name.endswith(".attn")}
    rewire_for_cpu(model)
    assert {name: type(module) for name, module in model.named_modules() if name.endswith(".attn")} == before
