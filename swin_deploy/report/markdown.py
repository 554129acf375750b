"""The report of a run as one Markdown page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from swin_deploy.manifest import Manifest
from swin_deploy.report.by_output import TITLE, by_output
from swin_deploy.report.device_lines import device_lines
from swin_deploy.report.finish_file import Finish
from swin_deploy.report.ledger import columns, decibels, ledger
from swin_deploy.report.quantization_section import quantization_sections

__all__ = ["LONG_FACTS", "legend", "markdown_report"]

_LEGEND = "SQNR is the lowest of the three batches and of all outputs."
_LEGENDS: Mapping[str | None, str] = MappingProxyType(
    {
        "classifier": "SQNR is the lowest of the three batches; a drop's bound is one-sided, 95 %.",
        "restoration": (
            "SQNR is the lowest of the three batches. PSNR-Y dB is that of the worst image against the oracle's, not "
            "rounded to 8 bits; to pictures dB is the mean PSNR-Y against the pictures of the pairs, in 8 bits and "
            "without a border of the scale's pixels, as in SwinIR's evaluation; a drop's bound is one-sided, 95 %, "
            "paired t."
        ),
    }
)


LONG_FACTS = ("calibration", "preprocess", "quantized_linears", "evidence", "seeds", "search", "solutions", "linears")
"""Lists that only a machine reads; some have a table of their own."""


def markdown_report(manifest: Manifest, pictures: frozenset[str] = frozenset(), finishes: Sequence[Finish] = ()) -> str:
    """Ledger, notes, what each stage did, and where it ran.

    Args:
        manifest: The finished run.
        pictures: Names of the pictures that lie beside the report; see `swin_deploy.report.write`.
        finishes: What devices made of the run's bundle.
    """
    return "\n".join(_lines(manifest, pictures, finishes)) + "\n"


def _lines(manifest: Manifest, pictures: frozenset[str], finishes: Sequence[Finish]) -> Iterator[str]:
    evaluation, recipe = manifest.evaluation, manifest.recipe
    yield f"# swin-deploy: {manifest.checkpoint['file']}"
    yield ""
    yield f"**{manifest.verdict}** (exit status {manifest.status})"
    yield ""
    batches = ", ".join(map(str, recipe["batch"]))
    yield f"Judged on {manifest.judged_on()}; batches {batches}; target {manifest.target}."
    yield ""
    yield "| " + " | ".join(columns(manifest)) + " |"
    yield "|" + "---|" * len(columns(manifest))
    lines = ledger(manifest)
    for line in lines:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in line.cells) + " |"
    yield ""
    yield legend(manifest) + " SKIPPED was not executed."
    reasons = [f"- {line.cells[0] or line.cells[1]}: {line.reason}" for line in lines if line.reason]
    if reasons:
        yield ""
        yield "## Not shown, and why"
        yield ""
        yield from dict.fromkeys(reasons)
    yield from device_lines(finishes)
    yield from quantization_sections(manifest, pictures)
    yield from _by_output(manifest)
    yield from _against_parents(manifest)
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
            if key not in LONG_FACTS:
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


def legend(manifest: Manifest) -> str:
    """How the ledger's columns are to be read."""
    return _LEGENDS.get(manifest.task, _LEGEND)


def _by_output(manifest: Manifest) -> Iterator[str]:
    table = by_output(manifest)
    if table is None:
        return
    yield ""
    yield f"## {TITLE}"
    yield ""
    yield "| " + " | ".join(table.heads) + " |"
    yield "|" + "---|" * len(table.heads)
    for row in table.rows:
        yield "| " + " | ".join(row) + " |"


def _against_parents(manifest: Manifest) -> Iterator[str]:
    classes = manifest.task == "classifier"
    heads = ["artifact", "measured as", "parent", "SQNR dB", *(["agree %"] if classes else []), "largest difference"]
    yield ""
    yield "## Against the parent"
    yield ""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for step in manifest.steps:
        for row in step.rows:
            parent = row.measurement and row.measurement["parent"]
            if parent:
                agreement = [f"{100 * parent['agreement']:.2f}"] if classes else []
                largest = "-" if parent["max_abs"] is None else f"{parent['max_abs']:.3g}"
                cells = [step.artifact, row.label, step.parent, decibels(parent["sqnr_db"]), *agreement, largest]
                yield "| " + " | ".join(cells) + " |"
