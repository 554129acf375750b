"""The probe of magnitudes, with planted faults."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_swin import random_reference, small_spec
from torch import nn

from calib.synthetic import structured_images
from swin_deploy.doctor.fp16_range import range_lines
from swin_deploy.doctor.line import Line, Verdict
from swin_deploy.model.activation_range import Peak, largest_activations, largest_weights
from swin_deploy.model.fold import fold

IMAGES = [structured_images(2, 28, 28, 0).transpose(0, 3, 1, 2).astype(np.float32) / 255]


def lines(network: nn.Module) -> dict[str, Line]:
    found = range_lines(largest_activations(network, IMAGES), largest_weights(network), "2 made-up images")
    return {line.check: line for line in found}


def test_a_small_network_fits() -> None:
    found = lines(fold(random_reference(small_spec("v1"))))
    assert {line.verdict for line in found.values()} == {Verdict.OK}
    for kind in ("linear", "norm", "sum", "score", "convolution"):
        assert f"{kind} " in found["magnitudes"].seen, "every kind was looked at"


@pytest.mark.parametrize("family", ["v1", "v2"])
def test_a_residual_beyond_65504_is_found_and_its_layer_named(family: str) -> None:
    network = fold(random_reference(small_spec(family)))
    with torch.no_grad():
        if family == "v1":
            network.blocks[2].mlp[2].bias += 70_000.0  # of the third of four blocks
        else:
            network.blocks[2].norm2.bias += 70_000.0
    line = lines(network)["FP16 range"]
    assert line.verdict is Verdict.FAIL
    assert "blocks.2" in line.seen and "--bf16" in line.do


def test_a_score_beyond_65504_is_found_although_no_layer_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fold(random_reference(small_spec("v1")))
    with torch.no_grad():
        network.blocks[1].attn.constant.mul_(0).add_(80_000.0)
    found = lines(network)
    assert found["FP16 range"].verdict is Verdict.FAIL and "blocks.1.attn (score)" in found["FP16 range"].seen
    assert found["FP16 weights"].verdict is Verdict.FAIL and "blocks.1.attn.constant" in found["FP16 weights"].seen


def test_a_number_that_is_none_is_found_too() -> None:
    network = fold(random_reference(small_spec("v1")))
    with torch.no_grad():
        network.blocks[0].mlp[0].bias[3] = float("nan")
    line = lines(network)["FP16 range"]
    assert line.verdict is Verdict.FAIL and "infinity or NaN in blocks.0.mlp.0 (linear)" in line.seen


def test_little_room_is_a_warning() -> None:
    first, second, third = range_lines([Peak("blocks.3", "sum", 60_000.0)], [Peak("head", "weight", 1.0)], "images")
    assert first.verdict is Verdict.WARN and "1.1 times" in first.seen
    assert (second.verdict, third.verdict) == (Verdict.OK, Verdict.OK)


def test_the_bound_itself_still_fits() -> None:
    assert Peak("a", "sum", 65504.0).fits_fp16 and not Peak("a", "sum", 65505.0).fits_fp16
    assert torch.tensor(65504.0).half().isfinite() and not torch.tensor(65520.0).half().isfinite()


class Known(nn.Module):
    """What its parts give can be worked out in the head."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(2, 2, bias=False)
        self.tail = nn.Identity()
        with torch.no_grad():
            self.twice.weight.copy_(2 * torch.eye(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.twice(x.flatten(1))
        return self.tail(y + x.flatten(1) * 3)


def test_peaks_are_those_worked_out_by_hand_and_belong_to_the_layer_at_work() -> None:
    batches = [np.array([[[[1.0, -4.0]]]], np.float32), np.array([[[[2.0, 3.0]]]], np.float32)]
    peaks = {(peak.layer, peak.kind): peak.largest for peak in largest_activations(Known(), batches)}
    assert peaks == {("twice", "linear"): 8.0, ("", "other"): 12.0, ("", "sum"): 20.0}


def test_the_hooks_are_gone_afterwards() -> None:
    network = Known()
    largest_activations(network, [np.ones((1, 1, 1, 2), np.float32)])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
