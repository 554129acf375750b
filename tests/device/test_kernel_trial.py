"""The first run of a kernel program, in a child: what it may do to itself, and what is told of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from board import Board, images
from toy_program import write_toy

from swin_deploy.device.kernel_trial import try_program
from swin_deploy.errors import BadInput, EnvironmentFault, Unavailable


@pytest.fixture
def program(tmp_path: Path) -> Path:
    write_toy(tmp_path / "program")
    np.save(tmp_path / "images.npy", images())
    return tmp_path / "program"


def tried(program: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 300, **board: str) -> None:
    """On an imitated board: the child finds its driver on PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", str(Board.make(program.parent / "site", "10.3.0", **board).site))
    try_program(program, program.parent / "images.npy", time_limit_s=seconds)


def test_a_sound_program_passes_its_trial(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried(program, monkeypatch)


def test_a_program_that_never_ends_is_stopped(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match="took more than 3 s and was stopped"):
        tried(program, monkeypatch, 3, kernels="endless")


@pytest.mark.parametrize(("kernels", "named"), [("astray", "CUDA error 700"), ("crashing", "died of SIGABRT")])
def test_a_program_that_faults_is_told_from_a_distance(
    kernels: str, named: str, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentFault, match=named):
        tried(program, monkeypatch, kernels=kernels)


def test_a_machine_that_starts_no_process_is_a_fault_of_its_own(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(program / "no-python"))
    with pytest.raises(EnvironmentFault, match="could not be started"):
        try_program(program, program.parent / "images.npy")


def test_a_gpu_without_kernels_and_a_damaged_file_keep_their_kinds(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match=r"has compute capability 8\.6"):
        tried(program, monkeypatch, capability="8.6")
    (program / "weights.bin").write_bytes(b"another")
    with pytest.raises(BadInput, match=r"weights\.bin has SHA-256"):
        tried(program, monkeypatch)
