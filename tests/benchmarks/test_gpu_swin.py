"""The script end to end at a tiny size, and its table."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import gpu_swin as script
from benchmarks.gpu import sitting
from benchmarks.gpu.record import Cell, Results, Row, read

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("gpu") / "tiny.json"
    said = CliRunner().invoke(
        script.main,
        ["--tiny", "--tune", "half", "--tune", "int8", "--rounds", "1", "--out", str(path)],
        catch_exceptions=False,
    )
    assert said.exit_code == 0, said.output
    return path, said.output


def test_a_rehearsal_runs_all_contestants_and_measures_nothing_of_a_gpu(rehearsal: tuple[Path, str]) -> None:
    results = read(rehearsal[0], script.KIND)
    assert set(results.cells) == {"small_v1/2", "small_v2/1"} and results.ceilings is None
    for cell in results.cells.values():
        ran = [row.name for row in cell.rows if row.missing is None]
        assert ran == [
            *("timm eager", "timm torch.compile", "ours", "ours, tuned", "ours, INT8 linears"),
            *("ours, tuned, INT8 linears", "ours, FP8 linears"),
        ]
        assert [row.name for row in cell.rows if row.missing] == ["TensorRT, timm's graph"]
        assert all(row.ms is None and row.ratio is None for row in cell.rows)
        assert cell.notes["tuning"]["trials"]
    table = rehearsal[0].with_suffix(".md").read_text()
    lines = [line for line in table.splitlines() if line.startswith("| s")]
    assert "A rehearsal on a CPU" in table
    assert len(lines) == 9 + 2 * 8 and all("not measured" in line for line in lines)


def test_our_error_is_no_more_than_twice_that_of_torch_in_half(rehearsal: tuple[Path, str]) -> None:
    for cell in read(rehearsal[0], script.KIND).cells.values():
        half, ours = cell.row(script.EAGER), cell.row(script.OURS)
        assert half is not None and half.relative_error and ours is not None and ours.relative_error
        assert ours.relative_error <= 2 * half.relative_error
        rounded = cell.row("ours, FP8 linears")
        assert rounded is not None and rounded.relative_error is not None
        assert rounded.relative_error > 2 * half.relative_error  # so the bound tells something


def test_what_was_rehearsed_is_not_done_again(rehearsal: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*arguments: object, **options: object) -> None:
        raise AssertionError("measured again")

    code = next(iter(read(rehearsal[0], script.KIND).cells.values())).code.partition("+")[0]
    monkeypatch.setattr(sitting, "code_fingerprint", lambda: code)
    monkeypatch.setattr(script, "measured", again)
    said = CliRunner().invoke(script.main, ["--tiny", "--out", str(rehearsal[0])], catch_exceptions=False)
    assert said.exit_code == 0


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    said = CliRunner().invoke(script.main, ["--out", str(tmp_path / "r.json")])
    assert said.exit_code == 1 and "no GPU" in said.output and not list(tmp_path.iterdir())


def measured_results() -> Results:
    rows = (
        Row("timm eager", "fp16", ms=19.4, p10_ms=19.0, p90_ms=20.0, steady=True, ratio=0.5,
            ratio_low=0.5, ratio_high=0.5, relative_error=1e-3),
        Row("ours", "fp16", ms=5.0, p10_ms=4.9, p90_ms=5.1, steady=True, ratio=2.2, ratio_low=2.1, ratio_high=2.3,
            relative_error=1.5e-3, agreement=1.0),
        Row("ours, INT8 linears", "int8", missing="RuntimeError: a|b"),
    )  # fmt: skip
    ceilings = {"device": "a", "source": "measured", "bandwidth": 3.0e12, "rates": {"fp16": 7.5e14}}
    results = Results(script.KIND, {"gpu": "an H100", "tensorrt": "not installed"}, ceilings)
    return results.with_cell("swin_t/128", Cell("code", 1.0, rows, {"throttled": ["held back by heat."]}))


def test_a_measured_row_has_ratio_floor_and_error_beside_torchs_own() -> None:
    lines = script.table(measured_results()).splitlines()
    ours = next(line for line in lines if line.startswith("| swin_t | 128 | ours | fp16 "))
    assert [cell.strip() for cell in ours.strip("|").split("|")] == [
        *("swin_t", "128", "ours", "fp16", "5.000", "4.900-5.100", "2.20 (2.10-2.30)", "3", "60", "1.50e-03"),
        *("1.50", "100", "2.2 times torch.compile"),
    ]
    assert any("not measured: RuntimeError: a/b" in line for line in lines)
    assert sum("not measured" in line for line in lines) == 1 + 8  # a failed row, and the cells that are missing
    assert "gpu an H100." in lines and "WARNING: swin_t/128: held back by heat." in lines


def test_the_table_in_the_docs_is_what_the_script_makes_of_its_file() -> None:
    path = ROOT / "docs/results/gpu_swin.json"
    results = read(path, script.KIND) if path.is_file() else None
    assert path.with_suffix(".md").read_text(encoding="utf-8") == script.table(results)
