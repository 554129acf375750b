"""The forms of one network compute the same, each in its own way."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.forms import Forms, rehearsal_stand
from benchmarks.gpu.race import Contestant, Lane, compared, enter
from benchmarks.gpu.subject import subject
from swin_deploy.model.fusion_plan import FusionPlan


@pytest.fixture(scope="module")
def forms() -> Forms:
    return Forms(subject("small_v1"), rehearsal_stand(torch.float16))


def error(forms: Forms, contestant: Contestant) -> float:
    images = forms.images(2)
    lane = enter(contestant, images, forms.stand.timer)
    assert isinstance(lane, Lane), lane.missing
    (after,) = compared([lane], images, forms.oracle(), forms.stand.timer)
    assert after.row.relative_error is not None
    return after.row.relative_error


def test_every_form_is_the_same_network_up_to_half_precision(forms: Forms) -> None:
    for contestant in (
        forms.timm("timm", graph=False),
        forms.folded("folded"),
        forms.fused("fused", FusionPlan()),
        forms.fused("compiled", FusionPlan.nothing(), compiled=True),
    ):
        assert 1e-5 < error(forms, contestant) < 2e-3, contestant.name


def test_another_network_would_be_told(forms: Forms) -> None:
    other = Forms(subject("small_v2"), forms.stand)
    assert error(forms, other.timm("another")) > 0.1


def test_forms_leave_the_networks_as_they_are(forms: Forms) -> None:
    before = {name: tensor.dtype for name, tensor in forms.subject.timm.state_dict().items()}
    error(forms, forms.timm("timm", graph=False))
    assert {name: tensor.dtype for name, tensor in forms.subject.timm.state_dict().items()} == before


def test_tensorrt_says_why_it_is_not_there(forms: Forms) -> None:
    assert forms.tensorrt("TensorRT").missing


def test_timm_has_all_of_our_weights(forms: Forms) -> None:
    assert sum(tensor.numel() for tensor in forms.subject.timm.parameters()) == sum(
        tensor.numel() for tensor in forms.subject.paper.parameters()
    )
