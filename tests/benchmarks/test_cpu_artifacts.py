"""The table of the files for CPUs: what is read from `swin-deploy bench`, and what becomes of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.cpu_artifacts import Race, main, race_of, table
from cli.bench import command


def found(own: float, eager: float) -> dict[str, Any]:
    """What a benchmark of one file and eager prints, as far as it is read."""
    lines = [{"p50_ms": own, "ratio": 1.0}, {"p50_ms": eager, "ratio": own / eager}]
    return {"lines": lines, "skipped": []}


def test_the_speed_up_is_that_of_the_file_over_eager() -> None:
    assert race_of(found(4.0, 10.0)) == Race(10.0, 4.0, 2.5)


def test_a_file_that_did_not_run_is_no_race() -> None:
    alone = {"lines": found(4.0, 10.0)["lines"][:1], "skipped": ["no kernel"]}
    with pytest.raises(ValueError, match=r"1 of 2 lines.*no kernel"):
        race_of(alone)


def test_repeats_are_shown_by_their_median_and_ends() -> None:
    races = [Race(10.0, 4.0, 2.5), Race(12.0, 4.0, 3.0), Race(9.0, 5.0, 1.8)]
    assert table({"a.onnx": races}).splitlines()[2] == "| `a.onnx` | 10.00 | 4.00 | 2.50 (1.80-3.00) |"


def test_each_file_has_processes_of_its_own_and_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        options = command.make_context("bench", words[4:]).params  # an option that it has not is an error
        asked.append((options["artifacts"][0].name, options["threads"], options["peers"], options["batch"]))
        return subprocess.CompletedProcess(words, 0, json.dumps(found(4.0, 10.0)), "")

    monkeypatch.setattr(subprocess, "run", run)
    for name in ("fp32.onnx", "int8.cpu.onnx"):
        (tmp_path / name).touch()
    result = CliRunner().invoke(main, [str(tmp_path), "--repeats", "2"])
    assert result.exit_code == 0, result.output
    assert [name for name, *_ in asked] == ["fp32.onnx", "int8.cpu.onnx"] * 2
    assert {tuple(map(str, rest)) for _, *rest in asked} == {("2", "('eager',)", "(('1',),)")}
    assert "| `int8.cpu.onnx` | 10.00 | 4.00 | 2.50 (2.50-2.50) |" in result.output
    assert "deployment.pt2: not in" in result.output
    assert "fp32.onnx: not in" not in result.output


def test_a_benchmark_that_fails_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "no such run")
    monkeypatch.setattr(subprocess, "run", lambda *words, **_: failed)
    (tmp_path / "fp32.onnx").touch()
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1 and "no such run" in result.output
