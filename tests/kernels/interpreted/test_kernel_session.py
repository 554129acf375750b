"""The very path that runs on a device, from a program's files to its answers, on a GPU imitated down to the kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from swin_deploy.device.cuda_memory import Device
from swin_deploy.device.kernel_program import read_program
from swin_deploy.device.kernel_session import KernelSession
from swin_deploy.kernels.interpreted_run import InterpretedRun
from swin_deploy.kernels.launched import LaunchedOperators
from swin_deploy.kernels.make_program import ProgramRequest, make_program
from swin_deploy.kernels.recorded_run import RecordedRun
from swin_deploy.kernels.twins import TwinOperators
from swin_deploy.model.fold import fold
from swin_deploy.model.fused import fuse
from swin_deploy.model.fusion_plan import FusionPlan
from tests.kernels.imitation_cubin import imitated
from tests.kernels.interpreting_driver import interpreting_driver
from tests.kernels.two_norms import TwoNorms
from tests.random_swin import random_reference, small_spec

# The first stage has its MLP in one kernel, the second has not.
PLAN = FusionPlan(mlp_channels=16)


def opened(folder: Path, *, cuda_graph: bool = True) -> KernelSession:
    device = Device(library=interpreting_driver("8.7"))
    return KernelSession(folder, read_program(folder), device, cuda_graph=cuda_graph)


def test_two_launches_answer_as_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = RecordedRun()
    network = TwoNorms(run)
    make_program(network, run, ProgramRequest((1, 4, 24), "rows", (1, 3), ("8.7",)), tmp_path, imitated)
    network.run = InterpretedRun()  # type: ignore[assignment]
    images = torch.randn(3, 1, 4, 24)
    for cuda_graph in (False, True):
        with opened(tmp_path, cuda_graph=cuda_graph) as session:
            for count in (1, 2, 3):
                found = session.infer(images[:count].numpy())["rows"]
                np.testing.assert_array_equal(found, network(images[:count]).detach().float().numpy())


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_a_whole_swin_answers_as_its_twin(family: Literal["v1", "v2"], tmp_path: Path) -> None:
    # 8x8 tokens in four windows, shifted; then 4x4 in one.
    spec = small_spec(family, image_size=(16, 16), depths=(2, 1), heads=(1, 2), window=4)
    model = fold(random_reference(spec))
    run = RecordedRun()
    recorded = fuse(model, PLAN, torch.float16, LaunchedOperators(run))
    request = ProgramRequest((3, 16, 16), "logits", (1, 3), ("8.7",))
    program = make_program(recorded, run, request, tmp_path, imitated).program
    twin = fuse(model, PLAN, torch.float16, TwinOperators())
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = twin(images).numpy()
    with opened(tmp_path) as session:
        for count in (1, 3):
            found = session.infer(images[:count].numpy())["logits"]
            assert np.abs(found - wanted[:count]).max() < 4e-3 * np.abs(wanted).max()
        # Two images run in the launches of three, and NaN in one of them stays there.
        images[1] = torch.nan
        spoiled = session.infer(images[:2].numpy())["logits"]
        assert np.isnan(spoiled[1]).all()
        np.testing.assert_array_equal(spoiled[0], found[0])
    assert len(program.programs[1].launches) == len(program.programs[3].launches) > 10
