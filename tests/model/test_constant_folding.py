"""What depends on weights alone becomes a constant, bit for bit, and nothing else does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from swin_deploy.model import constant_folding
from swin_deploy.model.capture import capture, program_module
from swin_deploy.model.constant_folding import Folding, fold_constants, same_outputs
from swin_deploy.torch_versions import count_operators, export_program
from tests import own_networks
from tests.own_networks import SIZE, made

LARGEST = 8


class Scaled(nn.Module):
    """A head, and whatever `forward` makes of its logits and a table of weights."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.head, self.answer = nn.Linear(3, 4), answer
        self.register_buffer("table", torch.arange(4.0) - 1.5)

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(self.head(images.mean((2, 3))), self.table)


def program_of(answer: Callable[[Tensor, Tensor], Tensor]) -> ExportedProgram:
    return export_program(made(lambda: Scaled(answer)), (4, 4), LARGEST, "cpu")


def operators(program: ExportedProgram) -> Counter[str]:
    return Counter(str(node.target) for node in program.graph.nodes if node.op == "call_function")


def folded_of(answer: Callable[[Tensor, Tensor], Tensor]) -> tuple[Folding, Counter[str]]:
    """The folded program, after a look that it is the same function, call after call."""
    program = program_of(answer)
    folding = fold_constants(program, LARGEST)
    assert same_outputs(program, folding.program)
    one, other = program_module(program), program_module(folding.program)
    for batch in (1, 2, 7, 7):
        images = torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(batch))
        assert torch.equal(one(images), other(images))
    return folding, operators(folding.program)


