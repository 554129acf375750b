"""The sampler: choosing a source, reading it in a thread, and never being an error."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from swin_deploy.device.telemetry import sampler as sampler_module
from swin_deploy.device.telemetry.sample import Sample
from swin_deploy.device.telemetry.sampler import best_source, sampled
from swin_deploy.device.telemetry.telemetry import energy_per_image
from tests.device.telemetry.fake_jetson import COUNTER, INA, orin_nano, write


class Scripted:
    """A source that gives the samples it was made with, and says when it has given them all."""

    name = "scripted"

    def __init__(self, samples: list[Sample | Exception], paces_itself: bool = False) -> None:
        self._samples, self.paces_itself = samples, paces_itself
        self.spent, self._closed = threading.Event(), threading.Event()
        self.closings = 0

    def read(self) -> Sample | None:
        if self._samples:
            sample = self._samples.pop(0)
            if isinstance(sample, Exception):
                self.spent.set()
                raise sample
            return sample
        self.spent.set()
        if self.paces_itself:
            self._closed.wait(30)
            return None
        return Sample({"VDD_IN": 5.0})

    def close(self) -> None:
        self.closings += 1
        self._closed.set()


@pytest.mark.parametrize("paces_itself", [True, False])
def test_samples_are_collected_while_the_block_runs_and_the_source_is_closed(
    tmp_path: Path, paces_itself: bool
) -> None:
    source = Scripted([Sample({"VDD_IN": watts}) for watts in (4.0, 6.0, 8.0)], paces_itself)
    with sampled(0.001, root=tmp_path, source=source) as sampler:
        assert source.spent.wait(30)
        during = sampler.telemetry()
    after = sampler.telemetry()
    assert source.closings == 1
    assert during.source == "scripted" and during.samples >= 3 and after.samples >= during.samples
    assert after.power_w["VDD_IN"].max == 8.0 and after.power_w["VDD_IN"].min == 4.0
    assert after.energy_j is not None and 4.0 * after.seconds <= after.energy_j <= 8.0 * after.seconds
    assert energy_per_image(after, 2) == after.energy_j / 2
    assert after == sampler.telemetry(), "and holds still"
    assert after.notes == ()


def test_a_source_that_fails_leaves_a_note_and_what_it_gave_before(tmp_path: Path) -> None:
    source = Scripted([Sample({"VDD_IN": 4.0}), OSError("the sensor is gone")])
    with sampled(0.001, root=tmp_path, source=source) as sampler:
        assert source.spent.wait(30)
    found = sampler.telemetry()
    assert found.samples == 1 and found.energy_j is None
    assert found.notes == ("scripted stopped answering: the sensor is gone",)


def test_a_source_that_ends_early_leaves_a_note(tmp_path: Path) -> None:
    source = Scripted([Sample()], paces_itself=True)
    source.close()  # so that its next read gives None
    with sampled(0.001, root=tmp_path, source=source) as sampler:
        assert source.spent.wait(30)
        sampler._thread.join(30)
    assert "ended before" in sampler.telemetry().notes[0]


@pytest.mark.parametrize("paces_itself", [True, False])
def test_a_source_that_does_not_close_takes_nothing_along(tmp_path: Path, paces_itself: bool) -> None:
    class Stuck(Scripted):
        def close(self) -> None:
            super().close()
            raise BrokenPipeError("the service is gone")

    with sampled(0.001, root=tmp_path, source=Stuck([Sample()], paces_itself)) as sampler:
        pass
    assert "scripted did not close: the service is gone" in sampler.telemetry().notes


def test_an_error_in_the_block_comes_through_and_the_source_is_closed(tmp_path: Path) -> None:
    source = Scripted([])
    with pytest.raises(ZeroDivisionError), sampled(0.001, root=tmp_path, source=source):
        raise ZeroDivisionError
    assert source.closings == 1


def test_with_no_source_there_is_a_telemetry_and_no_error(tmp_path: Path) -> None:
    with sampled(root=tmp_path) as sampler:
        pass
    found = sampler.telemetry()
    assert found.source == "none" and found.energy_j is None and found.throttled == () and found.samples == 0


def test_a_jetson_s_files_give_board_mode_energy_and_what_throttled(tmp_path: Path) -> None:
    root = orin_nano(tmp_path)
    with sampled(0.001, root=root) as sampler:
        while sampler.telemetry().samples < 3:
            sampler._stop.wait(0.002)
        write(root, {COUNTER: 12})
    found = sampler.telemetry()
    assert found.source == "sysfs"
    assert found.board == "NVIDIA Jetson Orin Nano Developer Kit" and found.power_mode == "15W"
    assert found.energy_rails == ("VDD_IN",)
    assert found.energy_j == pytest.approx(5.0 * found.seconds)  # 5 W all the time
    assert found.throttled and "5 over-current events" in found.throttled[0]


def named(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name)


def test_jetson_stats_comes_first_then_the_kernel_s_rails_then_tegrastats_then_nvidia_smi(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each source is taken away in turn, with a fake tree in place of the machine's."""
    root = orin_nano(tmp_path)
    monkeypatch.setattr(sampler_module, "_MACHINE", root)
    monkeypatch.setattr(sampler_module, "Tegrastats", lambda command, interval: named(f"{command} {interval}"))
    monkeypatch.setattr(sampler_module, "open_nvidia_smi", lambda command, interval: named(f"{command} {interval}"))
    monkeypatch.setattr(sampler_module, "open_jetson_stats", lambda interval: named(f"jtop {interval}"))
    programs = {"tegrastats": "tegrastats", "nvidia-smi": "nvidia-smi"}
    monkeypatch.setattr(sampler_module.shutil, "which", programs.get)
    assert best_source(0.5, root).name == "jtop 0.5"
    monkeypatch.setattr(sampler_module, "open_jetson_stats", lambda interval: None)
    assert best_source(0.5, root).name == "sysfs"
    for label in (root / INA).glob("in*_label"):
        label.unlink()
    assert best_source(0.5, root).name == "tegrastats 0.5"
    del programs["tegrastats"]
    assert best_source(0.5, root).name == "sysfs", "clocks and temperatures at least"
    for path in sorted((root / "sys/class/devfreq").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert best_source(0.5, root).name == "nvidia-smi 0.5"
    del programs["nvidia-smi"]
    assert best_source(0.5, root) is None
