"""Whole networks in the fused form, every operator by its kernel, against the twins: what is between them fits too."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.checkpoint.task import Backbone, Restoration
from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launch import Launch
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.operators import Operators
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fold import fold
from swin_deploy.model.fused import fuse
from swin_deploy.model.fusion_plan import FusionPlan
from tests.random_swin import random_images, random_reference, relative_error, small_spec

PADDED = small_spec("v1", image_size=(18, 14), depths=(2, 1), window=(4, 5), rule="openmmlab-dense")
OBLONG = small_spec("v2", image_size=(16, 24), depths=(2, 1), window=(4, 6))
PYRAMID = small_spec("v2", image_size=(16, 16), depths=(2, 1), window=4, task=Backbone((0, 1), norms=True))
GROUP = small_spec("v1", image_size=(8, 8), depths=(2,), heads=(2,), window=4).stages[0]
RESTORATION = SwinSpec("v1", (8, 7), 1, 3, (GROUP,), Restoration(2, "pixelshuffledirect"), "restoration")
SPECS = {"v1 padded": PADDED, "v2 oblong": OBLONG, "backbone": PYRAMID, "restoration": RESTORATION}


def worst(spec: SwinSpec, plan: FusionPlan, dtype: torch.dtype, operators: Operators, batch: int = 2) -> float:
    model = fold(random_reference(spec))
    images = random_images(spec, batch).float()
    found = []
    for each in (operators, TwinOperators()):
        with torch.no_grad():
            outputs: Any = fuse(model, plan, dtype, each)(images)
        found.append(outputs if isinstance(outputs, tuple) else (outputs,))
    return max(relative_error(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("name", SPECS)
def test_the_kernels_make_the_network_that_the_twins_make(name: str) -> None:
    plan = FusionPlan(mlp_channels=16)  # the first stage's MLPs in one kernel, each of the others in two
    assert worst(SPECS[name], plan, torch.float16, LaunchedOperators(InterpretedRun())) <= 1e-2


def test_in_fp32_they_are_alike_to_its_rounding() -> None:
    assert worst(PADDED, FusionPlan(), torch.float32, LaunchedOperators(InterpretedRun())) <= 1e-5


@pytest.mark.parametrize("linears", ["int8", "fp8"])
def test_in_int8_and_fp8_too(linears: Any) -> None:
    plan = FusionPlan(linears=linears, mlp_channels=0)
    # A value next to the middle of two grid values may fall to either side.
    assert worst(PADDED, plan, torch.float16, LaunchedOperators(InterpretedRun()), batch=1) <= 5e-2


class Forgetful(InterpretedRun):
    """Leaves out the first launch of one kernel; its output stays NaN."""

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self._kernel = kernel

    def launch(self, launch: Launch) -> None:
        if launch.kernel != self._kernel:
            super().launch(launch)
        elif self._kernel:
            self._kernel = ""


@pytest.mark.parametrize("kernel", ["patch_embed", "linear", "window_attention", "mlp", "add_norm", "token_mean"])
def test_a_launch_that_is_left_out_is_seen(kernel: str) -> None:
    spec = OBLONG if kernel == "add_norm" else PADDED
    plan = FusionPlan(mlp_channels=16)
    assert not worst(spec, plan, torch.float32, LaunchedOperators(Forgetful(kernel)), batch=1) <= 1e-5