@pytest.mark.parametrize(
    ("function", "gone", "constants"),
    [
        # V1 in timm: for each of two blocks the bias table is looked up and shaped, for one of them the mask too.
        (own_networks.timm_inside, {"aten.index.Tensor"}, 3),
        # V2 in torchvision: two of each block's bias, logit scale and qkv's bias, and the mask of the shifted one.
        (
            own_networks.torchvision_v2,
            {"aten.index.Tensor", "aten.sigmoid.default", "aten.exp.default", "aten.zero_.default", "aten.fill_.Tensor",
             "aten.new_zeros.default"},
            7,
        ),
        (own_networks.hugging_face, {"aten.index.Tensor"}, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_swins_of_other_code_bases_are_folded_to_the_bit(function, gone: set[str], constants: int | None) -> None:
    network = made(function)
    program = capture(network, SIZE, 3, LARGEST)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folding = fold_constants(program, LARGEST)
    assert same_outputs(program, folding.program)
    assert gone <= set(operators(program))
    assert not gone & set(operators(folding.program))
    assert folding.operators == count_operators(program) - count_operators(folding.program) > 0
    buffers = [name for name, _ in folding.program.named_buffers() if name.startswith("folded_constant_")]
    assert len(buffers) == folding.constants > 0
    assert constants in (None, folding.constants)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_counts_and_the_size_by_hand() -> None:
    # exp, mul and sum of the table are three operators and one number of 4 bytes; `mean`, `linear` and `mul` stay.
    folding, left = folded_of(lambda logits, table: logits * (table.exp() * table).sum())
    assert (folding.operators, folding.constants, folding.mib) == (3, 1, 4 / 2**20)
    assert left == Counter({"aten.mean.dim": 1, "aten.linear.default": 1, "aten.mul.Tensor": 1})
    # The control: where all of it needs the image, nothing is folded.
    folding, left = folded_of(lambda logits, table: (logits * table).exp().sum(1, keepdim=True))
    assert (folding.operators, folding.constants, folding.mib) == (0, 0, 0)
    assert left["aten.exp.default"] == 1


def test_what_is_made_of_plain_numbers_is_folded_too() -> None:
    folding, left = folded_of(lambda logits, table: logits + torch.arange(4.0).flip(0))
    assert folding.constants == 1
    assert not {"aten.arange.start_step", "aten.arange.default", "aten.flip.default"} & set(left)


def test_what_takes_no_more_than_its_type_from_the_image_is_folded_too() -> None:
    folding, left = folded_of(lambda logits, table: logits + logits.new_zeros(4).add(2) + logits.new_full((4,), 0.5))
    assert folding.constants == 2
    assert sorted(left) == ["aten.add.Tensor", "aten.linear.default", "aten.mean.dim"]
    # The control: with the batch among its sizes it is another at each batch.
    folding, left = folded_of(lambda logits, table: logits + logits.new_zeros(logits.shape[0], 4).add(2))
    assert folding.constants == 0
    assert left["aten.new_zeros.default"] == 1


def test_a_constant_that_two_read_stands_there_once() -> None:
    def twice(logits: Tensor, table: Tensor) -> Tensor:
        factor = table.exp()
        return logits * factor + (logits - factor)

    assert folded_of(twice)[0].constants == 1


def test_weights_that_folded_operators_alone_read_are_dropped_and_the_others_kept() -> None:
    names = set(folded_of(lambda logits, table: logits * table.exp())[0].program.state_dict)
    assert names == {"head.weight", "head.bias", "folded_constant_0"}
    names = set(folded_of(lambda logits, table: logits * table.exp() + table)[0].program.state_dict)
    assert names == {"head.weight", "head.bias", "table", "folded_constant_0"}


def test_constants_beyond_the_limit_stay_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(logits: Tensor, table: Tensor) -> Tensor:
        return logits + (table.exp()[:, None] * table[None, :]).expand(4, 4).sin()[0]

    assert folded_of(wide)[0].constants == 1
    monkeypatch.setattr(constant_folding, "_LARGEST_BYTES", 16)  # four numbers, of which sixteen are made
    folding, left = folded_of(wide)
    assert left["aten.sin.default"] == left["aten.mul.Tensor"] == 1
    assert left["aten.exp.default"] == 0
    assert folding.constants == 2  # the exponentials as a column, and the table as a row
    assert folding.mib == 2 * 16 / 2**20


def test_random_operators_are_not_folded() -> None:
    answers: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda logits, table: logits + torch.rand(4),
        lambda logits, table: logits + torch.randn(4),
        lambda logits, table: logits + torch.randperm(4),
        lambda logits, table: logits + torch.bernoulli(table.sigmoid()),
    ]
    for answer in answers:
        program = program_of(answer)
        run = program_module(fold_constants(program, LARGEST).program)
        images = torch.ones(2, 3, 4, 4)
        assert any(not torch.equal(run(images), run(images)) for _ in range(20))
    # The control: what is as constant as that would be, without the chance.
    program = program_of(lambda logits, table: logits + torch.ones(4))
    assert fold_constants(program, LARGEST).constants == 1


def test_dropout_of_weights_in_training_mode_is_not_folded() -> None:
    program = program_of(lambda logits, table: logits + nn.functional.dropout(table, 0.5, True))
    run = program_module(fold_constants(program, LARGEST).program)
    assert any(not torch.equal(run(torch.ones(2, 3, 4, 4)), run(torch.ones(2, 3, 4, 4))) for _ in range(20))


# In-place operators


def test_a_constant_that_is_written_between_two_readers_is_two_constants() -> None:
    def order(logits: Tensor, table: Tensor) -> Tensor:
        changing = table.clone()
        early = logits + changing
        changing.add_(1)
        return early * changing

    folding, _ = folded_of(order)
    assert not any("_.Tensor" in name or "copy_" in name for name in operators(folding.program))
    # The control: with one value for both it would be another function.
    wrong = program_of(lambda logits, table: (logits + table + 1) * (table + 1))
    assert not same_outputs(program_of(order), wrong)


def test_a_constant_that_the_image_is_written_into_is_the_same_at_every_call() -> None:
    def accumulates(logits: Tensor, table: Tensor) -> Tensor:
        total = torch.zeros(4)
        total.add_(logits.mean(0))
        total[1:3] += logits.amax(0)[1:3]
        return logits + total

    folded_of(accumulates)


def test_a_buffer_that_lives_from_call_to_call_is_no_constant() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            return images.mean((2, 3)) + self.calls.exp()

    program = export_program(Counting().eval(), (4, 4), LARGEST, "cpu")
    folding = fold_constants(program, LARGEST)
    assert folding.constants == 0
    run = program_module(folding.program)
    images = torch.zeros(2, 3, 4, 4)
    assert [round(float(run(images)[0, 0].log())) for _ in range(3)] == [1, 2, 3]


# The comparison


def test_a_spoiled_constant_is_noticed() -> None:
    program = program_of(lambda logits, table: logits * table.exp())
    folded = fold_constants(program, LARGEST).program
    assert same_outputs(program, folded)
    folded.state_dict["folded_constant_0"][0] *= 1 + 2**-20
    assert not same_outputs(program, folded)


def test_other_outputs_are_noticed() -> None:
    one = export_program(made(lambda: own_networks.Dense(lambda a, b, c: (a, b))), SIZE, 4, "cpu")
    other = export_program(made(lambda: own_networks.Dense(lambda a, b, c: (a, b + 1))), SIZE, 4, "cpu")
    assert same_outputs(one, one)
    assert not same_outputs(one, other)
