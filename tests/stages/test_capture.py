"""Capture: a user's own network with the checkpoint's weights becomes the oracle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.errors import BadInput
from swin_deploy.model.capture import open_program, program_module
from swin_deploy.stages.capture import Capture
from tests.own_networks import SIZE, made, plain, pyramid

PLAIN = "tests.own_networks:plain"


def source(folder: Path, network=plain) -> Artifact:
    path = folder / "own.safetensors"
    save_file(made(network).state_dict(), path)
    return Artifact("checkpoint", path, Format.SOURCE, Precision.FP32)


def test_the_oracle_has_the_checkpoints_weights_and_not_the_functions_own(tmp_path: Path) -> None:
    out = tmp_path / "out.pt2"
    produced = Capture(PLAIN, SIZE, 4).run(source(tmp_path), out)
    program, names = open_program(out)
    assert names == ("logits",)
    images = torch.randn(3, 3, *SIZE)
    with torch.inference_mode():
        got = program_module(program)(images)
        assert torch.equal(got, made(plain)(images))
        assert not torch.equal(got, plain().eval()(images))
    assert produced.facts["dialect"] == "own model"
    assert produced.facts["architecture"] == f"{PLAIN}, image 16x16"
    assert produced.facts["outputs"] == ["logits"]
    assert f"network: --model {PLAIN}" in produced.facts["evidence"]
    assert produced.facts["operators"] > 5
    assert json.loads(json.dumps(produced.facts)) == produced.facts


def test_several_outputs_keep_their_names(tmp_path: Path) -> None:
    stage = Capture("tests.own_networks:pyramid", SIZE, 4)
    produced = stage.run(source(tmp_path, pyramid), tmp_path / "out.pt2")
    assert produced.facts["outputs"] == ["fine", "coarse", "logits"]
    assert open_program(tmp_path / "out.pt2")[1] == ("fine", "coarse", "logits")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("tests.own_networks:no_such", "cannot be imported"),
        ("tests.own_networks:fails", "failed: KeyError"),
        ("tests.own_networks:wider", "do not fit"),
        ("tests.own_networks:pyramid", "do not fit"),
    ],
)
def test_what_cannot_be_captured_is_bad_input_and_leaves_nothing(model: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words):
        Capture(model, SIZE, 4).run(source(tmp_path), tmp_path / "out.pt2")
    assert not (tmp_path / "out.pt2").exists()


def test_a_change_of_the_users_code_makes_it_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_network_that_changes.py").write_text("import a_part_that_changes\n")
    (tmp_path / "a_part_that_changes.py").write_text("width = 16\n")
    stage = Capture("a_network_that_changes:make", SIZE, 4)
    first = stage.tools()
    assert {"torch", "model"} <= set(first)
    assert stage.tools() == first
    (tmp_path / "a_part_that_changes.py").write_text("width = 32\n")
    assert stage.tools()["model"] != first["model"]
    assert {**stage.tools(), "model": first["model"]} == first


def test_tools_of_a_module_that_is_not_there_are_unknown_and_no_error() -> None:
    assert Capture("no_such_module:make", SIZE, 4).tools()["model"] == "unknown"
