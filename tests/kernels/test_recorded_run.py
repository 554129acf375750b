"""Recording a network: all that it launches, without memory, and nothing that PyTorch computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.errors import BadInput
from swin_deploy.kernels.recorded_run import RecordedRun, record, storage
from tests.kernels.two_norms import TwoNorms


def test_launches_come_in_their_order_with_what_they_share() -> None:
    run = RecordedRun()
    found = record(TwoNorms(run), run, (2, 1, 4, 24))
    first, second = found.launches
    assert [launch.constants["EPS"] for launch in found.launches] == [1e-5, 1e-6]
    assert first.arguments["x"] is None and first.arguments["rows"] == 8
    assert storage(first.arguments["y"]) == storage(found.images)
    assert storage(second.arguments["x"]) == storage(second.arguments["y"]) == storage(first.arguments["out"])
    assert not first.arguments["weight"].is_meta, "weights keep their values"


def test_the_output_is_what_the_last_launch_wrote_before_its_type_was_changed() -> None:
    run = RecordedRun()
    found = record(TwoNorms(run), run, (2, 1, 4, 24))
    assert storage(found.output) == storage(found.launches[-1].arguments["out"])
    assert found.output.dtype == torch.float32 and found.output.shape == (2, 1, 4, 24)


def test_the_largest_batch_takes_no_memory() -> None:
    run = RecordedRun()
    found = record(TwoNorms(run), run, (4096, 3, 1024, 1024, 24))  # more than a TB a tensor
    assert found.launches[0].arguments["rows"] == 4096 * 3 * 1024 * 1024


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (lambda x: x + 1, "aten.add"),
        (lambda x: x.t().contiguous().t(), "aten.clone"),
        (lambda x: x.zero_(), "aten.zero_"),
        (lambda x: x[torch.tensor([1, 0])], "aten.index"),
    ],
)
def test_what_pytorch_computes_between_is_refused(more, named: str) -> None:
    run = RecordedRun()
    with pytest.raises(BadInput, match=named):
        record(TwoNorms(run, more), run, (2, 1, 4, 24))


def test_what_pytorch_makes_of_weights_alone_is_a_weight() -> None:
    run = RecordedRun()
    network = TwoNorms(run)
    network.more = lambda x: (network.weight + 1).expand(8, 24).contiguous()
    assert not record(network, run, (2, 1, 4, 24)).launches[1].arguments["x"].is_meta


def test_several_outputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    with pytest.raises(BadInput, match="2 outputs"):
        record(Two(), RecordedRun(), (1, 1, 1, 24))
