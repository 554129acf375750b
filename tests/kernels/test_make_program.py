"""A program's files say all that a device needs, and nothing in them overlaps or is there twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.artifact import Precision
from swin_deploy.device.kernel_program import ALIGNMENT, Argument, KernelProgram, checked_content, read_program
from swin_deploy.errors import BadInput
from swin_deploy.kernels.add_norm import add_norm
from swin_deploy.kernels.ahead_of_time import Compiled, KernelSource, compile_kernels
from swin_deploy.kernels.make_program import ProgramRequest, make_program
from swin_deploy.kernels.recorded_run import RecordedRun
from tests.kernels.imitation_cubin import imitated, source_of
from tests.kernels.two_norms import TwoNorms

REQUEST = ProgramRequest((1, 4, 24), "logits", (1, 3), ("8.7", "12.0"))


class Chain(nn.Module):
    """Norms one behind another: each result is needed once."""

    def __init__(self, run: RecordedRun, length: int) -> None:
        super().__init__()
        self.run, self.length = run, length
        self.weights = nn.ParameterList(torch.rand(24) for _ in range(length))

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for weight in self.weights:
            x = add_norm(self.run, None, x, weight, self.weights[0], eps=1e-5)
        return x


def made(folder: Path, network: type[nn.Module] = TwoNorms, *given: object) -> KernelProgram:
    run = RecordedRun()
    return make_program(network(run, *given), run, REQUEST, folder, imitated).program


def test_the_file_says_what_was_made(tmp_path: Path) -> None:
    program = made(tmp_path)
    assert read_program(tmp_path) == program
    assert (program.precision, program.image, program.output.name) == (Precision.FP32, (1, 4, 24), "logits")
    assert (program.output.shape, program.output.type) == ((1, 4, 24), "fp32")
    assert program.batches == (1, 3) and program.capabilities == ("8.7", "12.0")


def test_both_batches_share_kernels_and_weights(tmp_path: Path) -> None:
    program = made(tmp_path)
    assert len(program.kernels) == 2, "one with a residual and one without"
    assert program.weights.bytes == ALIGNMENT + 24 * 4, "scale and shift, each on a boundary"
    first, second = (program.programs[batch].launches for batch in (1, 3))
    assert [launch.kernel for launch in first] == [launch.kernel for launch in second]
    assert (first[0].arguments[-1], second[0].arguments[-1]) == (Argument("i32", 4), Argument("i32", 12))


def test_arguments_are_in_the_kernels_own_order_and_tell_where_tensors_live(tmp_path: Path) -> None:
    first, second = made(tmp_path).programs[3].launches
    weight, bias, between = Argument("weights", 0), Argument("weights", ALIGNMENT), Argument("arena", 0)
    assert first.arguments == (Argument("images"), weight, bias, between, Argument("i32", 12))
    assert second.arguments == (between, between, weight, bias, Argument("output"), Argument("i32", 12))


def test_a_long_chain_needs_memory_for_two_tensors(tmp_path: Path) -> None:
    program = made(tmp_path, Chain, 9)
    tensor = -(-3 * 4 * 24 * 4 // ALIGNMENT) * ALIGNMENT
    assert program.programs[3].arena_bytes == 2 * tensor
    for launch in program.programs[3].launches:
        x, out = launch.arguments[0], launch.arguments[-2]
        assert x != out, "no launch writes over what it reads"


def test_weights_stand_where_launches_look_for_them(tmp_path: Path) -> None:
    run = RecordedRun()
    network = Chain(run, 5)
    program = make_program(network, run, REQUEST, tmp_path, imitated).program
    content = checked_content(tmp_path, program.weights)
    for launch, weight in zip(program.programs[1].launches, network.weights, strict=True):
        place = launch.arguments[1].value
        assert content[place : place + 96] == weight.detach().numpy().tobytes()


def test_the_same_content_is_stored_once(tmp_path: Path) -> None:
    run = RecordedRun()
    network = Chain(run, 5)
    for weight in network.weights:
        weight.data = torch.ones(24)
    assert make_program(network, run, REQUEST, tmp_path, imitated).program.weights.bytes == 96


def test_the_same_network_gives_the_same_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = RecordedRun()
    network = TwoNorms(run)
    for name in ("a", "b"):
        make_program(network, run, REQUEST, tmp_path / name, imitated)
    one, two = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b"))
    assert [path.name for path in one] == [path.name for path in two]
    assert all(left.read_bytes() == right.read_bytes() for left, right in zip(one, two, strict=True))


def test_kernels_are_files_by_architecture(tmp_path: Path) -> None:
    program = made(tmp_path)
    for (name, kernel), (architecture, folder) in itertools.product(
        program.kernels.items(), (("8.7", "sm_87"), ("12.0", "sm_120"))
    ):
        module = kernel.modules[architecture]
        assert module.file == f"{folder}/{name}.cubin"
        assert source_of(checked_content(tmp_path, module)).id == name
        assert (module.scratch_parameters, kernel.entry) == (2, "add_norm_kernel")


def test_real_cubins_take_their_place(tmp_path: Path) -> None:
    run = RecordedRun()
    program = make_program(TwoNorms(run), run, REQUEST, tmp_path, compile_kernels).program
    for kernel in program.kernels.values():
        assert set(kernel.modules) == {"8.7", "12.0"}
        assert kernel.parameters[-2:] == ("pointer", "i32") and kernel.warps == 4
        assert all(checked_content(tmp_path, module)[:4] == b"\x7fELF" for module in kernel.modules.values())


def test_an_architecture_that_lacks_a_kernel_is_left_out_and_says_why(tmp_path: Path) -> None:
    def without(sources: Iterable[KernelSource], architectures: Sequence[str]) -> Compiled:
        done = imitated(sources, architectures)
        lost = next(key for key in done.cubins if key[1] == "12.0")
        return replace(
            done,
            cubins={key: cubin for key, cubin in done.cubins.items() if key != lost},
            refused={lost: "it is too new"},
        )

    run = RecordedRun()
    done = make_program(TwoNorms(run), run, REQUEST, tmp_path, without)
    assert done.program.capabilities == ("8.7",)
    assert list(done.left_out) == ["12.0"] and "it is too new" in done.left_out["12.0"]
    assert not (tmp_path / "sm_120").exists()


def test_a_program_for_no_architecture_is_refused(tmp_path: Path) -> None:
    def nothing(sources: Iterable[KernelSource], architectures: Sequence[str]) -> Compiled:
        return Compiled({}, {(source.id, name): "no such GPU" for source in sources for name in architectures})

    run = RecordedRun()
    with pytest.raises(BadInput, match="no such GPU"):
        make_program(TwoNorms(run), run, REQUEST, tmp_path, nothing)
    assert not list(tmp_path.iterdir())


def test_a_launch_on_what_pytorch_cast_is_no_program(tmp_path: Path) -> None:
    run = RecordedRun()
    with pytest.raises(BadInput, match="PyTorch changes the type"):
        make_program(TwoNorms(run, lambda x: x.half()), run, REQUEST, tmp_path, imitated)
