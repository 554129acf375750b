"""What a finished run prints: the table of its task, and the ratio of each output where there are several."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli.console import print_ledger
from swin_deploy.manifest import Manifest
from swin_deploy.parity.gates import Verdict
from tests.report.example_run import LOST, backbone_run, example_run, restoration_run


def printed(manifest: Manifest, capsys: pytest.CaptureFixture[str]) -> str:
    print_ledger(manifest)
    return capsys.readouterr().out


def test_a_classifiers_table_has_its_accuracy_and_one_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(example_run(), capsys)
    assert "top-1 %" in text
    assert "SQNR of each output" not in text


def test_a_backbones_scales_are_printed_below_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(backbone_run(), capsys)
    assert "top-1" not in text
    below = text.split("SQNR of each output, dB:")[1].splitlines()
    assert below[1].split() == ["artifact", "measured", "as", "stage1", "stage2", "stage3"]
    assert below[2].split() == ["fp16", "graph", "70.0", "61.0", "75.2"]


def test_a_restorations_table_has_psnr_y(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(restoration_run(LOST), capsys)
    assert "PSNR-Y dB" in text and "+0.015 (< +0.022)" in text


def test_a_backbone_of_which_nothing_was_executed_has_no_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = backbone_run()
    skipped = tuple(
        step.with_rows(tuple(replace(row, verdict=Verdict.SKIPPED, measurement=None) for row in step.rows))
        for step in manifest.steps
    )
    assert "SQNR of each output" not in printed(replace(manifest, steps=skipped), capsys)
