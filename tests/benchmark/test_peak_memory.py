"""Memory is measured in a process of its own, which this one's cannot be mistaken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swin_deploy.artifact import Artifact, Format, Precision
from swin_deploy.benchmark.contestant import ArtifactContestant
from swin_deploy.benchmark.peak_memory import _device_peak, peak_memory, resident_peak
from swin_deploy.errors import BadInput, EnvironmentFault
from tests.benchmark.finished_run import FakeSession
from tests.chain import Chain


def test_the_peak_is_that_of_a_process_that_does_nothing_else(v1: Chain) -> None:
    here = np.ones(600 << 20, np.uint8)  # this process has had more than the other one needs
    found = peak_memory(ArtifactContestant(v1.artifact("simplified"), 1), (3, 28, 28), (1, 8))
    assert found.device == {1: None, 8: None}
    assert found.host[1] is not None and found.host[8] is not None
    assert (20 << 20) < found.host[1] <= found.host[8] < here.nbytes


def test_what_fails_there_is_raised_here(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    damaged = Artifact("a", tmp_path / "damaged.onnx", Format.ONNX, Precision.FP32)
    with pytest.raises(BadInput, match="cannot be loaded"):
        peak_memory(ArtifactContestant(damaged, 1), (3, 28, 28), (1,))


class Deadly:
    """A contestant that kills the process that opens it."""

    name, backend, precision, cuda_graph, device, floats = "deadly", "torch", "fp32", False, "cpu", "fp32"

    def open(self) -> FakeSession:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_process_that_is_killed_is_the_environments_fault() -> None:
    with pytest.raises(EnvironmentFault, match=r"memory of deadly died.*--no-memory"):
        peak_memory(Deadly(), (3, 28, 28), (1,))


def test_the_peak_is_read_in_bytes(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  9999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    assert resident_peak(status) == 2048 * 1024
    assert resident_peak(tmp_path / "none") is None
    status.write_text("Name:\tpython\n")
    assert resident_peak(status) is None


def test_an_engine_is_asked_what_it_holds_on_the_device() -> None:
    assert _device_peak(FakeSession()) == 1234
