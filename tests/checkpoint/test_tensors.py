"""Files that hold tensors, and all those that pretend to."""

from __future__ import annotations

import argparse
import collections
import json
import os
import pickle
import struct
import sys
import tarfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from swin_deploy.checkpoint.pickled_names import foreign_names
from swin_deploy.checkpoint.tensors import FileContents, read_checkpoint_file
from swin_deploy.errors import BadInput
from tests.checkpoint.timm_files import explained

WEIGHTS = {"layers.0.weight": torch.arange(6.0).reshape(2, 3), "layers.0.bias": torch.tensor([-1.5, 2.0])}


class Shell:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Looked:
    """Pickled as an attribute looked up."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __call__(self) -> None:
        """Pickle wants a callable to call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.owner, self.name)


class Called:
    """Pickled as a call without arguments."""

    def __init__(self, function: Looked) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, ()


class Built:
    """Pickled as an object of `kind` that gets `state`."""

    def __init__(self, kind: type, state: Any) -> None:
        self.kind, self.state = kind, state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.kind, (), self.state


class Filled:
    """Pickled as a defaultdict with `items` that gets `state`."""

    def __init__(self, items: dict[str, Tensor], state: Any) -> None:
        self.items, self.state = items, state

    def __reduce__(self) -> tuple[Any, ...]:
        return collections.defaultdict, (), self.state, None, iter(self.items.items())


PATH_MODULE = type(Path()).__module__


def read_tensors(path: Path) -> dict[str, Tensor]:
    return read_checkpoint_file(path).tensors


def made(monkeypatch: pytest.MonkeyPatch, name: str) -> type:
    """A class where pickle looks for `name`, a dict with attributes or an object: the packages are not needed here."""
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        parent = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    bases = (dict,) if attribute in {"CfgNode", "ConfigDict", "AttributeDict"} else (object,)
    kind = type(attribute, bases, {"__module__": module})
    setattr(sys.modules[module], attribute, kind)
    return kind


