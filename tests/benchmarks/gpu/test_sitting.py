"""A sitting: cells in their order, written one by one, within the time there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gpu import sitting
from benchmarks.gpu.record import Results, Row, read
from benchmarks.gpu.sitting import Found, Sitting, result_file
from swin_deploy.errors import Unavailable, UsageFault


class Watch:
    """A clock that moves only when a cell is measured."""

    def __init__(self) -> None:
        self.now, self.measured = 0.0, list[str]()

    def cell(self, name: str, seconds: float) -> Callable[[Results], Found]:
        def measure(results: Results) -> Found:
            assert name not in results.cells or results.cells[name].code != "code"
            self.now += seconds
            self.measured.append(name)
            return Found([Row(name, "fp16")], {})

        return measure


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(sitting, "environment", lambda: {"gpu": "a GPU"})
    monkeypatch.setattr(sitting, "code_fingerprint", lambda: "code")
    monkeypatch.setattr(sitting, "no_gpu", lambda: None)
    monkeypatch.setattr(sitting, "_ceilings", lambda gpu: {"device": gpu})
    return Watch()


def sat(watch: Watch, folder: Path, seconds: float | None = None) -> tuple[Sitting, list[str]]:
    heard: list[str] = []
    table = lambda results: f"{0 if results is None else len(results.cells)} cells\n"  # noqa: E731
    return Sitting(folder / "r.json", "gpu-swin", table, heard.append, seconds, lambda: watch.now), heard


def test_a_sitting_ends_before_its_time_and_the_next_goes_on(watch: Watch, tmp_path: Path) -> None:
    cells = {name: watch.cell(name, 100.0) for name in ("a", "b", "c", "d")}
    first, heard = sat(watch, tmp_path, 250.0)
    first.measure(cells)
    assert watch.measured == ["a", "b"]  # a third would end at 300
    assert "time is up; still to do: c, d" in heard
    assert list(read(tmp_path / "r.json", "gpu-swin").cells) == ["a", "b"]
    second, heard = sat(watch, tmp_path)
    found = second.measure(cells)
    assert watch.measured == ["a", "b", "c", "d"]
    assert found.ceilings == {"device": "a GPU"} and "measuring the ceilings" not in heard
    assert (tmp_path / "r.md").read_text() == "4 cells\n"


def test_a_cell_is_on_disk_before_the_next_one_fails(watch: Watch, tmp_path: Path) -> None:
    def fails(results: Results) -> Found:
        raise RuntimeError("the GPU fell off the bus")

    with pytest.raises(RuntimeError):
        sat(watch, tmp_path)[0].measure({"a": watch.cell("a", 1.0), "b": fails})
    assert list(read(tmp_path / "r.json", "gpu-swin").cells) == ["a"]


def test_the_first_cell_is_measured_however_little_time_there_is(watch: Watch, tmp_path: Path) -> None:
    sat(watch, tmp_path, 1.0)[0].measure({"a": watch.cell("a", 100.0), "b": watch.cell("b", 1.0)})
    assert watch.measured == ["a"]


def test_without_a_gpu_nothing_is_begun_or_written(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sitting, "no_gpu", lambda: "no GPU here")
    with pytest.raises(Unavailable, match="no GPU here"):
        sat(watch, tmp_path)[0].measure({"a": watch.cell("a", 1.0)})
    assert list(tmp_path.iterdir()) == []
    assert sat(watch, tmp_path)[0].measure({"a": watch.cell("a", 1.0)}, gpu=False).ceilings is None


def test_a_table_can_be_written_without_any_measurement(watch: Watch, tmp_path: Path) -> None:
    assert sat(watch, tmp_path)[0].write_table() == "0 cells\n"


def test_a_rehearsal_never_takes_the_place_of_what_a_gpu_measured(tmp_path: Path) -> None:
    assert result_file(None, "gpu_swin", tiny=False) == Path("docs/results/gpu_swin.json")
    assert result_file(tmp_path / "r.json", "gpu_swin", tiny=True) == tmp_path / "r.json"
    with pytest.raises(UsageFault, match="--out"):
        result_file(None, "gpu_swin", tiny=True)
