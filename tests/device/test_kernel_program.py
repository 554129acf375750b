"""program.json is read back as it was written, and refused where a launch could be led astray."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_program import write_toy

from swin_deploy.device.kernel_program import checked_content, read_program
from swin_deploy.errors import BadInput


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    program = write_toy(tmp_path)
    assert read_program(tmp_path) == program
    assert program.batches == (1, 4)
    assert program.capabilities == ("8.7",)


def test_capabilities_are_those_that_every_kernel_has(tmp_path: Path) -> None:
    write_toy(tmp_path)
    raw = json.loads((tmp_path / "program.json").read_text())
    modules = raw["kernels"]["sums"]["modules"]
    modules["12.0"], modules["8.6"] = modules["8.7"], modules["8.7"]
    raw["kernels"]["twice"]["modules"]["12.0"] = modules["8.7"]
    (tmp_path / "program.json").write_text(json.dumps(raw))
    assert read_program(tmp_path).capabilities == ("8.7", "12.0")


CHANGES: dict[str, Callable[[Any], Any]] = {
    "another version": lambda raw: raw.update(schema_version=2),
    "another kind": lambda raw: raw.update(kind="bundle"),
    "no batch": lambda raw: raw.update(programs={}),
    "a batch of nothing": lambda raw: raw.update(programs={"0": raw["programs"]["1"]}),
    "no launch": lambda raw: raw["programs"]["1"].update(launches=[]),
    "a kernel that is not there": lambda raw: raw["programs"]["1"]["launches"][0].update(kernel="thrice"),
    "an argument too few": lambda raw: raw["programs"]["1"]["launches"][0]["arguments"].pop(),
    "an integer for a pointer": lambda raw: raw["programs"]["1"]["launches"][0].update(arguments=[["i32", 1]] * 2),
    "an offset past the arena": lambda raw: raw["programs"]["1"]["launches"][0].update(
        arguments=[["images"], ["arena", 256]]
    ),
    "an offset past the weights": lambda raw: raw["programs"]["1"]["launches"][0].update(
        arguments=[["images"], ["weights", 256]]
    ),
    "an odd offset": lambda raw: raw["programs"]["1"]["launches"][0].update(arguments=[["images"], ["arena", 8]]),
    "a negative offset": lambda raw: raw["programs"]["1"]["launches"][0].update(
        arguments=[["images"], ["arena", -256]]
    ),
    "a number that does not fit": lambda raw: raw["programs"]["1"]["launches"][1]["arguments"][3].__setitem__(
        1, 1 << 31
    ),
    "an argument of another kind": lambda raw: raw["programs"]["1"]["launches"][0].update(
        arguments=[["images"], ["stack"]]
    ),
    "an empty grid": lambda raw: raw["programs"]["1"]["launches"][0].update(grid=[0, 1, 1]),
    "a grid that no GPU takes": lambda raw: raw["programs"]["1"]["launches"][0].update(grid=[1, 65536, 1]),
    "half a program in a grid": lambda raw: raw["programs"]["1"]["launches"][0].update(grid=[1.5, 1, 1]),
    "a cubin outside": lambda raw: raw["kernels"]["sums"]["modules"]["8.7"].update(file="../x.cubin"),
    "weights outside": lambda raw: raw["weights"].update(file="/etc/passwd"),
    "a kernel whose name is a path": lambda raw: raw["kernels"].update({"../x": raw["kernels"]["sums"]}),
    "an unknown type of output": lambda raw: raw["output"].update(type="fp8"),
    "an unknown type of parameter": lambda raw: raw["kernels"]["sums"].update(parameters=["pointer", "f32"]),
    "an unknown precision": lambda raw: raw.update(precision="fp4"),
    "an image without a side": lambda raw: raw.update(image=[3, 4]),
    "a compute capability that is none": lambda raw: raw["kernels"]["sums"]["modules"].update(
        newest=raw["kernels"]["sums"]["modules"]["8.7"]
    ),
    "an entry that is no function's name": lambda raw: raw["kernels"]["sums"].update(entry="süms kernel"),
    "more scratch parameters than memory": lambda raw: raw["kernels"]["sums"]["modules"]["8.7"].update(
        scratch_parameters=1 << 40
    ),
    "shared memory that wraps around": lambda raw: raw["kernels"]["sums"]["modules"]["8.7"].update(shared=1 << 32),
    "an arena that wraps around": lambda raw: raw["programs"]["1"].update(arena_bytes=(1 << 64) + 256),
    "images that wrap around": lambda raw: raw.update(image=[3, 1 << 31, 1 << 32]),
    "a batch that wraps around": lambda raw: raw["programs"].update({str(1 << 62): raw["programs"]["4"]}),
    "nothing of the weights": lambda raw: raw.pop("weights"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_program_that_contradicts_itself_is_refused(what: str, tmp_path: Path) -> None:
    write_toy(tmp_path)
    raw = json.loads((tmp_path / "program.json").read_text())
    CHANGES[what](raw)
    (tmp_path / "program.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput):
        read_program(tmp_path)


def test_no_program_and_no_json_are_explained(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read as a kernel program"):
        read_program(tmp_path)
    (tmp_path / "program.json").write_bytes(b"\xff")
    with pytest.raises(BadInput, match="cannot be read as a kernel program"):
        read_program(tmp_path)


def test_weights_of_another_size_than_launches_were_checked_with_are_refused(tmp_path: Path) -> None:
    write_toy(tmp_path)
    raw = json.loads((tmp_path / "program.json").read_text())
    raw["weights"]["bytes"] = 4096
    (tmp_path / "program.json").write_text(json.dumps(raw))
    with pytest.raises(BadInput, match=r"weights\.bin has 8 bytes, program\.json says 4096"):
        checked_content(tmp_path, read_program(tmp_path).weights)


def test_a_file_that_is_not_what_it_was_is_named(tmp_path: Path) -> None:
    program = write_toy(tmp_path)
    assert checked_content(tmp_path, program.weights) == (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    with pytest.raises(BadInput, match=r"weights\.bin has SHA-256"):
        checked_content(tmp_path, program.weights)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BadInput, match=r"weights\.bin cannot be read"):
        checked_content(tmp_path, program.weights)