def same(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return got.keys() == wanted.keys() and all(torch.equal(got[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".ckpt", ".PTH", ".pth.tar", ".tar"])
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_another_width_is_evidence_and_fp32_is_none(tmp_path: Path, ending: str, dtype: torch.dtype) -> None:
    path = tmp_path / f"model{ending}"
    width = str(dtype).removeprefix("torch.")
    index = {"relative_position_index": torch.arange(4)}

    def stored(state: dict[str, Tensor]) -> FileContents:
        save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
        return read_checkpoint_file(path)

    narrow = {name: tensor.to(dtype) for name, tensor in WEIGHTS.items()}
    assert stored({**narrow, **index}).evidence[-1] == f"weights stored as {width}, read as float32"
    mixed = sorted([f"{width} (2)", "float32 (1)"])
    evidence = stored({**narrow, "norm.weight": torch.ones(1)}).evidence
    assert evidence[-1] == f"weights stored as {' and '.join(mixed)}, read as float32"
    assert not any("stored as" in sentence for sentence in stored({**WEIGHTS, **index}).evidence)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_evidence_comes_with_the_tensors_and_both_kinds_of_weights_can_be_asked_for(
    tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"model{ending}"
    wrapped = {f"_orig_mod.module.{name}": tensor for name, tensor in WEIGHTS.items()}
    if ending == ".safetensors":
        save_file(wrapped, path)
    else:
        torch.save({"params": wrapped, "params_ema": {name: tensor * 2 for name, tensor in wrapped.items()}}, path)
    contents = read_checkpoint_file(path, ema=False)
    assert same(contents.tensors, WEIGHTS)
    assert "prefix `_orig_mod.module.` removed from all 2 keys" in contents.evidence
    if ending == ".safetensors":
        with pytest.raises(BadInput) as caught:
            read_checkpoint_file(path, ema=True)
        explained(caught, str(path), "no EMA weights")
    else:
        doubled = {name: tensor * 2 for name, tensor in WEIGHTS.items()}
        assert same(read_checkpoint_file(path, ema=True).tensors, doubled)
        assert same(read_tensors(path), doubled)


def test_weights_that_are_not_taken_may_be_anything(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    bad = {**WEIGHTS, "layers.0.bias": torch.tensor([1.0, float("nan")])}
    torch.save({"model": bad, "model_ema": WEIGHTS}, path)
    assert same(read_tensors(path), WEIGHTS)
    with pytest.raises(BadInput, match="NaN or Inf"):
        read_checkpoint_file(path, ema=False)


@pytest.mark.parametrize(
    "packed",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.5, 0, torch.qint8),
        lambda: torch.zeros(2, device="meta"),
    ],
    ids=["sparse", "quantized", "meta"],
)
@pytest.mark.filterwarnings("ignore:.*quantize")  # torch is about to give these up, files that hold them stay
def test_a_tensor_that_is_not_plain_is_named(tmp_path: Path, packed: Callable[[], Tensor]) -> None:
    path = tmp_path / "model.pth"
    torch.save({**WEIGHTS, "packed": packed()}, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "tensor packed is sparse, quantized or without data")


@pytest.mark.parametrize("packed", ["", "gz", "xz"])
@pytest.mark.parametrize("ending", [".pth.tar", ".tar", ".pth"])
def test_a_real_tar_archive_is_told_from_a_pickle_of_that_ending(tmp_path: Path, ending: str, packed: str) -> None:
    inner, path = tmp_path / "inner.pth", tmp_path / f"model_best{ending}"
    torch.save(WEIGHTS, inner)
    with tarfile.open(path, f"w:{packed}") as archive:
        archive.add(inner, "run/inner.pth")
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, str(path), "is a tar archive that begins with 'run/inner.pth'", "Unpack")
    # The control: the same ending, and a file of torch.save of either age.
    for zipped in (True, False):
        torch.save({"state_dict": WEIGHTS}, path, _use_new_zipfile_serialization=zipped)
        assert same(read_tensors(path), WEIGHTS)


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


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
@pytest.mark.parametrize(
    ("beside", "names"),
    [
        (argparse.Namespace(lr=0.1, output=Path("a/b")), ["argparse.Namespace", f"{PATH_MODULE}.PosixPath"]),
        (np.float64(81.2), ["multiarray.scalar", "numpy.dtype"]),
        ({"history": np.arange(3), "seed": np.random.RandomState(0).get_state()}, ["multiarray._reconstruct"]),
        (collections.deque([1, 2], maxlen=3), []),
        (collections.defaultdict(list, {1: [2]}), ["builtins.list"]),
    ],
    ids=["namespace", "scalar", "array", "deque", "defaultdict"],
)
def test_options_and_counters_beside_the_weights_are_neither_rebuilt_nor_in_the_way(
    tmp_path: Path, beside: Any, names: list[str], zipped: bool
) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS, "extra": beside}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):  # the control: torch alone refuses the file
        torch.load(path, weights_only=True)
    contents = read_checkpoint_file(path)
    assert same(contents.tensors, WEIGHTS)
    assert all(name in contents.evidence[-1] for name in names)
    assert ("neither rebuilt nor read" in contents.evidence[-1]) == bool(names)


@pytest.mark.parametrize(
    "name",
    [
        "yacs.config.CfgNode", "mmengine.config.config.ConfigDict", "lightning.pytorch.utilities.parsing.AttributeDict",
        "mmengine.logging.history_buffer.HistoryBuffer", "omegaconf.dictconfig.DictConfig",
    ],
)  # fmt: skip
def test_the_configs_of_other_code_bases_need_not_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "model.pth"
    kind = made(monkeypatch, name)
    config = kind()
    config.lr = 0.1
    if isinstance(config, dict):
        config.update(MODEL=kind(), lr=0.1)
    torch.save({"model": WEIGHTS, "config": config}, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    contents = read_checkpoint_file(path)
    assert same(contents.tensors, WEIGHTS)
    assert name in contents.evidence[-1]
    # The control: a class that is not on the list, of the same make.
    other = "project.config.CfgNode"
    torch.save({"model": WEIGHTS, "config": made(monkeypatch, other)()}, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, other, "would run code")


def test_a_stand_in_among_the_weights_is_no_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {**WEIGHTS, "args": argparse.Namespace()}}, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "under `state_dict`: args is no named tensor")
    torch.save(argparse.Namespace(model=WEIGHTS), path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "holds a Python object")


