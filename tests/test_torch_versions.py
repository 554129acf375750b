"""The version-dependent calls into PyTorch, on a network of one linear."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from swin_deploy.torch_versions import count_operators, export_onnx, export_program


class OneLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 4 * 4, 2)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 4, 4] to [B, 2]."""
        return self.linear(images.flatten(1))  # [B, 48]


class OneBatch(OneLinear):
    def forward(self, images: Tensor) -> Tensor:
        """A reshape with the batch baked in."""
        return self.linear(images.reshape(2, 48))  # [2, 48]


def test_this_torch_is_one_of_the_supported() -> None:
    assert tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 11)


@pytest.mark.parametrize("largest", [1, 2, 8])
def test_the_batch_axis_is_free(largest: int) -> None:
    program = export_program(OneLinear().eval(), (4, 4), largest, "cpu")
    for batch in (1, 2):
        assert program.module()(torch.zeros(batch, 3, 4, 4)).shape == (batch, 2)
    assert count_operators(program) == 2


def test_a_network_that_bakes_the_batch_in_is_not_traced() -> None:
    with pytest.raises(Exception, match=r"batch|[Cc]onstraint"):
        export_program(OneBatch().eval(), (4, 4), 8, "cpu")


def test_the_exporter_is_quiet_and_names_input_and_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export_onnx(export_program(OneLinear().eval(), (4, 4), 8, "cpu"), tmp_path / "one.onnx", 20)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    graph = onnx.load(tmp_path / "one.onnx").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["images", "logits"]
    assert [path.name for path in tmp_path.iterdir()] == ["one.onnx"]
