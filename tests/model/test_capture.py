"""A user's own network as a program: the same numbers at every batch, outputs by name, and what cannot be captured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from swin_deploy.checkpoint.task import Captured, Classifier
from swin_deploy.errors import BadInput
from swin_deploy.model.capture import (
    NamedOutputs,
    capture,
    give_weights,
    import_model,
    open_program,
    probe,
    program_module,
    save_program,
)
from tests import own_networks
from tests.own_networks import SIZE, SPOILED, Counting, Dense, Fields, Plain, Result, made, spoiled


def told(error: BadInput) -> str:
    """The message, after a look at its form."""
    text = str(error)
    assert "Traceback" not in text and "\n" not in text
    assert error.exit_code == 5
    return text


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, *SIZE, generator=torch.Generator().manual_seed(batch))


def tensors(result: object) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


# What is captured


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (own_networks.plain, ("logits",)),
        (own_networks.timm_inside, ("logits",)),
        (own_networks.torchvision_v2, ("logits",)),
        (own_networks.hugging_face, ("last_hidden_state", "pooler_output")),
        (own_networks.hugging_face_backbone, ("feature_maps0", "feature_maps1")),
        (own_networks.pyramid, ("fine", "coarse", "logits")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@torch.no_grad()
def test_the_program_answers_as_the_network_at_every_batch(function, names, tmp_path: Path) -> None:
    network = made(function)
    assert probe(network, SIZE, 3).output_names == names
    save_program(capture(network, SIZE, 3, 8), names, tmp_path / "program.pt2")
    program, read = open_program(tmp_path / "program.pt2")
    assert read == names
    run, wanted = program_module(program), NamedOutputs(network, names)
    for batch in (1, 2, 7):
        got, expected = tensors(run(images(batch))), tensors(wanted(images(batch)))
        assert len(got) == len(expected) == len(names)
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))
        assert all(len(one) == batch for one in got)
    # The control: other weights give other answers.
    for parameter in network.parameters():
        parameter.mul_(1.5)
    assert not torch.equal(got[0], tensors(wanted(images(7)))[0])


def test_a_network_in_training_mode_is_captured_in_evaluation_mode() -> None:
    network = made(Plain).train()
    assert not torch.equal(network(images(2)), network(images(2))), "dropout should be at work here"
    network = give_weights(network, "here:plain", network.state_dict())
    assert not network.training
    run = program_module(capture(network, SIZE, 3, 4))
    assert torch.equal(run(images(2)), network(images(2)))
    assert torch.equal(run(images(2)), run(images(2)))


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        (lambda fine, coarse, logits: (fine, coarse), ("output0", "output1")),
        (lambda fine, coarse, logits: [fine, None, coarse], ("output0", "output2")),
        (lambda fine, coarse, logits: {"maps": [fine, coarse], "top": {"logits": logits}},
         ("maps0", "maps1", "top.logits")),
        (lambda fine, coarse, logits: Fields(fine, coarse), ("fine", "coarse")),
        (lambda fine, coarse, logits: Result(fine, None, logits), ("fine", "logits")),
        (lambda fine, coarse, logits: coarse, ("output0",)),
    ],
    ids=["tuple", "list with a gap", "nested", "named tuple", "dataclass", "one map"],
)  # fmt: skip
def test_outputs_are_named_by_what_leads_to_them(shape, names: tuple[str, ...]) -> None:
    found = probe(made(lambda: Dense(shape)), SIZE, 3)
    assert found.output_names == names
    assert isinstance(found, Captured)


def test_one_row_of_numbers_an_image_is_a_classifier_and_all_else_is_counted_in_bytes() -> None:
    assert probe(made(Plain), SIZE, 3) == Classifier(5)
    # 4 maps of 8x8, 6 of 4x4 and 5 logits, in FP32.
    assert probe(made(own_networks.pyramid), SIZE, 3).bytes_each == 4 * (4 * 64 + 6 * 16 + 5)


def test_the_largest_batch_is_the_programs_bound() -> None:
    run = program_module(capture(made(Plain), SIZE, 3, 4))
    assert run(images(4)).shape == (4, 5)
    with pytest.raises(AssertionError, match="4"):
        run(images(5))


# What cannot be captured


@pytest.mark.parametrize("name", SPOILED)
def test_what_cannot_be_captured_is_told_in_a_sentence(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match=SPOILED[name][1]) as caught:
        capture(spoiled(name), SIZE, 3, 8)
    assert len(told(caught.value)) < 500
    assert capfd.readouterr() == ("", ""), "torch prints whole graphs here if it is let"


def test_a_network_that_counts_its_calls_is_refused() -> None:
    with pytest.raises(BadInput, match="no memory of earlier images") as caught:
        capture(made(Counting), SIZE, 3, 8)
    told(caught.value)


def test_a_size_that_the_network_does_not_take_is_named() -> None:
    with pytest.raises(BadInput, match=r"fails on 2 images of 3x2x2: RuntimeError: .*--image-size") as caught:
        probe(made(Plain), (2, 2), 3)
    told(caught.value)
    with pytest.raises(BadInput, match="fails on 2 images of 1x16x16"):
        probe(made(Plain), SIZE, 1)


# Import


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tests.own_networks", "Needed: package.module:function"),
        (":plain", "Needed: package.module:function"),
        ("tests.own_networks:", "Needed: package.module:function"),
        ("no_such_module:plain", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("tests.no_such_module:plain", "No module named 'tests.no_such_module'"),
        ("tests.own_networks:plane", "has no attribute 'plane'"),
        ("tests.own_networks:fails", "failed: KeyError: 'no such file"),
        ("tests.own_networks:leaves", "failed: SystemExit: 2"),
        ("tests.own_networks:not_a_function", "failed: TypeError: 'int' object is not callable"),
        ("tests.own_networks:Dense", "failed: TypeError: .*missing 1 required"),
        ("tests.own_networks:nothing", "returned a NoneType"),
    ],
)
def test_a_model_that_cannot_be_made_is_told_in_a_sentence(name: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        import_model(name)
    assert f"--model {name}" in told(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [("import sys\nsys.exit(2)\n", "SystemExit: 2"), ("def f(:\n", "SyntaxError"), ("1 / 0\n", "ZeroDivisionError")],
)
def test_a_module_that_does_not_run_is_told_in_a_sentence(
    content: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_network_code.py").write_text(content)
    with pytest.raises(BadInput, match=f"cannot be imported: {words}") as caught:
        import_model("broken_network_code:make")
    told(caught.value)
    assert "broken_network_code" not in sys.modules


def test_a_function_that_works_is_called_and_its_network_taken() -> None:
    assert isinstance(import_model("tests.own_networks:plain"), Plain)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("head.bias"), r'Missing key\(s\) in state_dict: "head\.bias"\. Needed'),
        (lambda state: state.update(extra=torch.zeros(1)), r'Unexpected key\(s\) in state_dict: "extra"\. Needed'),
        (lambda state: state.update({"head.bias": torch.zeros(7)}), r"size mismatch for head\.bias"),
        (lambda state: state.clear(), r'"embed\.weight", "embed\.bias", "norm\.weight" and 7 more\. Needed'),
    ],
    ids=["missing", "extra", "shape", "none"],
)
def test_weights_that_do_not_fit_are_named(change, words: str) -> None:
    network: nn.Module = Plain()
    state = dict(network.state_dict())
    give_weights(network, "here:plain", state)  # the control: unspoiled, they fit
    change(state)
    with pytest.raises(BadInput, match=words) as caught:
        give_weights(network, "here:plain", state)
    assert "do not fit --model here:plain" in told(caught.value)


@pytest.mark.parametrize("damage", ["cut", "text", "missing", "another program"])
@pytest.mark.filterwarnings("ignore:.*")
def test_a_file_that_is_no_captured_network_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "program.pt2"
    program = capture(made(Plain), SIZE, 3, 4)
    save_program(program, ("logits",), path)
    if damage == "missing":
        path.unlink()
    elif damage == "another program":
        torch.export.save(program, path)  # without the names
    else:
        path.write_bytes(path.read_bytes()[:-400] if damage == "cut" else b"hello " * 99)
    with pytest.raises(BadInput, match=r"program\.pt2 cannot be read as a captured network") as caught:
        open_program(path)
    told(caught.value)