def test_the_options_do_not_hide_what_would_run_code(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    path = tmp_path / "model.pth"
    harmless = {"set": {1}, "bytes": b"x", "complex": 1j}
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(bad=Shell(f"touch {proof}"), **harmless)}, path)
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    assert f"({os.system.__module__}.system)" in explained(caught, "would run code")  # and nothing else
    assert not proof.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])
def test_listed_names_cannot_be_put_together_into_a_call(tmp_path: Path, zipped: bool) -> None:
    proof = tmp_path / "ran"
    path = tmp_path / "model.pth"
    # Of listed names alone: getattr(PosixPath(proof), "touch")().
    torch.save(
        {"state_dict": WEIGHTS, "x": Called(Looked(proof, "touch"))}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "would run code", "builtins.getattr")
    assert not proof.exists()
    # The control: the file does what it is feared for.
    torch.load(path, weights_only=False)
    assert proof.exists()


def test_a_look_up_by_a_listed_name_yields_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS, "found": Looked(tmp_path, "touch")}, path)
    assert torch.load(path, weights_only=False)["found"].__name__ == "touch"  # the control
    assert same(read_tensors(path), WEIGHTS)
    torch.save({"state_dict": {**WEIGHTS, "w": Looked(torch.zeros(1), "data")}}, path)
    assert isinstance(torch.load(path, weights_only=False)["state_dict"]["w"], Tensor)
    with pytest.raises(BadInput, match="w is no named tensor"):
        read_tensors(path)


@pytest.mark.parametrize(
    "state",
    [
        {"__class__": 1, "__setstate__": 2, "__dict__": 3, "items": 4},
        (None, {"__class__": 1, "__setstate__": 2, "__new__": 3}),
        ({"x": 1}, {"__class__": Path("a")}),
        3,
    ],
    ids=["dict", "slots", "both", "number"],
)
def test_a_state_given_to_a_stand_in_goes_nowhere(tmp_path: Path, state: Any) -> None:
    path = tmp_path / "model.pth"
    torch.save({"state_dict": WEIGHTS, "args": Built(argparse.Namespace, state)}, path)
    assert same(read_tensors(path), WEIGHTS)
    # Nothing stays behind that would change the next file.
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}, path)
    assert same(read_tensors(path), WEIGHTS)


def test_a_state_given_to_a_stand_in_for_a_dict_hides_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(Filled(WEIGHTS, {"items": torch.Size, "keys": torch.Size, "get": torch.Size}), path)
    assert same(read_tensors(path), WEIGHTS)


def test_a_state_given_to_the_class_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"\x80\x02cargparse\nNamespace\n}X\x01\x00\x00\x00xK\x01sb.")
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    explained(caught, "argparse.Namespace", "would run code")
    # The control: it is that state that is refused.
    path.write_bytes(b"\x80\x02cargparse\nNamespace\n.")
    with pytest.raises(BadInput) as caught:
        read_tensors(path)
    assert "would run code" not in explained(caught)


def test_what_torch_lets_others_read_is_the_same_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    before = set(torch.serialization.get_safe_globals())
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace()}, path)
    read_tensors(path)
    assert set(torch.serialization.get_safe_globals()) == before
    torch.save({"state_dict": WEIGHTS, "extra": Shell("true")}, path)
    with pytest.raises(BadInput):
        read_tensors(path)
    assert set(torch.serialization.get_safe_globals()) == before


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
        ({"epoch": 3, "weights": WEIGHTS}, "epoch, weights are no named tensor"),
        ({"epoch": 3}, "epoch is no named tensor"),
        ({0: torch.zeros(1)}, "0 is no named tensor"),
        ({"state_dict": {"weights": WEIGHTS}}, "under `state_dict`: weights is no named tensor"),
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
