"""The report's part on INT8: what it shows, and what it owns up not to know."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swin_deploy.manifest import Manifest, Row, StepRecord
from swin_deploy.parity.gates import Verdict
from swin_deploy.report.block_chart import draw_blocks, text_bars
from swin_deploy.report.markdown import markdown_report
from swin_deploy.report.plan_figures import chains, figures_of, recommendation
from swin_deploy.report.quantization_section import quantization_sections
from swin_deploy.report.write import report_files, write_report
from tests.report.example_run import MEASURED, example_run, judgement, measurement, step

CENSUS = {"kernels": 91, "fused_attentions": 10, "gemms": 43, "int8_gemms": 0, "opaque": 0, "by_type": {}}


def section(manifest: Manifest, pictures: frozenset[str] = frozenset()) -> str:
    return "\n".join(quantization_sections(manifest, pictures))


def engines(*, own: dict[str, Any] | None = None, ran: bool = False) -> Manifest:
    """A sound INT8 chain beside an FP16 one, with both engines."""
    manifest = example_run()
    passed = judgement("top1-drop", Verdict.PASS, "+0.10 points, margin 1")
    graph = Row("literal Q/DQ", "onnxruntime, literal", "int8", Verdict.PASS, measurement=measurement(39.0, 0.99))
    graph = replace(graph, judgements=(passed,), quantization=MEASURED.to_json())
    engine = Row("engine", "tensorrt_rtx", "int8", Verdict.SKIPPED, reason="no GPU")
    if ran:
        engine = replace(engine, verdict=Verdict.PASS, measurement=measurement(37.0, 0.985), judgements=(passed,))
    made: tuple[StepRecord, ...] = (
        step("fp16", "cast", "fp32", precision="fp16", bytes=6 << 20),
        step(
            "fp16-engine", "build", "fp16", precision="fp16", format="rtx-plan", file="fp16.rtx.plan",
            facts={"kernels": {"8.9": CENSUS}},
        ),
        step("int8-qdq", "quantize", "fp32", graph, precision="int8"),
        step("int8", "cast", "int8-qdq", replace(graph, quantization=None), precision="int8", bytes=4 << 20),
        step(
            "int8-engine", "build", "int8", engine, precision="int8", format="rtx-plan", file="int8.rtx.plan",
            facts={"kernels": {"8.9": {**CENSUS, "kernels": 111, "int8_gemms": 40, **(own or {})}}},
        ),
    )  # fmt: skip
    return replace(manifest, steps=made)


def timed(manifest: Manifest, fp16_ms: float, int8_ms: float, batch: int = 8) -> Manifest:
    ratio = fp16_ms / int8_ms
    lines = [
        {"artifact": f"run/{name}", "batch": batch, "p50_ms": ms, "ratio": r, "ratio_low": low, "ratio_high": high}
        for name, ms, r, low, high in (
            ("fp16.rtx.plan", fp16_ms, 1.0, 1.0, 1.0),
            ("int8.rtx.plan", int8_ms, ratio, ratio - 0.01, ratio + 0.01),
        )
    ]
    return replace(manifest, speed={"lines": lines, "machine": {"gpu": "a GPU"}})


def test_a_plan_is_shown_with_every_figure_that_is_known() -> None:
    found = section(example_run())
    for words in (
        "| drop in top-1, points | +0.80, one-sided 95 % bounds +0.40 and +1.20, of 2000 images |",
        "| McNemar p | 0.832 (12 images lost, 10 won; exact, two-sided) |",
        "| agreement | 97.10 % of 2000 images |",
        "| SQNR at the outputs | 31.0 dB |",
        "| linears in INT8 | 6, 96.8 % of the linears' multiplications |",
        "| speed | not measured here: no GPU |",
        "31.0 to 33.0 dB (standard deviation 1.0); 97.00 to 98.00 % agreement",
        "0.40 to 0.80 points of drop (standard deviation 0.20)",
    ):
        assert words in found, words


def test_sizes_and_kernels_stand_beside_those_of_fp16() -> None:
    found = section(engines())
    assert "| size of the graph | 4.0 MiB; FP16: 6.0 MiB |" in found
    assert "| kernels | 111 (10 fused attentions, 40 of 43 GEMMs in INT8); FP16: 91 (" in found
    assert "at least 111" in section(engines(own={"opaque": 1}))


def test_the_engine_speaks_for_the_chain_where_it_was_executed() -> None:
    assert "| measured as | literal Q/DQ (onnxruntime, literal) |" in section(engines())
    found = section(engines(ran=True))
    assert "| measured as | engine (tensorrt_rtx) |" in found and "| SQNR at the outputs | 37.0 dB |" in found


def test_blocks_and_the_worst_five_fits_are_listed() -> None:
    found = section(example_run())
    assert "Most noise enters at blocks.2." in found
    assert "| blocks.1 | 45.5 | blocks.1.mlp.2 | 1.5 |" in found
    fits = found.split("### Does the calibration fit")[1]
    rows = [line for line in fits.splitlines() if line.startswith("| blocks")]
    assert [row.split(" | ")[0][2:] for row in rows] == [
        "blocks.2.mlp.0", "blocks.2.mlp.2", "blocks.1.mlp.2", "blocks.0.mlp.2", "blocks.0.mlp.0"
    ]  # fmt: skip
    assert rows[0] == "| blocks.2.mlp.0 | 6.2 | 41.2 | 0.050 | -1.5 |" and rows[3].endswith("| - |")


def test_made_up_images_are_said_to_be_so() -> None:
    manifest = example_run()
    unknown = replace(MEASURED, representative=False).to_json()
    steps = tuple(
        record.with_rows(tuple(replace(row, quantization=unknown) if row.quantization else row for row in record.rows))
        for record in manifest.steps
    )
    assert "shown and not judged" in section(replace(manifest, steps=steps))
    assert "shown and not judged" not in section(manifest)


def test_a_run_without_int8_has_no_section_and_no_recommendation() -> None:
    manifest = example_run()
    without = replace(manifest, steps=tuple(record for record in manifest.steps if record.precision != "int8"))
    assert section(without) == "" and recommendation(without) == "" and not chains(without)


def test_the_recommendation_is_made_of_what_the_manifest_holds() -> None:
    assert recommendation(example_run()).startswith(
        "Recommended: FP16: INT8 is not shown to keep its accuracy: top1-drop"
    )
    sound = recommendation(engines())
    assert sound.startswith("Recommended: FP16: the time of INT8") and "111 kernels for INT8 and 91 for FP16" in sound
    assert "`swin-deploy bench --record RUN/fp16.rtx.plan RUN/int8.rtx.plan` decides" in sound
    assert recommendation(timed(engines(), 2.0, 1.0)).startswith("Recommended: INT8: ")
    assert recommendation(timed(engines(), 1.0, 2.0)).startswith("Recommended: FP16: INT8 is slower")
    assert "| speed | 2.00 times FP16's (1.99 to 2.01) at batch 8 on a GPU |" in section(timed(engines(), 2.0, 1.0))


def test_a_failed_row_of_the_chain_decides() -> None:
    manifest = engines()
    failed = judgement("calibration-fit", Verdict.FAIL, "blocks.3.mlp.2 (block blocks.3) loses 18.0 dB")
    record = manifest.steps[2]
    row = replace(record.rows[0], verdict=Verdict.FAIL, judgements=(failed,))
    manifest = replace(manifest, steps=(*manifest.steps[:2], record.with_rows((row,)), *manifest.steps[3:]))
    assert "Recommended: FP16: INT8 failed its gates: calibration-fit: blocks.3.mlp.2" in recommendation(manifest)


def test_times_of_other_files_or_of_one_alone_say_nothing() -> None:
    manifest = timed(engines(), 2.0, 1.0)
    assert manifest.speed is not None
    (chain,) = chains(manifest)
    assert figures_of(manifest, chain).speed is not None
    for kept in (manifest.speed["lines"][:1], manifest.speed["lines"][1:], []):
        alone = replace(manifest, speed={**manifest.speed, "lines": kept})
        assert figures_of(alone, chain).speed is None


def test_bars_of_text_stand_for_a_picture_that_was_not_drawn() -> None:
    report = markdown_report(example_run())
    assert "blocks.0 ################" in report and "matplotlib" in report and "![" not in report
    drawn = markdown_report(example_run(), frozenset({"int8.blocks.svg"}))
    assert "](int8.blocks.svg)" in drawn and "matplotlib" not in drawn and "####" not in drawn


def test_the_longest_bar_is_the_best_block() -> None:
    lines = text_bars({"a": 50.0, "bb": 25.0, "c": -3.0, "d": 999.0, "e": -999.0})
    assert [line.count("#") for line in lines] == [17, 8, 0, 50, 0]
    assert lines[0].endswith(" 50.0") and lines[3].endswith("exact") and lines[4].endswith("NaN/Inf")
    assert text_bars({}) == ()


def test_the_picture_is_an_svg_that_is_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    for path in (one, other):
        assert draw_blocks(MEASURED.blocks, "INT8", 25.0, path)
    assert one.read_bytes() == other.read_bytes() and one.read_text().startswith("<?xml")
    assert not draw_blocks({}, "INT8", 25.0, tmp_path / "none.svg")


def test_the_report_names_the_picture_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = write_report(example_run(), tmp_path)
    assert "](int8.blocks.svg)" in path.read_text() and (tmp_path / "int8.blocks.svg").is_file()
    assert {entry.name for entry in tmp_path.iterdir()} <= set(report_files())


def test_without_matplotlib_an_old_picture_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "int8.blocks.svg").write_text("old")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "####" in write_report(example_run(), tmp_path).read_text()
    assert not (tmp_path / "int8.blocks.svg").exists()
