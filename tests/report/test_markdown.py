"""The report as a Markdown page, against a golden file (see example_run.py for the command that makes it anew)."""

from __future__ import annotations

import re
from dataclasses import replace

from swin_deploy.report.ledger import columns
from swin_deploy.report.markdown import markdown_report
from tests.report.example_run import GOLDEN, LOST, backbone_run, example_run, restoration_run
from tests.report.test_ledger import unlabelled

REPORT = markdown_report(example_run())


def section(report: str, title: str) -> str:
    return report.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row)[1:-1]


def test_the_report_is_the_golden_file() -> None:
    assert GOLDEN.read_text(encoding="utf-8") == REPORT, "if this is meant: python -m tests.report.example_run"


def test_the_verdict_and_the_exit_status_come_first() -> None:
    assert REPORT.splitlines()[2] == "**FAIL: bf16 did not pass its gate** (exit status 4)"


def test_each_table_row_has_as_many_cells_as_its_head() -> None:
    tables = [block for block in REPORT.split("\n\n") if block.startswith("|")]
    assert len(tables) == 5  # ledger, INT8's figures, blocks and fits, parents
    for table in tables:
        assert len({len(cells(row)) for row in table.splitlines()}) == 1
    assert len(cells(tables[0].splitlines()[0])) == len(columns(example_run()))


def test_what_was_skipped_is_listed_with_its_reason_and_nowhere_passed() -> None:
    assert "- compiled: no C++ compiler: install g++" in section(REPORT, "Not shown, and why")
    assert "- fp16-engine: no NVIDIA GPU" in section(REPORT, "Not shown, and why")
    rows = [row for row in REPORT.splitlines() if row.startswith(("| compiled", "| fp16-engine"))]
    assert len(rows) == 2
    assert all("SKIPPED" in row and "PASS" not in row for row in rows)


def test_a_bar_in_a_text_does_not_break_the_table() -> None:
    manifest = example_run()
    odd = replace(manifest, steps=(replace(manifest.steps[2], artifact="a|b"),))
    row = next(line for line in markdown_report(odd).splitlines() if line.startswith("| a\\|b "))
    assert len(cells(row)) == len(columns(example_run()))


def test_synthetic_images_are_named_so_and_accuracy_is_not_measured() -> None:
    report = markdown_report(unlabelled("synthetic"))
    assert "SYNTHETIC images: distances to the oracle, no accuracy" in report
    assert "NOT MEASURED" in report
    assert "labelled images" not in report


def test_labelled_images_are_not_called_synthetic() -> None:
    assert "SYNTHETIC" not in REPORT
    assert "NOT MEASURED" not in REPORT


def test_each_artifact_is_compared_with_its_parent_in_words_where_there_is_no_ratio() -> None:
    found = section(REPORT, "Against the parent")
    assert "| fp32 | graph | exported | exact | 100.00 | 0 |" in found
    assert "| deployment-fp16 | numerics | deployment | 63.5 | 100.00 | 0.00125 |" in found
    assert "| bf16 | graph | fp32 | NaN/Inf |" in found
    assert "999" not in REPORT


def test_each_stage_states_its_file_hash_facts_notes_and_checks() -> None:
    found = section(REPORT, "Stages")
    assert f"- file: `fp32.onnx`, {3 << 20} bytes, sha256 `{'0' * 64}`" in found
    assert '- nodes: {"before": 500, "after": 300}' in found
    assert "- note: only 64 calibration images" in found
    assert "- graph, finite: FAIL (NaN or Inf at batch 32)" in found
    assert "`bf16.onnx.rejected`" in found


def test_long_facts_are_left_to_the_manifest() -> None:
    assert "amax" not in REPORT
    assert "evidence" not in REPORT


def test_machine_and_preprocessing_are_told() -> None:
    found = section(REPORT, "Machine")
    assert "- gpu: no GPU" in found
    assert '- preprocessing: {"height": 64, "width": 64, "channels": 3}' in found


def test_a_run_without_anything_skipped_has_no_such_section() -> None:
    manifest = example_run()
    assert "Not shown" not in markdown_report(replace(manifest, steps=manifest.steps[2:3]))


def test_the_ratio_of_every_scale_is_told_the_lowest_of_its_batches() -> None:
    report = markdown_report(backbone_run())
    found = section(report, "SQNR of each output, dB")
    assert "| artifact | measured as | stage1 | stage2 | stage3 |" in found
    assert "| fp16 | graph | 70.0 | 61.0 | 75.2 |" in found
    assert "reference" not in found
    assert "SQNR of each output" not in REPORT  # a classifier has one


def test_each_table_of_a_dense_run_has_as_many_cells_as_its_head_and_none_of_classes() -> None:
    for manifest in (backbone_run(), restoration_run(LOST)):
        report = markdown_report(manifest)
        tables = [block for block in report.split("\n\n") if block.startswith("|")]
        assert len(tables) >= 2
        for table in tables:
            assert len({len(cells(row)) for row in table.splitlines()}) == 1
        assert "agree %" not in report
        assert "top-1" not in report


def test_the_measures_of_a_restoration_are_explained() -> None:
    report = markdown_report(restoration_run(LOST))
    assert "PSNR-Y margin 0.1 dB" in report
    assert "SwinIR's evaluation" in report
    assert "SwinIR" not in markdown_report(backbone_run())
