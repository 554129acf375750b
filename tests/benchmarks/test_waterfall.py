"""The script end to end at a tiny size, and its table."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from click.testing import CliRunner

from benchmarks import waterfall as script
from benchmarks.gpu.forms import Forms, rehearsal_stand
from benchmarks.gpu.record import Cell, Results, Row, read
from benchmarks.gpu.subject import subject

ROOT = Path(__file__).resolve().parents[2]


def test_a_rehearsal_runs_every_row_and_measures_nothing_of_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    said = CliRunner().invoke(script.main, ["--tiny", "--rounds", "1", "--out", str(path)], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    results = read(path, f"{script.KIND} small_v1/2")
    rows = [cell.rows[0] for cell in results.cells.values()]
    assert [row.name for row in rows] == [step.name for step in script.STEPS]
    assert all(row.missing is None and row.ms is None and row.relative_error for row in rows)
    # Each technique changes what is rounded where: rows that agree to the last digit would be the same form twice.
    errors = [row.relative_error for row in rows]
    assert len(set(errors[2:8])) == 6
    assert errors[8] == errors[9]  # the same form, as a CUDA graph
    assert [name for name, cell in results.cells.items() if "tuning" in cell.notes] == [
        *("+ tiles and fusions chosen by measurement", "INT8 linears", "FP8 linears"),
    ]  # once for each type of linears
    table = path.with_suffix(".md").read_text()
    assert table.startswith("# What each technique brings: small_v1/2\n")
    lines = [line for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(lines) == len(script.STEPS) and all("not measured" in line for line in lines)


def test_a_row_that_fails_is_a_finding_and_the_next_one_is_still_measured() -> None:
    forms = Forms(subject("small_v1"), rehearsal_stand(torch.float16))
    broken = Forms(replace(forms.subject, timm=torch.nn.Linear(3, 3)), forms.stand)
    bench, empty = script.Bench(broken, forms.images(1), 1), Results(script.KIND, {})
    eager, folded = script.STEPS[0], script.STEPS[2]
    (failed,) = bench.measured(eager, None, empty).rows
    assert failed.missing is not None and failed.missing.startswith("RuntimeError")
    (row,) = bench.measured(folded, eager, empty).rows
    assert row.missing is None and row.relative_error
    (left,) = replace(bench, skip=(folded.name,)).measured(folded, eager, empty).rows
    assert left.missing == "left out"


def test_each_row_adds_one_technique_and_the_quantized_ones_stand_beside_the_graph() -> None:
    names = [step.name for step in script.STEPS]
    for step in script.STEPS:
        before = script.before(step)
        if before is None:
            assert step.name == "timm eager"
        elif "linears" in (step.fused or {}):
            assert before.name == "+ one CUDA graph"
        else:
            assert names.index(before.name) == names.index(step.name) - 1
    plans = [step.fused for step in script.STEPS if step.fused is not None and not step.tuned]
    for first, second in pairwise(plans):
        assert first.items() < second.items()


def test_what_was_chosen_for_a_row_holds_for_the_rows_behind_it() -> None:
    plan = script.FusionPlan(tiles={"add_norm 96": (16, 128, 16, 4, 1)})
    cell = Cell("code", 1.0, (), {"tuning": {"plan": plan.to_json()}})
    results = Results(script.KIND, {}).with_cell("tuned", cell)
    assert script._tuned_before(script.FusionPlan(), results, "code") == plan
    assert script._tuned_before(script.FusionPlan(linears="int8"), results, "code") is None
    assert script._tuned_before(script.FusionPlan(), Results(script.KIND, {}), "code") is None


def test_what_was_chosen_for_other_code_is_chosen_anew() -> None:
    cell = Cell("older code", 1.0, (), {"tuning": {"plan": script.FusionPlan().to_json()}})
    results = Results(script.KIND, {}).with_cell("tuned", cell)
    assert script._tuned_before(script.FusionPlan(), results, "code") is None


def test_a_measured_table_has_steps_and_the_whole() -> None:
    results = Results(script.KIND, {"gpu": "a GPU"}, {"bandwidth": 1e12, "rates": {}})
    for name, ms in (("timm eager", 20.0), ("timm torch.compile", 10.0), ("folded, torch.compile", 8.0)):
        row = Row(name, "fp16", ms=ms, p10_ms=ms, p90_ms=ms, steady=True, graph_ms=ms - 1, relative_error=ms * 1e-4)
        results = results.with_cell(name, Cell("code", 1.0, (row,)))
    lines = script.table(results).splitlines()
    folded = next(line for line in lines if "folded" in line)
    assert "| 8.000 | 8.000-8.000 | 7 |  | 1.25 | 8.00e-04 | 0.40 |" in folded
    assert sum("not measured" in line for line in lines) == len(script.STEPS) - 3


def test_the_table_in_the_docs_is_what_the_script_makes_of_its_file() -> None:
    path = ROOT / "docs/results/waterfall.json"
    results = read(path, f"{script.KIND} swin_t/128") if path.is_file() else None
    assert path.with_suffix(".md").read_text(encoding="utf-8") == script.table(results)
