"""All who compute the fused operators take the same arguments, and PyTorch's registry has them too."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.operators import Operators
from swin_deploy.kernels.registered_operators import SCHEMAS
from swin_deploy.kernels.torch_operators import TorchOperators
from swin_deploy.kernels.twins import TwinOperators


def arguments(owner: type, name: str) -> list[tuple[str, Any, bool]]:
    """Name, default and whether it is by keyword only."""
    parameters = list(inspect.signature(getattr(owner, name)).parameters.values())[1:]
    return [(each.name, each.default, each.kind is each.KEYWORD_ONLY) for each in parameters]


def test_the_schemas_are_of_all_operators() -> None:
    public = {name for name in vars(Operators) if not name.startswith("_")}
    assert set(SCHEMAS) == public == {name for name in vars(TorchOperators) if not name.startswith("_")}


@pytest.mark.parametrize("name", SCHEMAS)
def test_everybody_takes_what_the_contract_says(name: str) -> None:
    wanted = arguments(Operators, name)
    assert arguments(TwinOperators, name) == arguments(LaunchedOperators, name) == wanted
    schema = getattr(torch.ops.swin_deploy, name).default._schema
    registered = []
    for each in schema.arguments:
        default = each.default_value if each.has_default_value() else inspect.Parameter.empty
        registered.append((each.name, () if default == [] else default, each.kwarg_only))
    assert registered == wanted
    assert not schema.is_mutable


@pytest.mark.parametrize(
    ("device", "dtype", "kernel"),
    [("cuda", torch.float16, True), ("cuda", torch.float64, False), ("cpu", torch.float16, False)],
)
def test_the_kernels_are_for_a_gpu_and_no_fp64(
    device: str, dtype: torch.dtype, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def heard(self: TwinOperators, x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        called.append("twin")
        return x

    monkeypatch.setattr(TwinOperators, "token_mean", heard)
    with FakeTensorMode():
        x, weight = torch.empty(2, 9, 32, dtype=dtype, device=device), torch.empty(32, device=device)
        found = TorchOperators().token_mean(x, weight, weight, eps=1e-5)
    assert called == ([] if kernel else ["twin"])
    assert not kernel or (found.shape, found.dtype, found.device.type) == ((2, 32), dtype, device)
