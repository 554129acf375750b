"""The ledger's cells: what was measured stands there, and what was not never looks as if it had been."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swin_deploy.device.distances import EXACT_DB
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.ledger import LedgerLine, columns, decibels, ledger
from tests.report.example_run import (
    LOST,
    backbone_run,
    example_run,
    measurement,
    restoration_run,
    step,
)

COLUMNS = ("artifact", "measured as", "verdict", "SQNR dB", "agree %", "top-1 %", "drop (95 % bound)", "size", "time")

CELL = {name: place for place, name in enumerate(COLUMNS)}


def lines() -> dict[str, LedgerLine]:
    """By the artifact, and by the view for those rows that do not repeat it."""
    return {line.cells[0] or line.cells[1]: line for line in ledger(example_run())}


def cell(artifact: str, column: str) -> str:
    return lines()[artifact].cells[CELL[column]]


def unlabelled(kind: str, images: int = 64) -> Manifest:
    manifest = example_run()
    steps = tuple(
        each.with_rows(
            tuple(
                replace(row, measurement=row.measurement and measurement(70.0, 1.0, images=images, drop=None))
                for row in each.rows
            )
        )
        for each in manifest.steps
    )
    evaluation = {**manifest.evaluation, "kind": kind, "labelled": False, "images": images}
    return replace(manifest, steps=steps, evaluation=evaluation)


def test_every_row_and_every_skipped_stage_has_a_line_with_all_columns() -> None:
    found = ledger(example_run())
    assert [line.cells[0] for line in found] == [
        "reference",
        "compiled",
        "fp32",
        "deployment-fp16",
        "int8-qdq",
        "",
        "bf16",
        "fp16-engine",
    ]
    assert {len(line.cells) for line in found} == {len(COLUMNS)}


def test_a_classifier_has_the_columns_of_its_accuracy() -> None:
    assert columns(example_run()) == COLUMNS


def test_a_verdict_stands_as_it_was_found() -> None:
    assert {name: line.cells[CELL["verdict"]] for name, line in lines().items()} == {
        "reference": "ORACLE",
        "compiled": "SKIPPED",
        "fp32": "PASS",
        "deployment-fp16": "PASS",
        "int8-qdq": "INCONCLUSIVE",
        "optimised (onnxruntime)": "INFO",
        "bf16": "FAIL",
        "fp16-engine": "SKIPPED",
    }


@pytest.mark.parametrize("artifact", ["compiled", "fp16-engine"])
def test_what_was_skipped_shows_no_figure_of_a_measurement_and_says_why(artifact: str) -> None:
    for column in ("SQNR dB", "agree %", "top-1 %", "drop (95 % bound)"):
        assert cell(artifact, column) == "-"
    assert lines()[artifact].reason
    assert lines()[artifact].verdict is Verdict.SKIPPED


def test_nothing_skipped_is_ever_shown_as_passed() -> None:
    manifest = example_run()
    skipped = replace(
        manifest,
        steps=tuple(
            each.with_rows(tuple(replace(row, verdict=Verdict.SKIPPED, measurement=None) for row in each.rows))
            for each in manifest.steps
        ),
    )
    assert not any("PASS" in text for line in ledger(skipped) for text in line.cells)


def test_the_ratio_is_the_lowest_of_the_batches() -> None:
    assert cell("deployment-fp16", "SQNR dB") == "63.0"


def test_the_oracle_is_not_compared_with_itself() -> None:
    assert cell("reference", "SQNR dB") == cell("reference", "agree %") == cell("reference", "drop (95 % bound)") == "-"
    assert cell("reference", "top-1 %") == "91.50"


def test_the_drop_stands_with_its_upper_bound() -> None:
    assert cell("int8-qdq", "top-1 %") == "90.70"
    assert cell("int8-qdq", "drop (95 % bound)") == "+0.80 (< +1.20)"


def test_a_view_that_was_shown_a_subset_says_how_many() -> None:
    assert cell("deployment-fp16", "agree %") == "100.00 of 256"
    assert cell("fp32", "agree %") == "100.00"


def test_a_subset_is_said_without_labels_too() -> None:
    manifest = replace(unlabelled("images", 64), evaluation={**example_run().evaluation, "images": 500})
    found = {line.cells[0]: line.cells[CELL["agree %"]] for line in ledger(manifest)}
    assert found["fp32"] == "100.00 of 64"


@pytest.mark.parametrize("kind", ["synthetic", "images"])
def test_without_labels_no_accuracy_is_shown(kind: str) -> None:
    for line in ledger(unlabelled(kind)):
        assert line.cells[CELL["top-1 %"]] in ("NOT MEASURED", "-")
        assert line.cells[CELL["drop (95 % bound)"]] == "-"
    measured = [line for line in ledger(unlabelled(kind)) if line.verdict is not Verdict.SKIPPED]
    assert {line.cells[CELL["top-1 %"]] for line in measured} == {"NOT MEASURED"}


@pytest.mark.parametrize(
    ("value", "shown"), [(EXACT_DB, "exact"), (-EXACT_DB, "NaN/Inf"), (59.96, "60.0"), (-12.34, "-12.3"), (0.0, "0.0")]
)
def test_the_marks_of_a_ratio_are_words(value: float, shown: str) -> None:
    assert decibels(value) == shown


def test_size_and_time_belong_to_the_artifact_and_stand_once() -> None:
    assert (cell("int8-qdq", "size"), cell("int8-qdq", "time")) == ("3.0 MiB", "1.2 s")
    assert (cell("optimised (onnxruntime)", "size"), cell("optimised (onnxruntime)", "time")) == ("", "")


def test_a_run_without_steps_has_no_lines() -> None:
    assert ledger(replace(example_run(), steps=())) == ()


def test_a_step_without_a_view_has_no_line_and_claims_nothing() -> None:
    assert ledger(replace(example_run(), steps=(step("x", "cast", "y"),))) == ()


# Networks without classes


def cells_of(manifest: Manifest) -> dict[str, str]:
    """The cells of the gated artifact, by column."""
    assert {len(line.cells) for line in ledger(manifest)} == {len(columns(manifest))}
    return dict(zip(columns(manifest), ledger(manifest)[1].cells, strict=True))


def test_a_backbone_shows_the_lowest_ratio_of_all_outputs_and_batches_and_no_accuracy() -> None:
    assert columns(backbone_run()) == ("artifact", "measured as", "verdict", "SQNR dB", "size", "time")
    assert cells_of(backbone_run())["SQNR dB"] == "61.0"


def test_a_network_of_an_unknown_task_has_the_columns_of_a_backbone() -> None:
    manifest = backbone_run()
    unknown = replace(manifest, evaluation={**manifest.evaluation, "task": None})
    assert columns(unknown) == columns(manifest)
    assert cells_of(unknown)["SQNR dB"] == "61.0"


def test_a_subset_is_said_beside_the_ratio_where_there_is_no_other_cell() -> None:
    assert cells_of(backbone_run(images=20))["SQNR dB"] == "61.0 of 8"


def test_a_restoration_shows_psnr_y_against_the_oracle_and_against_pictures() -> None:
    found = cells_of(restoration_run(LOST))
    assert found["PSNR-Y dB"] == "66.1"  # the lowest of 66.125, 67 and 70
    assert (found["to pictures dB"], found["drop dB (95 % bound)"]) == ("32.085", "+0.015 (< +0.022)")
    oracle = dict(zip(columns(restoration_run(LOST)), ledger(restoration_run(LOST))[0].cells, strict=True))
    assert (oracle["SQNR dB"], oracle["PSNR-Y dB"], oracle["drop dB (95 % bound)"]) == ("-", "-", "-")


def test_without_pictures_a_restoration_has_no_figure_against_them() -> None:
    found = cells_of(restoration_run())
    assert (found["PSNR-Y dB"], found["to pictures dB"], found["drop dB (95 % bound)"]) == ("66.1", "NOT MEASURED", "-")


def test_a_drop_without_spread_is_not_shown_as_a_bound() -> None:
    equal = replace(LOST, drop=0.0, spread=0.0, lower=0.0, upper=0.0)
    assert cells_of(restoration_run(equal))["drop dB (95 % bound)"] == "+0.000 (no spread)"
    single = replace(LOST, images=1, spread=0.0, lower=None, upper=None)
    assert cells_of(restoration_run(single))["drop dB (95 % bound)"] == "+0.015 (no spread)"


def test_a_skipped_stage_of_a_dense_network_has_all_cells_too() -> None:
    manifest = backbone_run()
    skipped = replace(manifest, steps=(*manifest.steps, step("compiled", "compile", "x", skipped="no g++")))
    assert ledger(skipped)[-1].cells == ("compiled", "compile", "SKIPPED", "-", "-", "-")
