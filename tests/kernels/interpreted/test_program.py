"""A kernel program, read back from its files and carried out launch by launch, is the fused form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.device.kernel_program import Argument, read_program, write_program
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.make_program import ProgramRequest, make_program
from swin_deploy.kernels.operators import Operators
from swin_deploy.kernels.recorded_run import RecordedRun
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fold import fold
from swin_deploy.model.fused import fuse
from swin_deploy.model.fusion_plan import FusionPlan
from tests.kernels.imitation_cubin import imitated
from tests.kernels.program_replay import replay_program
from tests.random_swin import random_reference, small_spec

# The first stage's MLP in one kernel, the second's in two; shifted windows and merging in both families.
PLAN = FusionPlan(mlp_channels=16)


INT8 = FusionPlan(mlp_channels=0, linears="int8")


def form(family: Literal["v1", "v2"], dtype: torch.dtype, operators: Operators, plan: FusionPlan = PLAN) -> nn.Module:
    return fuse(fold(random_reference(small_spec(family))), plan, dtype, operators)


def program(folder: Path, family: Literal["v1", "v2"], dtype: torch.dtype, plan: FusionPlan = PLAN) -> Path:
    run = RecordedRun()
    request = ProgramRequest((3, 28, 28), "logits", (1, 2), ("8.7",))
    make_program(form(family, dtype, LaunchedOperators(run), plan), run, request, folder, imitated)
    return folder


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("family", "dtype", "tolerance"), [("v1", torch.float16, 5e-3), ("v2", torch.float32, 1e-4)])
def test_a_program_gives_what_the_fused_form_gives_at_each_batch(
    family: Literal["v1", "v2"], dtype: torch.dtype, tolerance: float, tmp_path: Path
) -> None:
    folder = program(tmp_path, family, dtype)
    for batch in (1, 2):
        wanted = form(family, dtype, TwinOperators())(images(batch))
        found = replay_program(folder, images(batch), "8.7")
        assert found.dtype == dtype
        assert (found.float() - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_linears_in_int8_are_a_program_too(tmp_path: Path) -> None:
    folder = program(tmp_path, "v1", torch.float16, INT8)
    entries = {kernel.entry for kernel in read_program(folder).kernels.values()}
    assert {"quantize_rows_kernel", "quantized_linear_kernel"} <= entries
    wanted = form("v1", torch.float16, TwinOperators(), INT8)(images(1))
    found = replay_program(folder, images(1), "8.7").float()
    assert (found - wanted).abs().max() <= 0.02 * wanted.abs().max()  # a code more or less here and there


def test_tensors_in_one_anothers_places_are_seen(tmp_path: Path) -> None:
    folder = program(tmp_path, "v1", torch.float32)
    made = read_program(folder)
    wanted = replay_program(folder, images(1), "8.7")
    together = Argument("arena", 0)
    launches = tuple(
        replace(launch, arguments=tuple(together if given.kind == "arena" else given for given in launch.arguments))
        for launch in made.programs[1].launches
    )
    write_program(folder, replace(made, programs={1: replace(made.programs[1], launches=launches)}))
    assert not torch.allclose(replay_program(folder, images(1), "8.7"), wanted, rtol=0.1)
