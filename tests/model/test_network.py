"""Whatever PyTorch opens is opened alike: its outputs, its size and its graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.checkpoint.task import Backbone
from swin_deploy.errors import BadInput
from swin_deploy.model.capture import capture, program_module, save_program
from swin_deploy.model.fold import fold
from swin_deploy.model.forms import save_deployment, save_reference
from swin_deploy.model.network import FORMATS, open_network
from tests.own_networks import SIZE, made, pyramid
from tests.random_swin import random_reference, small_spec

SPEC = small_spec("v1", image_size=(16, 8), window=4, task=Backbone((0, 1), norms=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Artifact]:
    folder = tmp_path_factory.mktemp("networks")
    made_by = {form: Artifact(form.value, folder / form.value, form, Precision.FP32) for form in FORMATS}
    model = random_reference(SPEC)
    save_reference(model, made_by[Format.CHECKPOINT].path)
    save_deployment(fold(model), made_by[Format.DEPLOYMENT].path)
    program = capture(made(pyramid), SIZE, 3, 4)
    save_program(program, ("fine", "coarse", "logits"), made_by[Format.CAPTURED].path.with_suffix(".pt2"))
    captured = made_by[Format.CAPTURED]
    made_by[Format.CAPTURED] = dataclasses.replace(captured, path=captured.path.with_suffix(".pt2"))
    return made_by


@pytest.mark.parametrize("form", [Format.CHECKPOINT, Format.DEPLOYMENT])
def test_a_form_of_ours_knows_its_spec_and_is_traced_when_asked(files: dict[Format, Artifact], form: Format) -> None:
    network = open_network(files[form], paper=True)
    assert (network.outputs, network.image_size, network.channels) == (("stage0", "stage1"), (16, 8), 3)
    assert network.spec == SPEC and network.captured is None
    images = torch.randn(3, 3, 16, 8)
    with torch.inference_mode():
        wanted = network.module(images)
        got = program_module(network.program(4))(images)
    assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))


def test_a_captured_network_has_no_spec_and_is_its_own_graph(files: dict[Format, Artifact]) -> None:
    network = open_network(files[Format.CAPTURED])
    assert (network.outputs, network.image_size, network.channels) == (("fine", "coarse", "logits"), SIZE, 3)
    assert network.spec is None
    assert network.program(1) is network.program(99) is network.captured
    images = torch.randn(3, 3, *SIZE)
    with torch.inference_mode():
        got, wanted = network.module(images), made(pyramid)(images)
    assert all(torch.equal(one, wanted[name]) for one, name in zip(got, network.outputs, strict=True))


def test_the_paper_form_is_opened_only_by_who_asks_for_it(files: dict[Format, Artifact]) -> None:
    with pytest.raises(BadInput, match="no deployment form"):
        open_network(files[Format.CHECKPOINT])


def test_one_format_is_not_opened_as_another(files: dict[Format, Artifact]) -> None:
    for form in FORMATS:
        for other in set(FORMATS) - {form}:
            with pytest.raises(BadInput):
                open_network(dataclasses.replace(files[form], format=other), paper=True)


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    for form in FORMATS:
        with pytest.raises(BadInput, match="nowhere"):
            open_network(Artifact("a", tmp_path / "nowhere", form, Precision.FP32))
