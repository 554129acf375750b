"""Files that hold tensors, and all those that pretend to."""

from __future__ import annotations

import argparse
import collections
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from swin_deploy.checkpoint.pickled_names import foreign_names
from swin_deploy.checkpoint.tensors import read_tensors
from swin_deploy.errors import BadInput
from tests.checkpoint.timm_files import explained

WEIGHTS = {"layers.0.weight": torch.arange(6.0).reshape(2, 3), "layers.0.bias": torch.tensor([-1.5, 2.0])}


class Shell:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return got.keys() == wanted.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".ckpt", ".PTH"])
def test_each_pytorch_ending_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    torch.save(WEIGHTS, path)
    assert same(read_tensors(path), WEIGHTS)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        collections.OrderedDict(WEIGHTS),
        {"state_dict": WEIGHTS},
        {"model": WEIGHTS, "epoch": 3},
        {"state_dict": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, "optimizer": {"lr": 0.1}},
        {name: torch.nn.Parameter(tensor) for name, tensor in WEIGHTS.items()},
    ],
    ids=["bare", "ordered", "state_dict", "model", "module-prefix", "parameters"],
)
def test_every_way_of_wrapping_a_state_dict_gives_the_same_tensors(
    tmp_path: Path, content: dict[str, Any], zipped: bool
) -> None:
    path = tmp_path / "model.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    got = read_tensors(path)
    assert same(got, WEIGHTS)
    assert not any(tensor.requires_grad for tensor in got.values())


def test_safetensors_are_read_with_and_without_the_module_prefix(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "bare.safetensors")
    save_file({f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, tmp_path / "wrapped.safetensors")
    assert same(read_tensors(tmp_path / "bare.safetensors"), WEIGHTS)
    assert same(read_tensors(tmp_path / "wrapped.safetensors"), WEIGHTS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_weights_of_any_width_become_fp32_and_keep_their_value(tmp_path: Path, ending: str, dtype: torch.dtype) -> None:
    narrow = {name: (tensor / 3).to(dtype) for name, tensor in WEIGHTS.items()}
    path = tmp_path / f"model{ending}"
    save_file(narrow, path) if ending == ".safetensors" else torch.save(narrow, path)
    got = read_tensors(path)
    assert all(tensor.dtype == torch.float32 for tensor in got.values())
    assert same(got, {name: tensor.float() for name, tensor in narrow.items()})


def test_integers_stay_integers(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({**WEIGHTS, "relative_position_index": torch.arange(4)}, path)
    assert read_tensors(path)["relative_position_index"].dtype == torch.int64


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    proof = tmp_path / "ran"
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS, "extra": Shell(f"touch {proof}")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, str(path), "would run code", ".system")
    assert not proof.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_plain_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "ran"
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(Shell(f"touch {proof}"), protocol=protocol))
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "would run code", ".system")
    assert not proof.exists()
    # The control: the file does what it is feared for.
    pickle.loads(path.read_bytes())
    assert proof.exists()


def test_the_options_of_a_training_script_are_named_in_the_refusal(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "argparse.Namespace", "model.state_dict()")


def test_foreign_names_are_those_that_are_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(collections.OrderedDict(WEIGHTS), path)
    assert foreign_names(path) == []
    torch.save({"a": argparse.Namespace(), "b": Path("c"), "w": WEIGHTS["layers.0.bias"]}, path)
    assert "argparse.Namespace" in foreign_names(path)
    assert not any(name.startswith("torch") for name in foreign_names(path))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_pytorch_file_is_damaged_and_not_suspected_of_code(
    tmp_path: Path, zipped: bool, part: float
) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    assert "would run" not in explained(caught, str(path), "truncated")


@pytest.mark.parametrize("part", [0.0, 0.02, 0.1, 0.5, 0.999])
def test_a_truncated_safetensors_says_how_much_is_missing(tmp_path: Path, part: float) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    message = explained(caught, str(path))
    if part >= 0.1:
        assert f"truncated: {int(len(whole) * part)} bytes of {len(whole)}" in message


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_to_a_file_is_anything_but_unusable_input(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["zip", "legacy", "safetensors"]))
    path = tmp_path / ("model.safetensors" if kind == "safetensors" else "model.pth")
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=kind == "zip")
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Most damage to the end of the file only changes a weight: aim at the part that is parsed.
        damaged[data.draw(st.integers(0, min(len(damaged), 900) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))])
    try:
        tensors = read_tensors(path)
    except BadInput as error:
        assert error.exit_code == 5
        assert "\n" not in str(error)
    else:
        assert all(isinstance(tensor, Tensor) for tensor in tensors.values())


@pytest.mark.parametrize(
    "text", ["version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "<html>404</html>", "a", ""]
)
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_text_file_with_the_name_of_a_checkpoint_is_refused(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"model{ending}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, str(path), "not a safetensors file" if ending == ".safetensors" else "not a PyTorch file")


def test_a_safetensors_header_that_is_no_json_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 8) + b"{broken}" + bytes(16))
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "header cannot be read")


def test_a_pytorch_file_named_safetensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save(WEIGHTS, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "not a safetensors file")


def test_a_safetensors_file_named_pth_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    save_file(WEIGHTS, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "not a PyTorch file", "save it as .safetensors")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, ending: str, bad: float) -> None:
    state = {**WEIGHTS, "layers.0.bias": torch.tensor([1.0, bad])}
    path = tmp_path / f"model{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, str(path), "layers.0.bias", "NaN or Inf")


def test_a_double_beyond_fp32_is_not_finite_either(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="tensor w holds NaN or Inf"):
        read_tensors(tmp_path / "model.safetensors")


def test_a_folder_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    for path in (tmp_path, tmp_path / "folder.pth", Path(), Path("/")):
        with pytest.raises(BadInput) as caught:
            read_tensors(path)
        explained(caught, f"{path} is not a file")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_tensors(tmp_path / "absent.pth")
    explained(caught, "absent.pth does not exist")


@pytest.mark.parametrize("name", ["model.onnx", "model", "model.json"])
def test_an_unknown_ending_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        read_tensors(tmp_path / name)
    explained(caught, "ending", Path(name).suffix or "(none)")


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
        ({"epoch": 3, "net": WEIGHTS}, "epoch, net are no named tensor"),
        ({"epoch": 3}, "epoch is no named tensor"),
        ({0: torch.zeros(1)}, "0 is no named tensor"),
        ({"state_dict": {"model": WEIGHTS}}, "model is no named tensor"),
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
    ],
)
def test_a_pytorch_file_without_a_state_dict_says_what_it_holds(tmp_path: Path, content: Any, seen: str) -> None:
    path = tmp_path / "model.pth"
    torch.save(content, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, str(path), seen)


def test_an_empty_safetensors_holds_no_tensors(tmp_path: Path) -> None:
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="holds no tensors"):
        read_tensors(tmp_path / "model.safetensors")
