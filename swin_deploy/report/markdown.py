"""The report of a run as one Markdown page."""

from __future__ import annotations

import json
from collections.abc import Iterator

from swin_deploy.manifest import Manifest
from swin_deploy.report.ledger import COLUMNS, decibels, ledger

__all__ = ["markdown_report"]


def markdown_report(manifest: Manifest) -> str:
    """Ledger, notes, what each stage did, and where it ran."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    evaluation, recipe = manifest.evaluation, manifest.recipe
    yield f"# swin-deploy: {manifest.checkpoint['file']}"
    yield ""
    yield f"**{manifest.verdict}** (exit status {manifest.status})"
    yield ""
    batches = ", ".join(map(str, recipe["batch"]))
    yield f"Judged on {manifest.judged_on()}; batches {batches}; target {manifest.target}."
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    lines = ledger(manifest)
    for line in lines:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line.cells) + " |"
    yield ""
    yield "SQNR is the lowest of the three batches; a drop's bound is one-sided, 95 %. SKIPPED was not executed."
    reasons = [f"- {line.cells[0] or line.cells[1]}: {line.reason}" for line in lines if line.reason]
    if reasons:
        yield ""
        yield "## Not shown, and why"
        yield ""
        yield from dict.fromkeys(reasons)
    yield ""
    yield "## Against the parent"
    yield ""
    yield "| artifact | measured as | parent | SQNR dB | agree % | largest difference |"
    yield "|---|---|---|---|---|---|"
    for step in manifest.steps:
        for row in step.rows:
            parent = row.measurement and row.measurement["parent"]
            if parent:
                largest = "-" if parent["max_abs"] is None else f"{parent['max_abs']:.3g}"
                yield (
                    f"| {step.artifact} | {row.label} | {step.parent} | {decibels(parent['sqnr_db'])} | "
                    f"{100 * parent['agreement']:.2f} | {largest} |"
                )
    yield ""
    yield "## Stages"
    for step in manifest.steps:
        yield ""
        yield f"### {step.artifact} ({step.stage} of {step.parent})"
        yield ""
        if step.file:
            yield f"- file: `{step.file}`, {step.bytes} bytes, sha256 `{step.sha256}`"
        yield f"- tools: {', '.join(f'{name} {version}' for name, version in step.tools.items())}"
        for key, value in step.facts.items():
            if key not in ("calibration", "preprocess", "quantized_linears", "evidence"):
                yield f"- {key}: {value if isinstance(value, (str, int, float)) else json.dumps(value)}"
        for note in step.notes:
            yield f"- note: {note}"
        for row in step.rows:
            for check in row.judgements:
                yield f"- {row.label}, {check['check']}: {check['verdict']} ({check['detail']})"
    yield ""
    yield "## Machine"
    yield ""
    yield from (f"- {key}: {value}" for key, value in manifest.machine.items())
    yield f"- preprocessing: {json.dumps(evaluation['preprocess'])}"
