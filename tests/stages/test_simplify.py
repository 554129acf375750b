"""Simplify: one tool, the other when the first fails in any way, and a word to the reader about it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from swin_deploy.artifact import Format, Precision
from swin_deploy.errors import EnvironmentFault
from swin_deploy.stages import simplify
from swin_deploy.stages.simplify import Simplify
from tests.chain import Chain

Spoil = Callable[..., list[list[str]]]

ABORTS = "import os; os.abort()"
HANGS = "import time; time.sleep(600)"
FAILS = "import sys; print('first line', file=sys.stderr); sys.exit('the graph is too large')"
SILENT = "raise SystemExit(9)"
HALF_WRITTEN = "import pathlib, sys; pathlib.Path(sys.argv[-1]).write_bytes(b'half'); raise SystemExit(1)"


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Put a program in place of the named tools; the others run as they are, without a time limit."""

    def put(program: str, *tools: str) -> list[list[str]]:
        real = subprocess.run
        commands: list[list[str]] = []

        def run(command: list[str], *, timeout: float, **options: Any) -> Any:
            commands.append(command)
            if command[-3] in tools:
                return real([sys.executable, "-S", "-c", program, *command[-3:]], timeout=timeout, **options)
            return real(command, timeout=120, **options)

        monkeypatch.setattr(simplify.subprocess, "run", run)
        return commands

    return put


def test_onnxsim_is_used_and_named(chain: Chain) -> None:
    produced = chain.produced("simplified")
    assert produced.facts["tool"] == "onnxsim"
    assert produced.facts["nodes_before"] == chain.produced("exported").facts["nodes"]
    assert produced.facts["nodes"] <= produced.facts["nodes_before"]
    assert produced.notes == ()


def test_onnxslim_alone_gives_the_same_operators(chain: Chain) -> None:
    produced = chain.produced("slimmed")
    assert produced.facts["tool"] == "onnxslim"
    assert produced.facts["operators"] == chain.produced("simplified").facts["operators"]


@pytest.mark.parametrize("name", ["simplified", "slimmed"])
def test_linears_stay_matmuls_and_our_metadata_stays(chain: Chain, name: str) -> None:
    model = chain.model(name)
    assert sum(node.op_type == "Gemm" for node in model.graph.node) == 1  # the head, which has no token axis
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert entries["swin_deploy.profile"] == "strong"
    assert not {"Constant", "Cast"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (ABORTS, "onnxsim ended with status -6"),
        (FAILS, "onnxsim ended with status 1 (the graph is too large)"),
        (SILENT, "onnxsim ended with status 9 (no message)"),
        (HALF_WRITTEN, "onnxsim ended with status 1"),
    ],
    ids=["crash", "message", "silent", "half-written"],
)
def test_when_onnxsim_fails_onnxslim_takes_its_place_and_that_is_said(
    v1: Chain, tmp_path: Path, spoil: Spoil, program: str, told: str
) -> None:
    commands = spoil(program, "onnxsim")
    produced = Simplify().run(v1.artifact("exported"), tmp_path / "out.onnx")
    assert [command[-3] for command in commands] == ["onnxsim", "onnxslim"]
    assert produced.facts["tool"] == "onnxslim"
    (note,) = produced.notes
    assert note.startswith(told)
    assert note.endswith("; onnxslim took its place")
    onnx.checker.check_model(onnx.load(tmp_path / "out.onnx"), full_check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


def test_a_tool_that_hangs_is_ended_at_the_time_limit(v1: Chain, tmp_path: Path, spoil: Spoil) -> None:
    spoil(HANGS, "onnxsim")
    produced = Simplify(seconds=1).run(v1.artifact("exported"), tmp_path / "out.onnx")
    assert produced.facts["tool"] == "onnxslim"
    assert produced.notes == ("onnxsim did not finish within 1 s; onnxslim took its place",)


def test_when_both_fail_both_are_named_and_nothing_is_left(v1: Chain, tmp_path: Path, spoil: Spoil) -> None:
    spoil(HALF_WRITTEN, "onnxsim", "onnxslim")
    with pytest.raises(EnvironmentFault, match=r"onnxsim ended with status 1 .*; onnxslim ended with status 1 "):
        Simplify().run(v1.artifact("exported"), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_a_tool_of_an_unknown_name_fails_and_is_not_taken_for_another(v1: Chain, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"nosuchtool ended with status 1 \(ValueError: no simplifier"):
        Simplify(simplifiers=("nosuchtool",)).run(v1.artifact("exported"), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_types_come_after_simplification() -> None:
    assert Simplify().accepts == {(Format.ONNX, Precision.FP32)}
