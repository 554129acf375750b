"""The version-dependent calls into PyTorch, on a network of one linear."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from swin_deploy.torch_versions import (
    compile_package,
    count_operators,
    export_onnx,
    export_program,
    load_package,
    shaped_as_outputs,
)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 4 * 4, 2)


class OneLinear(Linear):
    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, 4, 4] to [B, 2]."""
        return self.linear(images.flatten(1))  # [B, 48]


class TwoOutputs(Linear):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, 4, 4] to [B, 2] and [B, 1, 4]."""
        return self.linear(images.flatten(1).repeat(1, 3)), images.mean(dim=2)


class Named(Linear):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[B, 3, 4, 4] to two tensors by name."""
        found = self.linear(images.flatten(1))
        return {"first": found, "second": found.relu()}


class OneBatch(Linear):
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
    export_onnx(export_program(OneLinear().eval(), (4, 4), 8, "cpu"), tmp_path / "one.onnx", 20, ("logits",))
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    graph = onnx.load(tmp_path / "one.onnx").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["images", "logits"]
    assert [path.name for path in tmp_path.iterdir()] == ["one.onnx"]


def test_several_outputs_are_named_in_their_order_and_other_channels_are_taken(tmp_path: Path) -> None:
    program = export_program(TwoOutputs().eval(), (4, 4), 8, "cpu", channels=1)
    export_onnx(program, tmp_path / "two.onnx", 20, ("stage0", "stage1"))
    graph = onnx.load(tmp_path / "two.onnx").graph
    assert [value.name for value in graph.output] == ["stage0", "stage1"]
    assert [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim][1:] == [1, 4, 4]
    assert [len(value.type.tensor_type.shape.dim) for value in graph.output] == [2, 3]


def test_names_take_the_form_in_which_the_tensors_are_returned() -> None:
    for model, channels, names, shaped in (
        (OneLinear(), 3, ("logits",), "logits"),
        (TwoOutputs(), 1, ("a", "b"), ("a", "b")),
        (Named(), 3, ("a", "b"), {"first": "a", "second": "b"}),
    ):
        assert shaped_as_outputs(export_program(model.eval(), (4, 4), 8, "cpu", channels), names) == shaped


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore:.*")
def test_a_package_knows_the_names_of_its_outputs_and_a_foreign_one_does_not(tmp_path: Path) -> None:
    import torch._inductor

    program = export_program(TwoOutputs().eval(), (4, 4), 8, "cpu", channels=1)
    compile_package(program, tmp_path / "two.pt2", ("stage0", "stage1"))
    function, names = load_package(tmp_path / "two.pt2")
    assert names == ("stage0", "stage1")
    assert [tuple(found.shape) for found in function(torch.zeros(3, 1, 4, 4))] == [(3, 2), (3, 1, 4)]
    torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "foreign.pt2"))
    assert load_package(tmp_path / "foreign.pt2")[1] is None
