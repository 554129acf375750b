"""A checkpoint of a user's own network: its weights found under the network's names, its facts stated or asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from swin_deploy.checkpoint.own_model import open_own_model
from swin_deploy.checkpoint.task import Captured, Classifier
from swin_deploy.errors import BadInput
from tests import own_networks
from tests.own_networks import SIZE, Plain, made, plain, pyramid

PLAIN = "tests.own_networks:plain"


class Wrapped(nn.Module):
    """Every key begins with `model.`, which elsewhere is a wrapper's prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Plain()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.model(images)
        return found


@pytest.fixture(autouse=True)
def wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_networks, "wrapped", Wrapped, raising=False)


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "own.pth")
    return folder / "own.pth"


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@torch.no_grad()
def same(found: nn.Module, wanted: nn.Module) -> bool:
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    return torch.equal(found(images), wanted(images))


@pytest.mark.parametrize(
    ("model", "function", "prefix"),
    [
        ("plain", plain, ""),
        ("plain", plain, "module."),
        ("plain", plain, "module.model."),
        ("plain", plain, "ema_model.module."),
        ("wrapped", Wrapped, ""),
        ("wrapped", Wrapped, "module."),
        ("wrapped", Wrapped, "model."),
    ],
)
def test_weights_are_found_under_any_wrapper_and_the_networks_own_names_are_none(
    model: str, function, prefix: str, tmp_path: Path
) -> None:
    network = made(function)
    content = {"epoch": 3, "state_dict": prefixed(prefix, network.state_dict())}
    found = open_own_model(saved(tmp_path, content), f"tests.own_networks:{model}", image_size=SIZE)
    assert same(found.network, network)
    assert not same(found.network, function().eval())
    assert any(f"prefix `{prefix}` removed" in sentence for sentence in found.evidence) is bool(prefix)
    assert any("weights under `state_dict`" in sentence for sentence in found.evidence)


def test_what_a_training_wrapper_has_beside_the_network_is_left_out_and_named(tmp_path: Path) -> None:
    network = made(plain)
    state = {**prefixed("model.", network.state_dict()), "loss.weight": torch.ones(5)}
    found = open_own_model(saved(tmp_path, {"state_dict": state}), PLAIN, image_size=SIZE)
    assert same(found.network, network)
    assert "1 keys beside `model.` left out: loss.weight" in found.evidence
    # The control: without a prefix the same key is one too many.
    state = {**network.state_dict(), "loss.weight": torch.ones(5)}
    with pytest.raises(BadInput, match=r'Unexpected key\(s\) in state_dict: "loss\.weight"'):
        open_own_model(saved(tmp_path, {"state_dict": state}), PLAIN, image_size=SIZE)


def test_of_plain_and_averaged_weights_the_asked_for_are_taken(tmp_path: Path) -> None:
    network, averaged = made(plain), made(plain)
    with torch.no_grad():
        averaged.head.bias.add_(1)
    state = {**prefixed("model.", network.state_dict()), **prefixed("ema.", averaged.state_dict())}
    path = saved(tmp_path, {"state_dict": state})
    for ema, wanted in ((None, averaged), (True, averaged), (False, network)):
        assert same(open_own_model(path, PLAIN, image_size=SIZE, ema=ema).network, wanted)
    with pytest.raises(BadInput, match="holds no EMA weights"):
        open_own_model(saved(tmp_path, network.state_dict()), PLAIN, image_size=SIZE, ema=True)


def test_half_precision_weights_are_raised_and_the_network_computes_in_fp32(tmp_path: Path) -> None:
    network = made(plain).half()
    found = open_own_model(saved(tmp_path, network.state_dict()), PLAIN, image_size=SIZE)
    assert {parameter.dtype for parameter in found.network.parameters()} == {torch.float32}
    assert same(found.network, network.float())
    assert any("stored as float16, read as float32" in sentence for sentence in found.evidence)


def test_the_image_size_is_stated_beside_the_file_or_by_an_option_and_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(made(plain).state_dict(), path)
    with pytest.raises(BadInput, match=r"in no option, and nothing beside the checkpoint states it.*--image-size"):
        open_own_model(path, PLAIN)
    path.with_suffix(".json").write_text(json.dumps({"arguments": {"img_size": 24}}))
    assert open_own_model(path, PLAIN).image_size == (24, 24)
    assert open_own_model(path, PLAIN, image_size=(16, 32)).image_size == (16, 32)


def test_what_a_run_has_to_know_of_it(tmp_path: Path) -> None:
    found = open_own_model(saved(tmp_path, made(plain).state_dict()), PLAIN, image_size=SIZE)
    assert (found.task, found.outputs, found.output_bytes, found.channels) == (Classifier(5), ("logits",), 20, 3)
    assert found.evidence[-2:] == (f"network: --model {PLAIN}", "outputs: logits")
    found = open_own_model(saved(tmp_path, made(pyramid).state_dict()), "tests.own_networks:pyramid", image_size=SIZE)
    bytes_each = 4 * (4 * 64 + 6 * 16 + 5)
    assert found.task == Captured(("fine", "coarse", "logits"), bytes_each)
    assert (found.outputs, found.output_bytes) == (("fine", "coarse", "logits"), bytes_each)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, made(pyramid).state_dict())
    with pytest.raises(BadInput, match=r"weights do not fit --model .*Missing key\(s\).*Unexpected key\(s\)"):
        open_own_model(path, PLAIN, image_size=SIZE)
    with pytest.raises(BadInput, match=r"size mismatch for head\.weight"):
        open_own_model(saved(tmp_path, made(plain).state_dict()), "tests.own_networks:wider", image_size=SIZE)


def test_a_file_that_is_no_checkpoint_is_refused_as_ever(tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_text("a story")
    with pytest.raises(BadInput, match="not a PyTorch file"):
        open_own_model(tmp_path / "own.pth", PLAIN, image_size=SIZE)
    with pytest.raises(BadInput, match="does not exist"):
        open_own_model(tmp_path / "none.pth", PLAIN, image_size=SIZE)
